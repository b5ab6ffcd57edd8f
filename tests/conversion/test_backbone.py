"""`from_backbone`: native InternVL checkpoints become HEIE, weights kept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, InternVLConfig, InternVLForConditionalGeneration

from heie_hf import HEIEForImplausibility, from_backbone
from heie_hf.conversion import ConversionError, convert
from heie_hf.conversion.new_tokens import IMAGE_TOKENS
from heie_hf.conversion.tokenizer import original_tokenizer
from tests.conversion.conftest import SMALL


@pytest.fixture(scope="module")
def make_native(tmp_path_factory, original):
    """make_native(tied, tie_flag) -> directory of a native checkpoint as InternVL3-…-hf are stored."""

    def make(tied=False, tie_flag=None, text_type="qwen2"):
        torch.manual_seed(0)
        directory = tmp_path_factory.mktemp("native")
        kind = "qwen2" if text_type == "qwen2" else "internlm2"
        tokenizer = original_tokenizer(original(kind)[0], IMAGE_TOKENS)
        vision = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
        text = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
        config = InternVLConfig(
            vision_config={"image_size": [56, 56], "patch_size": [14, 14], "attention_bias": True, **vision},
            text_config={"model_type": text_type, "intermediate_size": 64, "vocab_size": len(tokenizer), **text},
            image_token_id=tokenizer.context_image_token_id,
            image_seq_length=4,
            tie_word_embeddings=tied,
        )
        model = InternVLForConditionalGeneration(config)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
        model.save_pretrained(directory)
        tokenizer.save_pretrained(directory)
        stored = json.loads((directory / "config.json").read_text())
        stored.pop("tie_word_embeddings")
        stored |= {} if tie_flag is None else {"tie_word_embeddings": tie_flag}
        (directory / "config.json").write_text(json.dumps(stored))
        return directory, model.eval()

    return make


def logits_of(model, vocab_size):
    ids = torch.tensor([[5, 6, *[model.config.image_token_id] * 8, 7, 8]])
    pixels = torch.randn(2, 3, 56, 56, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.eval()(input_ids=ids, pixel_values=pixels).logits[..., :vocab_size]


@pytest.mark.parametrize(("tied", "tie_flag"), [(False, None), (False, False), (True, None), (True, True)])
def test_the_backbone_is_unchanged(make_native, tmp_path, tied, tie_flag):
    """Also where lm_head has its own weights and the flag, by default True, says otherwise; also after a reload."""
    directory, native = make_native(tied, tie_flag)
    model, processor = from_backbone(str(directory), **SMALL)
    known = native.config.text_config.vocab_size
    assert torch.equal(logits_of(model, known), logits_of(native, known))
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    assert model.config.tie_word_embeddings == tied

    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    reloaded, info = HEIEForImplausibility.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(logits_of(reloaded, known), logits_of(native, known))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    assert tokenizer.map_token == "[MAP]" and tokenizer.score_token_id == model.config.score_token_id


def test_new_rows_are_the_mean_of_the_old(make_native):
    directory, native = make_native()
    model, processor = from_backbone(str(directory), **SMALL)
    known = native.config.text_config.vocab_size
    assert model.config.text_config.vocab_size == len(processor.tokenizer) == known + 6
    for new, old in (
        (model.get_input_embeddings(), native.get_input_embeddings()),
        (model.get_output_embeddings(), native.get_output_embeddings()),
    ):
        assert torch.equal(new.weight[:known], old.weight)
        torch.testing.assert_close(new.weight[known:], old.weight.mean(dim=0).expand(6, -1))


def test_model_and_processor_fit(make_native, images, targets):
    model, processor = from_backbone(str(make_native()[0]), **SMALL)
    assert processor.image_processor.size["height"] == 56
    assert tuple(processor.image_processor.image_mean) == (0.485, 0.456, 0.406)
    assert torch.isfinite(model(**processor(images=images[:2], targets=targets[:2])).loss)
    generated = model.generate(**processor(images=images[:1]), return_dict_in_generate=True, max_new_tokens=200)
    (result,) = processor.post_process(generated, target_sizes=[images[0].size[::-1]])
    assert 0 <= result["score"] <= 1


def test_overrides_reach_model_and_processor(make_native, images, targets):
    mapper = {**SMALL["mapper_config"], "upsample_factor": 2}
    model, processor = from_backbone(
        str(make_native()[0]), max_patches=2, fusion="fixed", dtype="bfloat16", mapper_config=mapper
    )
    assert model.config.fusion == "fixed" and model.dtype == torch.bfloat16
    assert processor.image_processor.max_patches == len(model.config.local_map_token_ids) == 2
    assert processor.image_processor.heatmap_size["height"] == 8
    assert torch.isfinite(model(**processor(images=images[:2], targets=targets[:2])).loss)


def test_a_backbone_with_a_start_token_gets_one_in_its_prompts(make_native, images):
    """InternLM2's models were trained with <s> in front; the processor adds no special tokens by itself."""
    _, processor = from_backbone(str(make_native(text_type="llama")[0]), **SMALL)
    tokenizer, ids = processor.tokenizer, processor(images=images[:1])["input_ids"][0]
    assert ids[0] == tokenizer.bos_token_id and tokenizer.bos_token_id not in ids[1:]
    assert tokenizer.eos_token == "<|im_end|>"


