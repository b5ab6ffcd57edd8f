"""What a repository by a stranger may not do."""

import ast
import json
import shutil
import tracemalloc
from pathlib import Path

import pytest
import torch
from peft import LoraConfig
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor

from heie_hf import HEIEConfig, HEIEForImplausibility

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def stranger(tiny_checkpoint, tmp_path):
    """A copy of a model, to be tampered with."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "stranger")


@pytest.mark.parametrize("settings", [{}, {"use_safetensors": None}, {"use_safetensors": False}])
def test_a_pickle_is_refused(stranger, settings):
    weights = HEIEForImplausibility.from_pretrained(stranger).state_dict()
    (stranger / "model.safetensors").unlink()
    torch.save(weights, stranger / "pytorch_model.bin")
    with pytest.raises((OSError, ValueError), match="no file named model.safetensors|from safetensors only"):
        AutoModelForImageTextToText.from_pretrained(stranger, **settings)


def test_a_pickle_beside_the_weights_is_not_read(stranger):
    (stranger / "pytorch_model.bin").write_bytes(b"not even a pickle")
    AutoModelForImageTextToText.from_pretrained(stranger)


def test_a_pickled_adapter_is_refused(stranger, tmp_path, transformers_loads_adapters):
    model = AutoModelForImageTextToText.from_pretrained(stranger)
    model.add_adapter(LoraConfig(target_modules=["q_proj"]))
    model.save_pretrained(tmp_path / "adapter")
    (tmp_path / "adapter" / "adapter_model.safetensors").rename(tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(OSError, match="adapter_model.safetensors"):
        AutoModelForImageTextToText.from_pretrained(stranger).load_adapter(tmp_path / "adapter")


def test_nothing_in_the_package_switches_remote_code_or_pickles_on():
    for folder in ("heie_hf", "modeling", "processing"):
        for file in (ROOT / folder).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text())):
                if isinstance(node, ast.keyword) and node.arg in ("trust_remote_code", "allow_pickle"):
                    assert isinstance(node.value, ast.Constant) and node.value.value is False, f"{file}:{node.lineno}"
                if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                    "torch.load",
                    "pickle.load",
                    "pickle.loads",
                ):
                    assert "weights_only=True" in ast.unparse(node), f"{file}:{node.lineno}"


def test_whatever_is_loaded_is_loaded_without_remote_code():
    """Said at every call: where it is not, Transformers asks on stdout, and a "y" on stdin runs the code."""
    calls = []
    for file in (ROOT / "heie_hf").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", None) == "from_pretrained":
                calls.append(node)
                assert "trust_remote_code" in [keyword.arg for keyword in node.keywords], f"{file}:{node.lineno}"
    assert calls


HUGE = 10**9
ABSURD = [
    {"max_patches": HUGE},
    {"image_seq_length": HUGE},
    {"section_max_tokens": [HUGE, 1, 1]},
    {"text_config": {"num_hidden_layers": HUGE}},
    {"text_config": {"hidden_size": HUGE}},
    {"text_config": {"vocab_size": HUGE}},
    {"text_config": {"intermediate_size": HUGE}},
    {"text_config": {"hidden_size": 60_000, "num_hidden_layers": 1000, "intermediate_size": 1_000_000}},
    {"text_config": {"hidden_size": 60_000, "vocab_size": 16_000_000}},
    {"vision_config": {"num_hidden_layers": HUGE}},
    {"vision_config": {"image_size": [HUGE, HUGE]}},
    {"vision_config": {"image_size": [10_000, 10_000], "patch_size": [1, 1]}},
    {"mapper_config": {"num_hidden_layers": HUGE}},
    {"mapper_config": {"num_queries": HUGE}},
    {"mapper_config": {"upsample_factor": HUGE}},
    {"scorer_config": {"map_size": HUGE}},
    {"scorer_config": {"hidden_size": HUGE}},
    {"max_patches": 1000, "vision_config": {"image_size": [4096, 4096], "patch_size": [4, 4]}},
]


@pytest.mark.parametrize("change", ABSURD, ids=json.dumps)
def test_absurd_sizes_are_refused_before_anything_is_allocated(stranger, change):
    config = json.loads((stranger / "config.json").read_text())
    for name, value in change.items():
        config[name] = config[name] | value if isinstance(value, dict) else value
    (stranger / "config.json").write_text(json.dumps(config))
    tracemalloc.start()
    try:
        for load in (AutoConfig, AutoModelForImageTextToText):
            with pytest.raises(ValueError, match="absurd|must be"):
                load.from_pretrained(stranger)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 50e6


@pytest.mark.parametrize(
    "change",
    [
        {"max_patches": HUGE},
        {"size": {"height": HUGE, "width": HUGE}},
        {"heatmap_size": {"height": HUGE, "width": HUGE}},
        {"size": {"height": 30_000, "width": 30_000}},
    ],
    ids=json.dumps,
)
def test_an_absurd_processor_is_refused(stranger, change):
    config = json.loads((stranger / "processor_config.json").read_text())
    config["image_processor"] |= change
    (stranger / "processor_config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="absurd|too few"):
        AutoProcessor.from_pretrained(stranger)


def test_large_but_sensible_sizes_are_not_refused(tiny_config):
    """InternVL3-78B's language model, more patches than any InternVL takes."""
    text = {"model_type": "qwen2", "hidden_size": 8192, "num_hidden_layers": 80, "intermediate_size": 29568}
    vision = {"hidden_size": 3200, "num_hidden_layers": 45, "intermediate_size": 12800, "image_size": [448, 448]}
    HEIEConfig(text_config=text | {"vocab_size": 151_700}, vision_config=vision, max_patches=40)
