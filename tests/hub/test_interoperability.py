"""What Transformers users do with any model: quantise, offload, shard, cast, adapt, export."""

import importlib.util

import pytest
import torch
from accelerate import cpu_offload, infer_auto_device_map
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import (
    AutoModelForImageTextToText,
    AutoTokenizer,
    BitsAndBytesConfig,
    PreTrainedTokenizerFast,
    TorchAoConfig,
    exporters,
    pipeline,
)

from heie_hf import HEIEForImplausibility
from heie_hf.modeling.fusion_heie import to_patch_order
from heie_hf.modeling.generation_heie import template_without_text
from heie_hf.modeling.outputs_heie import HEIEOutput
from tests.aligned_weights import aligned

HEADS = ("mapper.", "fuser.", "scorer.")


def needs(package: str):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@pytest.fixture
def inputs(tiny_processor, images):
    return tiny_processor(images=images[:1])


@pytest.fixture
def expected(tiny_model, inputs):
    return tiny_model.assess(**inputs)


def assert_same(model, inputs, expected) -> None:
    found = aligned(model).assess(**inputs)
    assert torch.equal(found.score, expected.score)
    assert all(map(torch.equal, found.heatmap, expected.heatmap))


def quantisation(name: str):
    if name == "torchao":
        from torchao.quantization import Int8WeightOnlyConfig

        return TorchAoConfig(Int8WeightOnlyConfig())
    if name == "bitsandbytes 8 bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(load_in_4bit=True)


def is_quantised(layer: torch.nn.Linear) -> bool:
    return type(layer) is not torch.nn.Linear or type(layer.weight.data) is not torch.Tensor


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("torchao", marks=needs("torchao")),
        pytest.param("bitsandbytes 8 bit", marks=needs("bitsandbytes")),
        pytest.param("bitsandbytes 4 bit", marks=needs("bitsandbytes")),
    ],
)
def test_quantised_loading_leaves_the_heads_alone(make_tiny_model, tiny_processor, inputs, tmp_path, name):
    """Nothing about them is said here: 4-bit weights come in blocks of 64, hence the sizes."""
    text = make_tiny_model().config.text_config.to_dict() | {"hidden_size": 64, "intermediate_size": 128}
    vision = make_tiny_model().config.vision_config.to_dict() | {"hidden_size": 64, "intermediate_size": 128}
    original = make_tiny_model(text_config=text, vision_config=vision)
    original.save_pretrained(tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, quantization_config=quantisation(name))
    linear = {name: layer for name, layer in model.named_modules() if isinstance(layer, torch.nn.Linear)}
    kept = {name for name, layer in linear.items() if not is_quantised(layer)}
    assert kept == {name for name in linear if name.startswith(HEADS) or name == "lm_head"}
    weights = original.state_dict()
    for name, weight in model.state_dict().items():
        if name.startswith(HEADS):
            assert torch.equal(weight, weights[name]), name
    expected, found = original.assess(**inputs), model.assess(**inputs)
    torch.testing.assert_close(found.score, expected.score, atol=0.1, rtol=0)
    generated = model.generate(**inputs, return_dict_in_generate=True)
    assert torch.stack([heatmap.isfinite().all() for heatmap in generated.heatmap]).all()


def test_heads_stay_in_float32_beside_a_float16_backbone(tiny_checkpoint, inputs, expected):
    model = AutoModelForImageTextToText.from_pretrained(tiny_checkpoint, dtype=torch.float16)
    for name, parameter in model.named_parameters():
        assert parameter.dtype == (torch.float32 if name.startswith(HEADS) else torch.float16), name
    found = model.assess(**inputs.to(torch.float16))  # changes inputs
    torch.testing.assert_close(found.score, expected.score, atol=1e-2, rtol=0)


def test_device_map_auto(tiny_checkpoint, inputs, expected):
    assert_same(AutoModelForImageTextToText.from_pretrained(tiny_checkpoint, device_map="auto"), inputs, expected)


def test_heads_are_never_split_between_devices(tiny_model):
    size = 4 * sum(parameter.numel() for parameter in tiny_model.parameters())
    for share in (0.1, 0.3, 0.5, 0.7, 0.9):
        limits = {0: int(share * size), "cpu": 10 * size}
        device_map = infer_auto_device_map(tiny_model, limits, no_split_module_classes=tiny_model._no_split_modules)
        assert not [name for name in device_map if name.startswith(HEADS)]


def test_offloading(tiny_checkpoint, inputs, expected, tmp_path):
    names = ("model.vision_tower", "model.multi_modal_projector", "model.language_model", "lm_head", "fuser")
    device_map = dict.fromkeys(names, "cpu") | {"model.language_model": "disk", "mapper": "disk", "scorer": "disk"}
    model = AutoModelForImageTextToText.from_pretrained(
        tiny_checkpoint, device_map=device_map, offload_folder=tmp_path
    )
    assert model.mapper.output.weight.device.type == "meta"
    assert_same(model, inputs, expected)
    model = cpu_offload(HEIEForImplausibility.from_pretrained(tiny_checkpoint), execution_device="cpu")
    assert model.scorer.token_output.weight.device.type == "meta"
    assert_same(model, inputs, expected)


