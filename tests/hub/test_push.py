"""Pushing, by the protocol that huggingface_hub really speaks, to a Hub on loopback."""

import hashlib
import json
import os
import time

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor, pipeline

from heie_hf.cli import main
from heie_hf.hub.push import PushError

CODE = {
    "configuration_heie.py",
    "decoding_heie.py",
    "explanation_heie.py",
    "fusion_heie.py",
    "generation_heie.py",
    "image_files_heie.py",
    "image_processing_heie.py",
    "images_heie.py",
    "losses_heie.py",
    "mapper_heie.py",
    "modeling_heie.py",
    "pipeline_heie.py",
    "pixels_heie.py",
    "processing_heie.py",
    "outputs_heie.py",
    "prompts_heie.py",
    "results_heie.py",
    "scorer_heie.py",
    "targets_heie.py",
    "weight_files_heie.py",
}
MODEL = {"README.md", "config.json", "generation_config.json", "model.safetensors"}
PROCESSOR = {"chat_template.jinja", "processor_config.json", "tokenizer.json", "tokenizer_config.json"}


@pytest.fixture
def pipe(tiny_checkpoint):
    return pipeline("image-implausibility", model=tiny_checkpoint, device="cpu")


def run(*arguments) -> int:
    with pytest.raises(SystemExit) as exit:
        main(["push", *map(str, arguments)])
    return exit.value.code or 0


def state(hub) -> dict:
    """Every repository with its branches."""
    return {name: dict(repo.branches) for name, repo in hub.repos.items()}


def test_push_then_pull_gives_the_same_numbers(hub, pipe, images):
    expected = pipe(images[0], explain=False)
    commit = pipe.push_to_hub("someone/heie", private=True, tags=["test"])
    assert commit.oid == hub.repos["someone/heie"].branches["main"]
    assert hub.repos["someone/heie"].private
    assert set(hub.files("someone/heie")) == {".gitattributes"} | MODEL | PROCESSOR | CODE
    pulled = pipeline("image-implausibility", model="someone/heie", device="cpu")  # by name, into an empty cache
    assert type(pulled) is type(pipe)
    assert pulled(images[0], explain=False)["score"] == expected["score"]
    assert not any(".py" in request for request in hub.requests if request.startswith("GET"))  # no code is fetched


def test_model_and_processor_pushed_one_after_the_other_are_complete(hub, pipe, images):
    pipe.processor.push_to_hub("heie")  # one's own name is added
    assert set(hub.files("someone/heie")) >= PROCESSOR and "README.md" not in hub.files("someone/heie")
    pipe.model.push_to_hub("heie", max_shard_size="100KB")
    files = set(hub.files("someone/heie"))
    assert files >= PROCESSOR | CODE | {"README.md", "model.safetensors.index.json"}
    assert len([name for name in files if name.startswith("model-0")]) > 2
    model = AutoModelForImageTextToText.from_pretrained("someone/heie")
    inputs = AutoProcessor.from_pretrained("someone/heie")(images=images[:1])
    assert torch.equal(model.assess(**inputs).score, pipe.model.assess(**inputs).score)


def test_a_second_push_replaces_the_weights_but_not_what_others_wrote(hub, pipe):
    pipe.model.push_to_hub("someone/heie", max_shard_size="100KB", tags=["first"])
    card = hub.files("someone/heie")["README.md"].decode() + "\nWritten by hand.\n"
    hub.repos["someone/heie"].commit(
        "main", hub.files("someone/heie") | {"README.md": card.encode(), "notes.txt": b"x"}
    )
    pipe.push_to_hub("someone/heie", tags=["second"])
    files = hub.files("someone/heie")
    assert [name for name in files if "safetensors" in name] == ["model.safetensors"]
    assert files["notes.txt"] == b"x"
    assert b"Written by hand." in files["README.md"]
    assert b"- first\n- second\n" in files["README.md"]


def test_revisions(hub, pipe, images):
    pipe.push_to_hub("someone/heie")
    before = dict(hub.repos["someone/heie"].branches)
    with torch.no_grad():
        pipe.model.scorer.token_output.bias.add_(1.0)
    pipe.push_to_hub("someone/heie", revision="tuned/v2")
    assert hub.repos["someone/heie"].branches["main"] == before["main"]
    inputs = pipe.processor(images=images[:1])
    for revision, same in (("main", False), ("tuned/v2", True), (before["main"], False)):
        model = AutoModelForImageTextToText.from_pretrained("someone/heie", revision=revision)
        assert torch.equal(model.assess(**inputs).score, pipe.model.assess(**inputs).score) == same


