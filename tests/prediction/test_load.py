"""Models that load, and folders that give one line instead of a score."""

import json
import re
import shutil
import subprocess
import sys

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, pipeline

from heie_hf import HEIEForImplausibility, HEIEProcessor
from heie_hf.prediction.load import ModelError, load_pipeline
from tests import damaged_models


@pytest.fixture
def folder(tiny_checkpoint, tmp_path):
    """A copy of a model, to be damaged."""
    return shutil.copytree(tiny_checkpoint, tmp_path / "model")


def without(folder, prefix):
    weights = load_file(folder / "model.safetensors")
    kept = {name: weight for name, weight in weights.items() if prefix not in name}
    assert len(kept) < len(weights)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def in_two_shards(folder):
    AutoModelForImageTextToText.from_pretrained(folder).save_pretrained(folder, max_shard_size="300KB")
    (folder / "model.safetensors").unlink(missing_ok=True)
    index = json.loads((folder / "model.safetensors.index.json").read_text())
    assert len(set(index["weight_map"].values())) > 1
    return index


@pytest.mark.parametrize("name", ["scorer.map_output.weight", "mapper.", "lm_head"])
def test_missing_weights_are_refused_by_name(folder, name):
    without(folder, name)
    with pytest.raises(ModelError, match=re.escape(f"cannot load model {folder}: ") + ".*" + re.escape(name)):
        load_pipeline(str(folder), "cpu")
    with pytest.raises(ValueError, match=re.escape(name)):
        pipeline("image-implausibility", model=str(folder), device="cpu")


def test_mismatched_weights_are_refused_by_name(folder):
    weights = load_file(folder / "model.safetensors")
    weights["scorer.map_output.weight"] = weights["scorer.map_output.weight"].repeat(2, 1)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"scorer\.map_output\.weight"):
        load_pipeline(str(folder), "cpu")
    with pytest.raises(ValueError, match="Could not load model"):
        pipeline("image-implausibility", model=str(folder), device="cpu")


def test_missing_weights_below_an_adapter_are_refused(folder, tmp_path, transformers_loads_adapters):
    from peft import LoraConfig, get_peft_model

    base = AutoModelForImageTextToText.from_pretrained(folder)
    get_peft_model(base, LoraConfig(target_modules=["q_proj"])).save_pretrained(tmp_path / "adapter")
    HEIEProcessor.from_pretrained(folder).save_pretrained(tmp_path / "adapter")
    load_pipeline(str(tmp_path / "adapter"), "cpu")
    without(folder, "scorer.map_output")
    with pytest.raises(ModelError, match=r"scorer\.map_output"):
        load_pipeline(str(tmp_path / "adapter"), "cpu")


def test_new_heads_give_no_score_until_they_are_trained(tmp_path, folder):
    """Not even after they were saved, which makes the checkpoint whole."""
    without(folder, "scorer.map_output")
    model, processor = HEIEForImplausibility.from_pretrained(folder), HEIEProcessor.from_pretrained(folder)
    assert model.config.untrained_weights == ["scorer.map_output.bias", "scorer.map_output.weight"]
    model.save_pretrained(tmp_path / "saved")
    processor.save_pretrained(tmp_path / "saved")
    with pytest.raises(ModelError, match=r"scorer\.map_output\.bias"):
        load_pipeline(str(tmp_path / "saved"), "cpu")
    model.train()
    model.save_pretrained(tmp_path / "saved")
    assert load_pipeline(str(tmp_path / "saved"), "cpu")(Image.new("RGB", (60, 60)))["score"] >= 0


def test_shards_are_loaded(folder, tiny_processor, images):
    expected = load_pipeline(str(folder), "cpu")(images[0], explain=False)
    in_two_shards(folder)
    assert load_pipeline(str(folder), "cpu")(images[0], explain=False)["score"] == expected["score"]


