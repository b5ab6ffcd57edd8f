"""The folder that is published, and what is not."""

import json
import os
import resource

import pytest
from huggingface_hub import ModelCard
from peft import LoraConfig, get_peft_model

from heie_hf import HEIEForImplausibility
from heie_hf.cli import main
from heie_hf.hub.card import CardFacts
from heie_hf.hub.repository import write_repository


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["push", *map(str, arguments)])
    return exit.value.code or 0


@pytest.fixture
def checkpoint(make_tiny_model, tiny_processor, tmp_path):
    folder = tmp_path / "checkpoint"
    make_tiny_model().save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


def test_configs_name_the_code_that_lies_beside_them(repository):
    config = json.loads((repository / "config.json").read_text())
    processor = json.loads((repository / "processor_config.json").read_text())
    [task] = config["custom_pipelines"].values()
    references = [
        *config["auto_map"].values(),
        *processor["auto_map"].values(),
        *processor["image_processor"]["auto_map"].values(),
        task["impl"],
    ]
    assert {*config["auto_map"], *processor["auto_map"], *processor["image_processor"]["auto_map"]} == {
        "AutoConfig",
        "AutoModel",
        "AutoModelForImageTextToText",
        "AutoProcessor",
        "AutoImageProcessor",
    }
    for reference in references:
        module, name = reference.split(".")
        assert f"class {name}(" in (repository / f"{module}.py").read_text()


def test_only_what_belongs_on_the_hub_is_written(checkpoint, tmp_path):
    """A checkpoint of a training has pickles, optimiser states and a log; a folder may have anything."""
    unwanted = ["training_args.bin", "optimizer.pt", "pytorch_model.bin", "trainer_state.json", "metrics.json", "a.py"]
    for name in unwanted:
        (checkpoint / name).write_text("{}")
    (checkpoint / "runs").mkdir()
    write_repository(str(checkpoint), tmp_path / "out", CardFacts(metrics={"cc": 0.5}))
    written = set(os.listdir(tmp_path / "out"))
    assert not {*unwanted, "runs"} & written
    assert (tmp_path / "out" / "model.safetensors").read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_a_card_of_ours_beside_the_weights_is_published_as_it_is(checkpoint, tmp_path):
    card = "---\ntags:\n- image-implausibility\nlicense: mit\n---\n\n# Mine\n\nWritten by hand.\n"
    (checkpoint / "README.md").write_text(card)
    write_repository(str(checkpoint), tmp_path / "out", CardFacts())
    assert (tmp_path / "out" / "README.md").read_text() == card
    write_repository(str(checkpoint), tmp_path / "stated", CardFacts(license="apache-2.0"))
    stated = ModelCard.load(tmp_path / "stated" / "README.md")
    assert stated.data.license == "apache-2.0" and "## Limits" in stated.text


@pytest.mark.parametrize(
    "readme", ["My notes.", "---\nlibrary_name: peft\n---\n\n# Model Card for Model ID\n", "---\n: [\n---\n"]
)
def test_any_other_readme_gives_way_to_our_card(checkpoint, tmp_path, readme):
    (checkpoint / "README.md").write_text(readme)
    write_repository(str(checkpoint), tmp_path / "out", CardFacts(license="mit"))
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "mit" and "## Limits" in card.text


@pytest.fixture
def adapter(checkpoint, tmp_path):
    """A LoRA folder as PEFT saves it: its empty card, and the base model's path on this machine."""
    lora = LoraConfig(target_modules=r".*language_model.*\.(q|v)_proj", modules_to_save=["mapper", "scorer"])
    model = HEIEForImplausibility.from_pretrained(checkpoint)
    get_peft_model(model, lora).save_pretrained(tmp_path / "adapter")
    assert "Model Card for Model ID" in (tmp_path / "adapter" / "README.md").read_text()
    assert str(checkpoint) in (tmp_path / "adapter" / "adapter_config.json").read_text()
    return tmp_path / "adapter"


def test_the_card_of_an_adapter_is_ours_and_no_path_leaves_the_machine(adapter, tmp_path):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(json.dumps({"cc": 0.9123, "run": {"dataset": "scenes"}}))
    facts = ["--metrics", metrics, "--license", "mit", "--base-model", "someone/heie", "--dataset", "someone/scenes"]
    assert run("a/b", "--to-folder", tmp_path / "out", "--model", adapter, *facts) == 0
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.license, card.data.base_model, card.data.datasets) == ("mit", "someone/heie", ["someone/scenes"])
    assert card.data.library_name == "peft" and "0.9123" in card.text and "Model Card for Model ID" not in card.text
    config = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "someone/heie"
    assert run("--to-folder", tmp_path / "bare", "--model", adapter) == 0  # nothing stated
    assert "Base model: none stated" in (tmp_path / "bare" / "README.md").read_text()
    for folder in ("out", "bare"):
        for file in (tmp_path / folder).iterdir():
            assert str(tmp_path).encode() not in file.read_bytes(), file.name


@pytest.mark.parametrize(
    "missing, reason",
    [
        ("model.safetensors", "has no safetensors weights"),
        ("processor_config.json", "has no processor_config.json: save model and processor there"),
        ("config.json", "has no config.json"),
    ],
)
def test_an_incomplete_model_is_refused(checkpoint, tmp_path, capsys, missing, reason):
    (checkpoint / missing).unlink()
    assert run("--to-folder", tmp_path / "out", "--model", checkpoint) == 1
    assert reason in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_another_kind_of_model_is_refused(checkpoint, tmp_path, capsys):
    config = json.loads((checkpoint / "config.json").read_text())
    (checkpoint / "config.json").write_text(json.dumps(config | {"model_type": "internvl"}))
    assert run("--to-folder", tmp_path / "out", "--model", checkpoint) == 1
    assert "is no HEIE model (its model_type is internvl)" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["no/such", "no/such/folder"])
def test_a_model_that_is_nowhere(hub, tmp_path, capsys, source):
    assert run("--to-folder", tmp_path / "out", "--model", source) == 1
    assert f"{source} is no folder, and no model that the Hub gives out\n" in capsys.readouterr().err


def test_a_published_model_is_published_again(hub, checkpoint, tmp_path):
    assert run("someone/heie", "--model", checkpoint) == 0
    assert run("--to-folder", tmp_path / "out", "--model", "someone/heie") == 0
    expected = {name: content for name, content in hub.files("someone/heie").items() if name != ".gitattributes"}
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == expected


def test_a_folder_in_use_is_left_alone(checkpoint, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    assert run("--to-folder", tmp_path / "out", "--model", checkpoint) == 0  # empty
    before = os.listdir(tmp_path / "out")
    assert run("--to-folder", tmp_path / "out", "--model", checkpoint) == 1
    assert "out is not an empty folder" in capsys.readouterr().err
    assert os.listdir(tmp_path / "out") == before


def test_a_full_disk_leaves_no_half_folder(checkpoint, tmp_path, capsys):
    """The limit on a file's size stands in for the disk's: the kernel stops writing in the middle of the weights."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        status = run("--to-folder", tmp_path / "out", "--model", checkpoint)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert status == 1
    error = capsys.readouterr().err
    assert error == f"heie: cannot write {tmp_path}/out: File too large\n"
    assert os.listdir(tmp_path) == ["checkpoint"]


def test_a_folder_that_cannot_be_written(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert run("--to-folder", tmp_path / "file" / "out", "--model", checkpoint) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert run("--to-folder", tmp_path / "file", "--model", checkpoint) == 1
    assert "file is not an empty folder" in capsys.readouterr().err