def test_the_command_pushes_the_files_that_it_writes_into_a_folder(hub, tiny_checkpoint, tmp_path, capsys):
    assert run("someone/heie", "--model", tiny_checkpoint, "--private", "--revision", "v1") == 0
    pushed = json.loads(capsys.readouterr().out)
    assert pushed["commit"] == hub.repos["someone/heie"].branches["v1"]
    assert hub.repos["someone/heie"].private
    hub.requests.clear()
    assert run("someone/heie", "--to-folder", tmp_path / "out", "--model", tiny_checkpoint) == 0
    written = {name: (tmp_path / "out" / name).read_bytes() for name in os.listdir(tmp_path / "out")}
    assert written | {".gitattributes": b"*.safetensors filter=lfs\n"} == hub.files("someone/heie", "v1")
    assert set(written) == MODEL | PROCESSOR | CODE
    assert hub.requests == []  # offline


@pytest.mark.parametrize(
    "token, repo, reason",
    [
        ("hf_wrong", "someone/heie", "the Hub does not know this token"),
        ("hf_wrong", "heie", "the Hub does not know this token"),
        ("hf_reader", "someone/heie", "this token may not write to someone/heie"),
        ("hf_writer", "others/heie", "this token may not write to others/heie"),
        ("hf_writer", "a/b/c", "Repo id must be in the form"),
    ],
)
def test_a_wrong_token_or_name_is_one_line(hub, tiny_checkpoint, monkeypatch, capsys, token, repo, reason):
    monkeypatch.setenv("HF_TOKEN", token)
    assert run(repo, "--model", tiny_checkpoint) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"heie: {repo}: {reason}") and error.count("\n") == 1
    assert state(hub) == {}


def test_not_logged_in(hub, pipe, monkeypatch, tmp_path):
    monkeypatch.delenv("HF_TOKEN")
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    with pytest.raises(PushError, match="hf auth login"):
        pipe.push_to_hub("someone/heie")
    assert state(hub) == {}


@pytest.mark.parametrize(
    "broken, reason",
    [
        ("lfs", "the connection to the Hub broke off"),
        ("commit", "the connection to the Hub broke off"),
        ("quota", "The disk of the Hub is full"),
    ],
)
def test_an_interrupted_push_leaves_nothing_behind(hub, pipe, monkeypatch, broken, reason):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # huggingface_hub waits between its five attempts
    hub.broken = {broken}
    with pytest.raises(PushError, match=reason):
        pipe.push_to_hub("someone/heie", revision="v1")
    assert state(hub) == {}

    hub.broken = set()
    pipe.push_to_hub("someone/heie")
    before = state(hub)
    pipe.model.scorer.token_output.bias.data.add_(1.0)  # other weights, so that they are sent again
    hub.broken = {broken}
    with pytest.raises(PushError, match=reason):
        pipe.push_to_hub("someone/heie")
    with pytest.raises(PushError, match=reason):
        pipe.push_to_hub("someone/heie", revision="v1")
    assert state(hub) == before  # no half commit, no new branch


def test_ctrl_c_leaves_nothing_behind(hub, pipe, monkeypatch):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("huggingface_hub._commit_api.lfs_upload", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pipe.push_to_hub("someone/heie")
    assert state(hub) == {}


def test_an_existing_public_repository_does_not_become_private(hub, pipe):
    pipe.push_to_hub("someone/heie")
    before = state(hub)
    with pytest.raises(PushError, match="someone/heie exists and is public"):
        pipe.push_to_hub("someone/heie", private=True)
    assert state(hub) == before


def test_a_card_that_the_hub_refuses_stops_the_push(hub, tiny_checkpoint, capsys):
    assert run("someone/heie", "--model", tiny_checkpoint, "--license", "my own") == 1
    assert 'Invalid metadata in README.md. - "license" must be one of' in capsys.readouterr().err
    assert state(hub) == {}


def test_large_files_are_sent_once(hub, pipe):
    pipe.push_to_hub("someone/heie")
    pipe.push_to_hub("someone/copy")
    weights = hub.files("someone/copy")["model.safetensors"]
    assert [request for request in hub.requests if request.startswith("PUT")] == [
        f"PUT /lfs/{hashlib.sha256(weights).hexdigest()}"
    ]


def test_usage_errors(capsys, tmp_path):
    for arguments in (
        [],
        ["--to-folder", tmp_path / "out", "--private"],
        ["a/b", "--to-folder", "x", "--revision", "y"],
    ):
        assert run(*arguments) == 2
        assert "give REPO, or --to-folder" in capsys.readouterr().err


def test_offline(monkeypatch, tiny_checkpoint, capsys):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_TOKEN", "hf_writer")
    assert run("someone/heie", "--model", tiny_checkpoint) == 1
    assert capsys.readouterr().err == "heie: someone/heie: HF_HUB_OFFLINE is set\n"
