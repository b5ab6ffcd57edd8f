"""`convert`: complete or not at all."""

import json
import os
import signal
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from heie_hf import HEIEForImplausibility, HEIEProcessor
from heie_hf.conversion import ConversionError, convert, weights
from tests.conversion.conftest import SMALL
from tests.conversion.originals import VIT_6B, make_original, write_shards


def test_the_result_is_a_complete_checkpoint(converted, images):
    """Auto classes open it, and it assesses an image; the heads start where new ones do."""
    directory = converted("internlm2")
    processor, config = AutoProcessor.from_pretrained(directory), AutoConfig.from_pretrained(directory)
    model = AutoModelForImageTextToText.from_pretrained(directory).eval()
    assert isinstance(model, HEIEForImplausibility) and isinstance(processor, HEIEProcessor)
    assert processor.image_processor.size["height"] == 56
    assert config.map_token_id == processor.tokenizer.map_token_id
    assert len(config.local_map_token_ids) == config.max_patches == 4
    assert model.generation_config.eos_token_id == processor.tokenizer.eos_token_id
    inputs = processor(images=images[:2])
    outputs = model.assess(**inputs)
    assert [tuple(heatmap.shape) for heatmap in outputs.heatmap] == [
        (rows * 16, columns * 16) for columns, rows in inputs["patch_grid"].tolist()
    ]
    assert 0 < float(outputs.heatmap[0].mean()) < 0.1  # heads as freshly initialised: almost empty maps


def test_an_image_can_be_trained_on(converted, images, targets):
    """Heatmap cells, image tokens and vocabulary of processor and model fit."""
    directory = converted("qwen2")
    processor, model = AutoProcessor.from_pretrained(directory), HEIEForImplausibility.from_pretrained(directory)
    loss = model(**processor(images=images[:2], targets=targets[:2])).loss
    loss.backward()
    assert torch.isfinite(loss)


def test_new_embedding_rows_are_the_mean_of_the_old(original, converted):
    _, config, tensors = original("internlm2")
    model = HEIEForImplausibility.from_pretrained(converted("internlm2"))
    known = config["llm_config"]["vocab_size"]
    for matrix, name in (
        (model.get_input_embeddings().weight, "language_model.model.tok_embeddings.weight"),
        (model.get_output_embeddings().weight, "language_model.output.weight"),
    ):
        assert torch.equal(matrix[:known], tensors[name])
        assert len(matrix) == known + 6
        torch.testing.assert_close(matrix[known:], tensors[name].mean(dim=0).expand(6, -1))


def test_spare_rows_are_used_before_new_ones(tmp_path):
    """Qwen2's matrices may be longer than its vocabulary: new tokens take those rows, and none is lost."""
    config, tensors = make_original(tmp_path / "source", "Qwen2ForCausalLM", llm={"vocab_size": 400})
    model = HEIEForImplausibility.from_pretrained(convert(tmp_path / "source", tmp_path / "target", **SMALL))
    matrix, before = model.get_input_embeddings().weight, tensors["language_model.model.embed_tokens.weight"]
    new = [model.config.map_token_id, *model.config.local_map_token_ids, model.config.score_token_id]
    assert len(matrix) == 400 and max(new) < 400
    torch.testing.assert_close(matrix[new], before[: min(new)].mean(dim=0).expand(6, -1))
    for rest in (slice(min(new)), slice(max(new) + 1, None)):
        assert torch.equal(matrix[rest], before[rest])


def test_tied_embeddings_stay_tied(converted):
    model = HEIEForImplausibility.from_pretrained(converted("qwen3"))
    assert model.lm_head.weight is model.get_input_embeddings().weight
    untied = HEIEForImplausibility.from_pretrained(converted("qwen2"))
    assert not torch.equal(untied.lm_head.weight, untied.get_input_embeddings().weight)