def test_shards(tiny_model, inputs, expected, tmp_path):
    tiny_model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("model-0*-of-0*.safetensors"))) > 2
    assert_same(AutoModelForImageTextToText.from_pretrained(tmp_path), inputs, expected)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_dtype_auto_is_that_of_the_saved_weights(tiny_checkpoint, tmp_path, dtype):
    HEIEForImplausibility.from_pretrained(tiny_checkpoint, dtype=dtype).save_pretrained(tmp_path)
    model = AutoModelForImageTextToText.from_pretrained(tmp_path, dtype="auto")
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}


def test_adapters_are_pushed_and_loaded_by_name(hub, tiny_checkpoint, inputs, images, transformers_loads_adapters):
    pipeline("image-implausibility", model=tiny_checkpoint).push_to_hub("someone/base")
    base = AutoModelForImageTextToText.from_pretrained("someone/base")
    lora = LoraConfig(
        target_modules=r".*language_model.*\.(q|v)_proj", modules_to_save=["mapper", "scorer"], init_lora_weights=False
    )
    tuned = get_peft_model(base, lora)
    with torch.no_grad():
        tuned.scorer.modules_to_save.default.token_output.bias.add_(1.0)
    expected = aligned(tuned).assess(**inputs)
    tuned.push_to_hub("someone/adapter")
    assert "config.json" not in hub.files("someone/adapter")

    loaded = AutoModelForImageTextToText.from_pretrained("someone/adapter")
    assert_same(loaded, inputs, expected)
    base = AutoModelForImageTextToText.from_pretrained("someone/base")
    assert_same(PeftModel.from_pretrained(base, "someone/adapter"), inputs, expected)
    result = pipeline("image-implausibility", model="someone/adapter")(images[0], explain=False)
    assert result["score"] == pytest.approx(expected.score[0].item(), abs=1e-6)
    loaded.push_to_hub("someone/adapter-2")  # through Transformers' own PEFT integration, with HEIE's card
    assert_same(AutoModelForImageTextToText.from_pretrained("someone/adapter-2"), inputs, expected)
    assert b"base_model: someone/base\n" in hub.files("someone/adapter-2")["README.md"]


@pytest.mark.parametrize("load", [AutoTokenizer, PreTrainedTokenizerFast])
def test_the_tokenizer_by_itself(repository, tiny_processor, load):
    tokenizer = load.from_pretrained(repository)
    text = "A dog [MAP][MAP_1] in a garden. [SCORE]"
    assert tokenizer(text).input_ids == tiny_processor.tokenizer(text).input_ids
    assert tokenizer.decode(tokenizer(text).input_ids) == text
    assert (tokenizer.map_token, tokenizer.score_token) == ("[MAP]", "[SCORE]")


class FixedGrid(HEIEForImplausibility):
    """`assess` for one image with a known grid: what torch.export can follow, as no step depends on token ids."""

    def fix(self, input_ids: torch.LongTensor, grid: tuple[int, int]) -> None:
        map_ids = torch.tensor([self.config.map_token_id, *self.config.local_map_token_ids])
        positions = torch.isin(input_ids[0], map_ids).nonzero().flatten()
        self.grid, self.positions = grid, positions[to_patch_order([len(positions)])].tolist()
        self.score_position = (input_ids[0] == self.config.score_token_id).nonzero().item()

    def forward(self, input_ids=None, attention_mask=None, pixel_values=None, **kwargs):
        features = self.get_image_features(pixel_values, return_dict=True)
        states = self.model(
            input_ids=input_ids, attention_mask=attention_mask, mm_encoder_outputs={"image": features}, use_cache=False
        ).last_hidden_state
        logits, log_deviation = self.mapper(states[0, self.positions], features.last_hidden_state[:, 1:])
        [fused] = self.fuser(logits, log_deviation, [len(self.positions)], [self.grid])
        score, _, _ = self.scorer(states[:, self.score_position], [fused.fused])
        return HEIEOutput(score=score, logits=fused.fused)


@pytest.fixture
def fixed_grid(make_tiny_model, inputs, tmp_path):
    """A `FixedGrid` model, what its forward takes, and what `assess` gives for it. Its scorer pools maps to a half."""
    make_tiny_model(scorer_config={"hidden_size": 32, "map_size": 16}).save_pretrained(tmp_path / "fixed")
    model = FixedGrid.from_pretrained(tmp_path / "fixed")
    expected = HEIEForImplausibility.from_pretrained(tmp_path / "fixed").assess(**inputs)
    template = torch.tensor([template_without_text(model.config, inputs["num_patches"].item())])
    input_ids = torch.cat([inputs["input_ids"], template], dim=1)
    model.fix(input_ids, tuple(inputs["patch_grid"][0].tolist()))
    forward = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "pixel_values": inputs["pixel_values"],
    }
    return model, forward, expected


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize(
    "exporter",
    [
        "DynamoExporter",
        pytest.param("OnnxExporter", marks=[needs("onnxscript"), needs("onnxruntime")]),
        pytest.param("ExecutorchExporter", marks=needs("executorch")),
    ],
)
def test_the_path_without_text_is_exported_for_a_fixed_grid(fixed_grid, exporter):
    model, forward, expected = fixed_grid
    config = getattr(exporters, exporter.replace("Exporter", "Config"))(dynamic=False)
    found = getattr(exporters, exporter)().export(model, forward, config=config)(**forward)
    torch.testing.assert_close(found["score"], expected.score, atol=1e-6, rtol=0)
    torch.testing.assert_close(found["logits"], expected.heatmap[0], atol=1e-6, rtol=0)
