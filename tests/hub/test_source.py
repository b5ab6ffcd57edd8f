"""Where a model's files come from: its folder, the Hub, or the cache where there is no network."""

import socket

import pytest
from huggingface_hub import constants

from heie_hf.cli import main
from heie_hf.prediction.load import ModelError, load_pipeline
from heie_hf.prediction.source import model_folder


@pytest.fixture
def published(hub, tiny_checkpoint):
    with pytest.raises(SystemExit) as exit:
        main(["push", "someone/heie", "--model", tiny_checkpoint])
    assert not exit.value.code
    hub.requests.clear()
    return hub


@pytest.fixture
def no_network(monkeypatch):
    """A port at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


def test_a_folder_is_itself(tiny_checkpoint):
    assert str(model_folder(tiny_checkpoint)) == tiny_checkpoint


def test_a_model_of_the_hub_is_fetched_without_its_code(published):
    folder = model_folder("someone/heie")
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= names
    assert not any(name.endswith(".py") for name in names)


def test_without_a_network_the_cache_serves(published, images, request):
    before = load_pipeline("someone/heie", "cpu")(images[0], explain=False)
    request.getfixturevalue("no_network")
    after = load_pipeline("someone/heie", "cpu")(images[0], explain=False)
    assert after["score"] == before["score"]


def test_without_network_and_cache_there_is_one_line_and_no_second_try(hub, request, caplog):
    request.getfixturevalue("no_network")
    with pytest.raises(ModelError) as error:
        load_pipeline("someone/heie", "cpu")
    assert str(error.value) == (
        "cannot load model someone/heie: no such folder; the Hub cannot be reached, and its cache has no such model"
    )
    assert "Retrying" not in caplog.text


@pytest.mark.parametrize("name", ["someone/nothing", "no/such/folder"])
def test_a_name_that_is_nowhere(hub, name):
    with pytest.raises(ModelError, match="no such folder, and the Hub gives out no model of this name"):
        load_pipeline(name, "cpu")


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(published, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "file" / "hub"))
    reason = "the Hub's cache .*/file/hub cannot be written .*: set HF_HOME to another folder"
    with pytest.raises(ModelError, match=reason):
        load_pipeline("someone/heie", "cpu")