def test_tied_weights_stored_twice(tmp_path):
    """Dropped if they are equal; two different matrices contradict the flag."""
    _, tensors = make_original(tmp_path / "source", "Qwen2ForCausalLM", llm={"tie_word_embeddings": True})
    tensors["language_model.lm_head.weight"] = tensors["language_model.model.embed_tokens.weight"].clone()
    write_shards(tmp_path / "source", tensors)
    convert(tmp_path / "source", tmp_path / "equal", **SMALL)
    tensors["language_model.lm_head.weight"] += 1
    write_shards(tmp_path / "source", tensors)
    with pytest.raises(ConversionError, match="tie_word_embeddings"):
        convert(tmp_path / "source", tmp_path / "different", **SMALL)


def test_sharded_and_unsharded_are_the_same(original, tmp_path):
    directory = original("internlm2")[0]
    whole = convert(directory, tmp_path / "whole", **SMALL)
    sharded = convert(directory, tmp_path / "sharded", max_shard_size="100KB", **SMALL)
    files = sorted(sharded.glob("*.safetensors"))
    assert len(files) > 5 and max(file.stat().st_size for file in files) < 130_000
    index = json.loads((sharded / "model.safetensors.index.json").read_text())["weight_map"]
    tensors = {name: tensor for file in files for name, tensor in load_file(file).items()}
    backbone = {name: tensor for name, tensor in tensors.items() if name.startswith(("model.", "lm_head."))}
    expected = load_file(whole / "model.safetensors")
    assert index.keys() == tensors.keys() == expected.keys()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in backbone.items())
    _, info = HEIEForImplausibility.from_pretrained(sharded, output_loading_info=True)
    assert not any(info.values())


def test_bfloat16_stays_bit_for_bit(tmp_path):
    _, tensors = make_original(tmp_path / "source", "Qwen2ForCausalLM", torch_dtype="bfloat16")
    tensors = {name: tensor.bfloat16() for name, tensor in tensors.items()}
    write_shards(tmp_path / "source", tensors)
    model = HEIEForImplausibility.from_pretrained(convert(tmp_path / "source", tmp_path / "target", **SMALL))
    assert {parameter.dtype for parameter in model.parameters()} == {torch.bfloat16}
    stored = tensors["language_model.model.layers.1.mlp.up_proj.weight"]
    assert torch.equal(model.model.language_model.layers[1].mlp.up_proj.weight, stored)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("mlp1.3.bias"), r"missing in the source: mlp1\.3\.bias$"),
        (
            lambda t: t.update({"mlp1.4.weight": torch.ones(2)}),
            r"in the source but not in the model: mlp1\.4\.weight$",
        ),
        (lambda t: t.pop("language_model.model.layers.1.attention.wqkv.weight"), "layers.1.attention.wqkv.weight"),
        (
            lambda t: t.update({"vision_model.encoder.layers.0.ls1": torch.ones(31)}),
            r"layers.0.ls1 does not fit: \(31,\)",
        ),
        (
            lambda t: t.update({"language_model.model.layers.0.attention.wqkv.weight": torch.ones(95, 64)}),
            "wqkv.weight has 95 rows, no multiple of 48",
        ),
    ],
)
def test_every_tensor_must_be_accounted_for(original, tmp_path, change, message):
    directory, _, tensors = original("internlm2")
    source = tmp_path / "source"
    source.mkdir()
    for file in directory.glob("[!m]*"):  # all but the weights
        (source / file.name).write_bytes(file.read_bytes())
    tensors = dict(tensors)
    change(tensors)
    write_shards(source, tensors)
    with pytest.raises(ConversionError, match=message):
        convert(source, tmp_path / "target", **SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"architecture": "Phi3ForCausalLM"}, "Phi3ForCausalLM is not supported"),
        ({"ps_version": "v1"}, "pixel shuffle v1"),
        ({"force_image_size": 448}, "force_image_size 448 differs from the vision model's 56"),
        ({"vision": VIT_6B | {"layer_norm_eps": 1e-5}}, "epsilon of 1e-6"),
        ({"llm": {"rope_pos_id_version": "v2pe"}}, "rotary positions 'v2pe'"),
    ],
)
def test_what_the_native_classes_cannot_express_is_refused(tmp_path, options, message):
    make_original(tmp_path / "source", **options)
    with pytest.raises(ConversionError, match=message):
        convert(tmp_path / "source", tmp_path / "target", **SMALL)
    assert not (tmp_path / "target").exists()