@pytest.mark.parametrize("name", ["weights.bin", "../outside.safetensors", "{absolute}", "sub/weights.safetensors"])
def test_an_index_names_safetensors_of_its_folder_only(folder, tmp_path, name):
    """The named file is there and holds the right weights."""
    index = in_two_shards(folder)
    name = name.format(absolute=tmp_path / "absolute.safetensors")
    stored = next(iter(index["weight_map"].values()))
    (folder / name).parent.mkdir(exist_ok=True)
    shutil.move(folder / stored, folder / name)
    index["weight_map"] = {key: name if file == stored else file for key, file in index["weight_map"].items()}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    for load in (AutoModelForImageTextToText.from_pretrained, lambda source: load_pipeline(str(source), "cpu")):
        with pytest.raises(ValueError, match="safetensors only|files of the same folder"):
            load(folder)


def test_an_adapter_is_loaded_from_safetensors_only(folder, tmp_path, transformers_loads_adapters):
    from peft import LoraConfig, get_peft_model

    base = AutoModelForImageTextToText.from_pretrained(folder)
    tuned = get_peft_model(base, LoraConfig(target_modules=["q_proj"]))
    tuned.save_pretrained(tmp_path / "adapter", safe_serialization=True)
    HEIEProcessor.from_pretrained(folder).save_pretrained(tmp_path / "adapter")
    weights = load_file(tmp_path / "adapter" / "adapter_model.safetensors")
    (tmp_path / "adapter" / "adapter_model.safetensors").unlink()
    torch.save(weights, tmp_path / "adapter" / "adapter_model.bin")
    with pytest.raises(ModelError, match="adapter_model.safetensors"):
        load_pipeline(str(tmp_path / "adapter"), "cpu")


def test_a_config_that_describes_far_more_weights_than_there_are(folder):
    damaged_models.set_field(folder / "config.json", ("text_config", "vocab_size"), 2**23)
    with pytest.raises(ModelError, match="describes .* weights"):
        load_pipeline(str(folder), "cpu")


def damaged(tiny_checkpoint):
    """Everything but fields of a wrong kind, and every 17th of those: in all files, with all kinds of values."""
    num_fields = 0
    for name, damage in damaged_models.damages(tiny_checkpoint):
        if damage.__name__ == "set_wrong":
            num_fields += 1
            if num_fields % 17:
                continue
        yield name, damage


NUM_PARTS = 12  # for several processes


@pytest.mark.slow
@pytest.mark.parametrize("part", range(NUM_PARTS))
def test_every_damaged_folder_works_or_gives_one_line(tiny_checkpoint, tmp_path, capfd, part):
    escaped = []
    for name, damage in list(damaged(tiny_checkpoint))[part::NUM_PARTS]:
        folder = shutil.copytree(tiny_checkpoint, tmp_path / "stranger" / "model")
        damage(folder)
        try:
            load_pipeline(str(folder), "cpu")(Image.new("RGB", (80, 60)))
        except ModelError as error:
            line = str(error)
            if "\n" in line or not line.startswith(f"cannot load model {folder}: ") or line.endswith(": "):
                escaped.append(f"{name}: {line!r}")
        except BaseException as error:
            escaped.append(f"{name}: {type(error).__name__} {error}")
        if list(folder.rglob("ran")):
            escaped.append(f"{name}: the code of the folder was run")
        shutil.rmtree(folder.parent)
    assert not escaped, "\n".join(escaped)
    assert "[y/N]" not in capfd.readouterr().out


@pytest.mark.parametrize("name", ["tokenizer.json missing", "config.json list", "code of an AutoImageProcessor"])
def test_the_command_says_it_in_one_line(folder, tmp_path, name):
    dict(damaged_models.damages(folder))[name](folder)
    Image.new("RGB", (60, 60)).save(tmp_path / "a.png")
    command = [sys.executable, "-m", "heie_hf.cli", "predict", str(tmp_path / "a.png"), "--model", str(folder)]
    result = subprocess.run(command, input="y\n", capture_output=True, text=True)
    assert result.returncode == 2 and result.stdout == ""
    assert re.fullmatch(rf"heie: cannot load model {re.escape(str(folder))}: .+\n", result.stderr)
    assert not list(folder.rglob("ran"))
