"""Every file in examples/configs trains: the same command, with a tiny model and drawn scenes for the large ones."""

import importlib.util
import json
import re
from dataclasses import fields
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainingArguments

import heie_hf
from heie_hf import HEIEForImplausibility
from heie_hf.training.recipe import field_names
from heie_hf.training.run import read_recipe

ROOT = Path(heie_hf.__file__).resolve().parents[1]
RECIPES = sorted(path.stem for path in (ROOT / "examples" / "configs").glob("*.yaml"))
HEADS = ("mapper.", "fuser.", "scorer.")


def recipe_file(name: str) -> Path:
    return ROOT / "examples" / "configs" / f"{name}.yaml"


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory, make_tiny_model, tiny_processor):
    """A tiny model whose layers are wide enough for 4-bit weights, which come in blocks of 64."""
    config = make_tiny_model().config
    wide = {"hidden_size": 64, "intermediate_size": 128}
    model = make_tiny_model(
        text_config=config.text_config.to_dict() | wide, vision_config=config.vision_config.to_dict() | wide
    )
    folder = tmp_path_factory.mktemp("stand-in")
    model.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", RECIPES)
def test_two_steps(name, heie_train, stand_in, scenes, tmp_path):
    recipe = read_recipe(recipe_file(name), ["--use_cpu"])
    if recipe.model.quantization != "none" and importlib.util.find_spec("bitsandbytes") is None:
        pytest.skip("bitsandbytes is not installed")
    model = ["--model", stand_in] if recipe.model.model_name_or_path else []  # tiny-cpu's own model is small enough
    data = ["--train_datasets", scenes, "--eval_datasets", scenes, "--output_dir", tmp_path / "out"]
    status, out, err = heie_train(recipe_file(name), *model, *data, "--eval_steps", 2, "--save_steps", 2)
    assert status == 0, err
    [line] = out
    assert json.loads(line)["steps"] == 2
    assert 0 <= json.loads(line)["eval_mse"] <= 1
    weights = "adapter_model" if recipe.adapter.lora_rank else "model"
    assert {f"{weights}.safetensors", "processor_config.json", "checkpoint-2"} <= {
        path.name for path in (tmp_path / "out").iterdir()
    }
    if recipe.model.freeze:
        before = HEIEForImplausibility.from_pretrained(stand_in, dtype=torch.bfloat16).state_dict()
        after = load_file(tmp_path / "out" / "model.safetensors")
        moved = {name for name, value in after.items() if not torch.equal(value, before[name].to(value.dtype))}
        assert moved and all(name.startswith(HEADS) for name in moved)


@pytest.mark.parametrize("name", RECIPES)
def test_the_commands_in_a_recipe_name_files_that_are_there(name):
    named = re.findall(r"examples/[\w./-]+", recipe_file(name).read_text())
    assert f"examples/configs/{name}.yaml" in named
    assert [path for path in named if not (ROOT / path).is_file()] == []


def test_the_paper_s_settings():
    training = read_recipe(recipe_file("heie-8b-zero3"), ["--use_cpu"]).training
    assert (training.learning_rate, training.warmup_steps) == (3e-4, 0.03)
    assert training.per_device_train_batch_size * training.gradient_accumulation_steps * 8 == 16


def test_the_docs_list_every_field():
    text = (ROOT / "docs" / "training.md").read_text()
    inherited = {each.name for each in fields(TrainingArguments)}
    assert [name for name in field_names() if name not in inherited and f"`{name}`" not in text] == []