def test_convert_takes_a_native_checkpoint(make_native, tmp_path):
    directory, _ = make_native()
    model, processor = from_backbone(str(directory), **SMALL)
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    convert(directory, tmp_path / "target", **SMALL)
    for file in ("config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja"):
        assert (tmp_path / "target" / file).read_text() == (tmp_path / "saved" / file).read_text()
    converted = HEIEForImplausibility.from_pretrained(tmp_path / "target").state_dict()
    expected = {name: tensor for name, tensor in model.state_dict().items() if name.startswith(("model.", "lm_head."))}
    assert all(torch.equal(converted[name], tensor) for name, tensor in expected.items())


def test_both_layouts_give_the_same_model(original, converted, tmp_path):
    """The converted checkpoint's backbone, stored natively, comes back the same through `from_backbone`."""
    model = HEIEForImplausibility.from_pretrained(converted("qwen2"))
    known = original("qwen2")[1]["llm_config"]["vocab_size"]
    native = InternVLForConditionalGeneration(InternVLConfig(**native_fields(model.config)))
    backbone = {name: tensor for name, tensor in model.state_dict().items() if name in native.state_dict()}
    native.load_state_dict(backbone)
    native.resize_token_embeddings(known)
    native.save_pretrained(tmp_path)
    original_tokenizer(original("qwen2")[0], IMAGE_TOKENS).save_pretrained(tmp_path)
    again, _ = from_backbone(str(tmp_path), **SMALL)
    assert all(torch.equal(again.state_dict()[name], tensor) for name, tensor in backbone.items())
    assert again.config.template_ids == model.config.template_ids


def native_fields(config):
    names = ("vision_config", "text_config", "image_token_id", "image_seq_length", "downsample_ratio")
    return {name: getattr(config, name) for name in (*names, "vision_feature_layer", "tie_word_embeddings")}


def test_other_checkpoints_are_refused(original, converted):
    with pytest.raises(ConversionError, match="heie convert"):
        from_backbone(str(original("internlm2")[0]))
    with pytest.raises(ConversionError, match="no InternVL checkpoint"):
        from_backbone(str(converted("internlm2")))


def test_a_backbone_that_lacks_weights_is_refused_by_name(make_native):
    directory, _ = make_native()
    weights = load_file(directory / "model.safetensors")
    lost = next(name for name in sorted(weights) if "down_proj" in name)
    weights.pop(lost)
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ConversionError, match="lacks 1 weights of the backbone, the first: .*down_proj"):
        from_backbone(str(directory), **SMALL)


def test_the_command_prints_its_result_alone(make_native, tmp_path):
    directory, _ = make_native()
    target = tmp_path / "heie"
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "heie_hf.cli", "convert", str(directory), str(target)]
    process = subprocess.run(command, capture_output=True, text=True, cwd=root, env=os.environ)
    assert (process.returncode, process.stderr) == (0, "")
    assert json.loads(process.stdout) == {"model": str(target)}