def test_pickled_weights_are_never_opened(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    make_original(tmp_path / "source")
    for file in (tmp_path / "source").glob("model*"):
        file.unlink()
    torch.save({"x": Trap()}, tmp_path / "source" / "pytorch_model.bin")
    with pytest.raises(ConversionError, match="pickled weights"):
        convert(tmp_path / "source", tmp_path / "target")
    assert [path.name for path in tmp_path.iterdir()] == ["source"]


def test_code_of_the_checkpoint_is_not_run(original, converted):
    """The directory of the fixture names remote code that does not exist, so converting it at all is the proof."""
    assert "auto_map" in original("internlm2")[1]
    assert "auto_map" not in (converted("internlm2") / "config.json").read_text()
    assert "auto_map" not in (converted("internlm2") / "tokenizer_config.json").read_text()


@pytest.mark.parametrize(
    "name", ["../{source}/model.safetensors", "/etc/passwd", "weights.bin", "below/a.safetensors"]
)
def test_an_index_that_names_anything_but_safetensors_files_of_its_own_folder(tmp_path, name):
    source = tmp_path / "source"
    make_original(source)
    index = {"metadata": {}, "weight_map": {"lm_head.weight": name.format(source=source.name)}}
    (source / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(ConversionError, match="no safetensors file of this directory"):
        convert(source, tmp_path / "target")


def test_a_missing_shard_is_named(original, tmp_path):
    make_original(tmp_path / "source")
    (tmp_path / "source" / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(ConversionError, match="model-00002-of-00003.safetensors"):
        convert(tmp_path / "source", tmp_path / "target")


def test_sources_and_targets_that_do_not_fit(original, tmp_path):
    with pytest.raises(ConversionError, match="no config.json"):
        convert(tmp_path / "nowhere", tmp_path / "target")
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "precious").write_text("mine")
    with pytest.raises(ConversionError, match="not an empty directory"):
        convert(original("internlm2")[0], tmp_path / "target")
    assert (tmp_path / "target" / "precious").read_text() == "mine"
    with pytest.raises(ConversionError, match="not an empty directory"):
        convert(original("internlm2")[0], tmp_path / "target" / "precious")


def test_an_empty_target_is_filled_and_its_mode_is_ordinary(original, tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "ordinary").mkdir()
    convert(original("qwen2")[0], tmp_path / "target", **SMALL)
    assert (tmp_path / "target" / "config.json").is_file()
    assert (tmp_path / "target").stat().st_mode == (tmp_path / "ordinary").stat().st_mode


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
def test_an_interrupted_conversion_leaves_nothing(original, tmp_path, monkeypatch, error):
    written = []

    def fail_at_the_third(tensors, path, **kwargs):
        save_file(tensors, path, **kwargs)
        written.append(path)
        if len(written) == 3:
            raise error

    monkeypatch.setattr(weights, "save_file", fail_at_the_third)
    with pytest.raises(type(error)):
        convert(original("internlm2")[0], tmp_path / "target", max_shard_size="100KB", **SMALL)
    assert len(written) == 3 and list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from heie_hf.conversion import convert, weights
save_file = weights.save_file
def killed(tensors, path, **kwargs):
    save_file(tensors, path, **kwargs)
    if "00003" in path.name:
        os.kill(os.getpid(), signal.SIGKILL)
weights.save_file = killed
convert(sys.argv[1], sys.argv[2], max_shard_size="100KB")
"""


def test_a_killed_conversion_leaves_no_checkpoint_and_the_next_one_cleans_up(original, tmp_path):
    source, target = original("internlm2")[0], tmp_path / "target"
    process = subprocess.run([sys.executable, "-c", KILLED, source, target], capture_output=True, check=False)
    assert process.returncode == -signal.SIGKILL, process.stderr.decode()
    assert not target.exists() and len(list(tmp_path.iterdir())) == 1
    convert(source, target, **SMALL)
    assert list(tmp_path.iterdir()) == [target]
    HEIEForImplausibility.from_pretrained(target)
