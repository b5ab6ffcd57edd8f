"""Weights that overflow on some pictures: these are failures with their reason, and no NaN gets into any file."""

import copy
import json
import math

import pytest
import torch
from PIL import Image

from heie_hf.cli import main
from heie_hf.data.synthetic import synthesize
from tests.evaluation.test_command import FAST


@pytest.fixture(scope="module")
def overflowing(make_tiny_model, tiny_processor, tmp_path_factory):
    """A checkpoint whose first layer gives infinity for all but black pictures."""
    model = make_tiny_model()
    with torch.no_grad():
        model.model.vision_tower.embeddings.patch_embeddings.projection.weight.fill_(1e38)
    processor = copy.deepcopy(tiny_processor)
    processor.image_processor.image_mean = [0.0, 0.0, 0.0]  # black stays 0
    folder = tmp_path_factory.mktemp("overflowing")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


@pytest.fixture
def evaluate(overflowing, tmp_path, capfd):
    """evaluate(num_black, ...) -> status, the line on stdout, stderr; so many of three scenes are black."""

    def run(num_black, *arguments):
        synthesize(3, 11, tmp_path / "scenes")
        for picture in sorted((tmp_path / "scenes" / "images").iterdir())[:num_black]:
            Image.new("RGB", Image.open(picture).size).save(picture)
        data = ("--dataset", str(tmp_path / "scenes"), "--output-dir", str(tmp_path / "out"))
        with pytest.raises(SystemExit) as exit:
            main(["evaluate", "--model", str(overflowing), *FAST, "--batch-size", "3", *data, *arguments])
        printed = capfd.readouterr()
        (line,) = printed.out.splitlines()
        return exit.value.code or 0, strict(line), printed.err.splitlines()

    return run


def strict(text):
    def refuse(name):
        raise AssertionError(f"{name} is no JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("text", ["generated", "none", "reference"])
def test_an_image_that_gives_nan_is_a_failure_and_the_others_are_measured(evaluate, tmp_path, text):
    status, figures, err = evaluate(2, "--text", text)
    assert status == 1
    (failure,) = [line for line in err if line.startswith("heie: ")]
    assert failure.endswith(": the model gave NaN or infinity")
    assert (figures["num_images"], figures["num_failures"]) == (2, 1)
    assert math.isfinite(figures["mse"])
    metrics = strict((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["mse"] == figures["mse"]
    listed = strict((tmp_path / "out" / "failures.jsonl").read_text())
    assert listed["reason"] == "the model gave NaN or infinity" and listed["id"] in failure


def test_where_every_image_gives_nan_every_figure_is_null(evaluate, tmp_path):
    status, figures, err = evaluate(0)
    assert status == 1 and sum(line.startswith("heie: ") for line in err) == 3
    assert (figures["num_images"], figures["mse"], figures["plcc"], figures["perplexity_generated"]) == (
        0,
        *[None] * 3,
    )
    strict((tmp_path / "out" / "metrics.json").read_text())
    assert "the model gave NaN" in (tmp_path / "out" / "report.html").read_text()
