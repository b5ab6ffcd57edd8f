"""A Hub on loopback, and processes to which this package does not exist."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import transformers.utils.hub
from huggingface_hub import constants

spec = importlib.util.spec_from_file_location("hub_server", Path(__file__).with_name("hub_server.py"))
hub_server = importlib.util.module_from_spec(spec)
spec.loader.exec_module(hub_server)

# An environment with transformers, torch and pillow, and what those need.
BLOCKED = [
    "heie_hf",
    "modeling",
    "processing",
    "accelerate",
    "datasets",
    "evaluate",
    "peft",
    "typer",
    "scipy",
    "pandas",
]
WITHOUT_PACKAGE = f"import sys; sys.modules |= dict.fromkeys({BLOCKED})\n"


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """Everything in this process that asks the Hub asks this one, as its user "someone", with an empty cache."""
    with hub_server.Hub() as server:
        monkeypatch.setattr(constants, "ENDPOINT", server.url)
        template = server.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
        monkeypatch.setattr(huggingface_hub.hf_api.api, "endpoint", server.url)
        monkeypatch.setattr(transformers.utils.hub, "_hf_api", None)
        monkeypatch.setenv("HF_TOKEN", "hf_writer")
        yield server


@pytest.fixture
def without_package():
    """Put before code: it makes the process one to which this package does not exist."""
    return WITHOUT_PACKAGE


@pytest.fixture
def run_without_package(tmp_path):
    """Runs code where heie_hf cannot be imported, with an empty cache; returns its output."""

    def run(code: str, folder: Path = tmp_path, **environment: str) -> str:
        environment = {
            "HF_HOME": str(tmp_path / "home"),
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            **environment,
        }
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        command = [sys.executable, "-c", WITHOUT_PACKAGE + code]
        result = subprocess.run(command, cwd=folder, env=kept | environment, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run


@pytest.fixture(scope="session")
def repository(tiny_checkpoint, tmp_path_factory):
    """What `heie push --to-folder` writes of the tiny checkpoint."""
    from heie_hf.hub.card import CardFacts
    from heie_hf.hub.repository import write_repository

    folder = tmp_path_factory.mktemp("hub") / "repository"
    write_repository(tiny_checkpoint, folder, CardFacts())
    return folder
