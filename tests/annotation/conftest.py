"""A server whose model knows what the synthetic scenes show: it answers each stage as a good model would."""

import json
import re
import shutil
import threading
from hashlib import sha256

import pytest

from heie_hf.annotation.prompts import FILTER, NO_REGIONS
from heie_hf.cli import main
from heie_hf.data import synthetic
from heie_hf.processing.explanation_heie import Explanation, render
from tests.metrics.chat_server import Server


class KnowingModel:
    """The answers of a good model, by stage; a test puts others into `replies`, each used up in turn."""

    def __init__(self):
        self.replies = {"filter": [], "free": [], "format": [], "repair": []}
        self.asked = {stage: 0 for stage in self.replies}
        self.lock = threading.Lock()

    def __call__(self, content, count):
        stage, text = self._stage(content)
        if stage == "free":
            text += sha256(content[1]["image_url"]["url"].encode()).hexdigest()  # another text for another picture
        with self.lock:
            self.asked[stage] += 1
            if self.replies[stage]:
                return self.replies[stage].pop(0)
        return getattr(self, stage)(text)

    def _stage(self, content):
        if isinstance(content, str):
            return ("repair" if content.startswith("That does not fit yet") else "format"), content
        text, picture = content
        assert picture["image_url"]["url"].startswith("data:image/png;base64,")
        return ("filter" if text["text"] == FILTER else "free"), text["text"]

    def filter(self, text):
        return '{"sensitive": false, "category": "none"}'

    def free(self, text):
        if "found nothing wrong" in text:
            return f"A street with a car. All is as it should be. {text[-8:]}"
        number = re.search(r"(\d+) red contours", text)
        return f"A street with a car; {number.group(1) if number else 1} problems: a wheel is missing. {text[-8:]}"

    def format(self, text):
        if "Nothing is wrong with this picture" in text:
            return render(Explanation("A street.", NO_REGIONS, "The light fits the shadows."))
        number = re.search(r"(\d+) regions are numbered", text)
        if not number:
            return render(Explanation("A street.", "The wheel.", "Wheel: it is missing."))
        lines = [f"Wheel: number {k} is missing. (region {k})" for k in range(1, int(number.group(1)) + 1)]
        return render(Explanation("A street.", "The wheels.", "\n".join(lines)))

    repair = format


@pytest.fixture
def model():
    return KnowingModel()


@pytest.fixture
def server(model):
    with Server() as server:
        server.reply = model
        yield server


@pytest.fixture(autouse=True)
def surroundings(tmp_path, monkeypatch):
    """A cache of its own; the other tests run with HF_HUB_OFFLINE, here the network is loopback."""
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Twelve scenes, some of them clean, one with two regions."""
    folder = tmp_path_factory.mktemp("annotated") / "scenes"
    synthetic.synthesize(12, 5, folder)
    return folder


@pytest.fixture
def folder(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "scenes")


@pytest.fixture
def annotate(folder, server, tmp_path, capsys):
    """annotate(options ...) -> exit status, the JSON line (None without), stderr."""

    def run(*options):
        arguments = ["annotate", "--dataset", str(folder), "--output-dir", str(tmp_path / "out")]
        arguments += ["--vision-model", "eye", "--vision-url", server.url, *map(str, options)]
        with pytest.raises(SystemExit) as exit:
            main(arguments)
        captured = capsys.readouterr()
        return exit.value.code or 0, json.loads(captured.out) if captured.out else None, captured.err

    return run


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]
