"""Pulling a published model: without this package and with it."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModel,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    pipeline,
)

from heie_hf import HEIEConfig, HEIEForImplausibility, HEIEImageProcessor, HEIEProcessor, ImplausibilityPipeline
from heie_hf.hub.card import CardFacts
from heie_hf.hub.push import push_saved

ROOT = Path(__file__).resolve().parents[2]
NAME = "someone/heie"
SUMMARY = """
import hashlib
def summary(result):
    arrays = [hashlib.sha256(result[key].tobytes()).hexdigest() for key in ("predicted_heatmap", "uncertainty")]
    return [result["score"], result["text"], *arrays, list(result["heatmap"].size)]
"""
exec(SUMMARY, names := {})
summary = names["summary"]


@pytest.fixture
def published(hub, tiny_checkpoint, tmp_path, images):
    """Pushed, and an image in the working folder, as the card's examples have it."""
    push_saved(tiny_checkpoint, NAME, CardFacts())
    images[1].save(tmp_path / "image.png")
    hub.requests.clear()
    return hub


def examples(hub) -> list[str]:
    return re.findall(r"```python\n(.*?)```", hub.files(NAME)["README.md"].decode(), re.DOTALL)


def test_without_the_package_the_card_works_as_written_with_identical_numbers(
    published, tiny_checkpoint, run_without_package, tmp_path
):
    pipe = pipeline("image-implausibility", model=tiny_checkpoint, device="cpu")
    from_pipeline, _, one_step_lower = examples(published)
    code = f"""
{SUMMARY}
import json
from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoTokenizer
{from_pipeline}
found = [summary(result), summary(pipe("image.png", explain=False))]
{one_step_lower}
found.append(summary(result))
classes = [pipe, processor, processor.image_processor, model, model.config]
for auto in (AutoConfig, AutoImageProcessor, AutoModel):
    classes.append(auto.from_pretrained("{NAME}", trust_remote_code=True))
tokenizer = AutoTokenizer.from_pretrained("{NAME}", trust_remote_code=False)
pipe.save_pretrained("saved again")
again = pipeline("image-implausibility", model="saved again", trust_remote_code=True)
found.append(summary(again("image.png")))
print(json.dumps([found, [type(each).__module__ for each in classes], tokenizer("A dog.").input_ids]))
"""
    output = run_without_package(code, HF_ENDPOINT=published.url)
    found, modules, tokens = json.loads(output.splitlines()[-1])
    image = str(tmp_path / "image.png")
    with_text, without = (summary(pipe(image, explain=explain)) for explain in (True, False))
    assert found == [with_text, without, with_text, with_text]
    assert all(module.startswith("transformers_modules.") for module in modules)
    assert tokens == pipe.tokenizer("A dog.").input_ids
    assert (tmp_path / "heatmap.png").is_file()


def program(path: Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.mark.slow
def test_the_embedded_model_without_the_package_as_the_documentation_has_it(tmp_path, without_package):
    """The commands of docs/hub.md, with what they print; where they say python, there is no heie_hf."""
    page = (ROOT / "docs" / "hub.md").read_text()
    [commands] = [block for block in re.findall(r"```bash\n(.*?)```", page, re.DOTALL) if "cd / &&" in block]
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    (tmp_path / "bin").mkdir()
    interpreter = shlex.quote(sys.executable)
    program(tmp_path / "bin" / "heie", f'PYTHONPATH={shlex.quote(str(ROOT))} exec {interpreter} -m heie_hf.cli "$@"')
    epilogue = f"{SUMMARY}\nimport json; print(json.dumps(summary(result)))"
    code = shlex.quote(without_package) + '"$2"' + shlex.quote(epilogue)
    program(tmp_path / "bin" / "python", f"exec {interpreter} -c {code}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {"PATH": path, "HF_HOME": str(tmp_path / "home")}
    done = subprocess.run(["sh", "-c", commands], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

    result = pipeline("image-implausibility", device="cpu")(str(ROOT / "examples" / "images" / "clock.png"))
    _, printed, numbers = done.stdout.splitlines()
    assert json.loads(numbers) == summary(result)
    assert printed == f"{result['score']} {result['regions']}"
    progress, notice = done.stderr.replace("\r", "\n").strip().rsplit("\n", 1)
    assert all(line.startswith("Loading weights:") for line in progress.splitlines() if line)
    assert f"`{notice}`" in page.replace("\n  ", " ")


def test_with_the_package_no_remote_code_is_needed_or_run(published, tmp_path, monkeypatch):
    """Nor fetched: the repository's code is replaced by code that raises."""
    files = published.files(NAME)
    traps = {name: b"raise SystemExit('remote code ran')" for name in files if name.endswith(".py")}
    published.repos[NAME].commit("main", files | traps)
    monkeypatch.chdir(tmp_path)
    for trust in ({}, {"trust_remote_code": True}):
        assert type(AutoConfig.from_pretrained(NAME, **trust)) is HEIEConfig
        assert type(AutoModel.from_pretrained(NAME, **trust)) is HEIEForImplausibility
        assert type(AutoModelForImageTextToText.from_pretrained(NAME, **trust)) is HEIEForImplausibility
        assert type(AutoImageProcessor.from_pretrained(NAME, **trust)) is HEIEImageProcessor
        processor = AutoProcessor.from_pretrained(NAME, **trust)
        assert (type(processor), type(processor.image_processor)) == (HEIEProcessor, HEIEImageProcessor)
        assert AutoTokenizer.from_pretrained(NAME, **trust).map_token == "[MAP]"
        assert type(pipeline("image-implausibility", model=NAME, **trust)) is ImplausibilityPipeline
    space = {}
    exec(examples(published)[1], space)
    assert len(space["results"]) == 2
    assert not [request for request in published.requests if re.fullmatch(r"GET .*\.py", request)]


def test_a_model_loaded_from_the_hub_is_saved_without_code(published, tmp_path):
    pipe = pipeline("image-implausibility", model=NAME)
    pipe.model.save_pretrained(tmp_path / "again")
    config = json.loads((tmp_path / "again" / "config.json").read_text())
    assert not {"auto_map", "custom_pipelines"} & set(config)
    assert not list((tmp_path / "again").glob("*.py"))
