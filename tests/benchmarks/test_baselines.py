"""The baselines at tiny size: trained for a time that a clock of the test counts, measured, and put into a page."""

import itertools
import json
import re
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks.baselines import models, training
from benchmarks.baselines import run as main
from heie_hf.recipes.heie_tiny import WRITING

PAGE = "Before.\n\n<!-- table -->\n\nold\n\n<!-- end of table -->\n\nAfter.\n"
SEGFORMER = {"hidden_sizes": (8, 8, 16, 16), "depths": (1, 1, 1, 1), "num_attention_heads": (1, 1, 2, 2)}
VIT = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "patch_size": 56}


class Killed(Exception):
    pass


@pytest.fixture
def baselines(monkeypatch):
    """The benchmark's three modules, with tiny models and a clock that a tick later is a second later."""
    monkeypatch.setitem(models.MODELS, "segformer-b0", partial(models.SegFormer, decoder_hidden_size=16, **SEGFORMER))
    monkeypatch.setitem(models.MODELS, "vit", partial(models.ViT, **VIT))
    monkeypatch.setattr(training, "BATCH", 4)
    monkeypatch.setattr(training, "monotonic", partial(next, itertools.count(1000)))
    return SimpleNamespace(main=main, training=training, models=models)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    return tmp_path_factory.mktemp("scenes")


@pytest.fixture
def run(baselines, scenes, tmp_path):
    """run(...) -> the page that the benchmark writes; five seconds of training."""
    page = tmp_path / "page.md"
    sizes = ["--minutes", str(5 / 60), "--num-train", "8", "--num-test", "6", "--seeds", "0"]

    def call(*arguments):
        page.write_text(PAGE)
        files = ["--output-dir", str(tmp_path / "run"), "--scenes", str(scenes), "--docs", str(page)]
        baselines.main.main([*files, *sizes, *arguments])
        return page.read_text()

    return call


def cells(page, name):
    """The cells of a model's rows, without its label."""
    return [line.split(" | ")[1:] for line in page.splitlines() if line.startswith(f"| {name}")]


def test_each_baseline_has_a_result_and_a_row_and_none_is_made_twice(run, baselines, tmp_path, monkeypatch):
    page = run()
    assert page.startswith(
        "Before.\n\n<!-- table -->\n\n0.0833333 minutes of training on 8 scenes of seed 1, measured"
    )
    assert page.endswith("<!-- end of table -->\n\nAfter.\n") and "old" not in page
    for name in ("segformer-b0", "vit"):
        metrics = json.loads((tmp_path / "run" / f"{name}-0" / "metrics.json").read_text())
        assert metrics["num_images"] == 6 and metrics["run"]["training_seed"] == 0
        heatmap, score = cells(page, name)
        assert heatmap[0].startswith(f"{metrics['cc']:.3f} [") and score[0].startswith(f"{metrics['plcc']:.3f} [")
        assert len(heatmap) == 6 and len(score) == 2 and re.search(r"saw 20 images\)", page)

    monkeypatch.setattr(baselines.main, "train", None)  # would fail if they were called again
    monkeypatch.setattr(baselines.main, "read_data", None)
    assert run() == page

    # of one seed, the mean and its interval are those that `heie evaluate` gives
    with_heie = run("--heie", str(tmp_path / "run" / "vit-0"))
    assert cells(with_heie, "vit-0 ") == cells(with_heie, "vit (") == cells(page, "vit (")


def test_a_killed_training_goes_on_with_what_is_left_of_its_time(run, baselines, tmp_path, monkeypatch):
    def ticks(count):
        yield from range(count)
        raise Killed

    monkeypatch.setattr(baselines.training, "monotonic", partial(next, ticks(4)))  # the fourth step is lost
    with pytest.raises(Killed):
        run("--baselines", "vit")
    assert not (tmp_path / "run" / "vit-0" / "model").exists()

    monkeypatch.setattr(baselines.training, "monotonic", partial(next, ticks(3)))  # one to begin, two for what is left
    run("--baselines", "vit")
    done = json.loads((tmp_path / "run" / "vit-0" / "model" / "training.json").read_text())
    assert done["training_seconds"] == 5 and done["training_images"] == 5 * 4


def test_a_folder_keeps_runs_of_one_kind(run, capsys, monkeypatch, baselines):
    monkeypatch.setattr(baselines.main, "scenes", lambda *_: pytest.fail("was not refused"))
    with pytest.raises(pytest.fail.Exception):
        run()
    with pytest.raises(SystemExit) as exit:
        run("--minutes", "7")
    assert exit.value.code == 2
    assert "minutes was 0.08333333333333333, is 7.0" in capsys.readouterr().err


def test_the_learning_rate_rises_and_ends_at_nothing(baselines):
    budget = baselines.training.TimeBudget(seconds=100)
    rates = []
    for budget.spent in (0, 2.5, 5, 50, 100, 101):
        rates.append(budget.rate())
    assert rates == pytest.approx([0, 0.5, 0.994, 0.5, 0, 0], abs=1e-3)


@pytest.mark.parametrize("name", ["segformer-b0", "vit"])
def test_heatmaps_have_the_size_of_their_image(baselines, name, images):
    model = baselines.models.MODELS[name]().eval()
    for image, (heatmap, score) in zip(images, baselines.models.predict(model, images), strict=True):
        assert heatmap.shape == (image.height, image.width)
        assert heatmap.min() >= 0 and heatmap.max() <= 1 and heatmap.std() > 0
        assert 0 <= score <= 1


def test_real_sizes(baselines):
    models = baselines.models
    sizes = [sum(p.numel() for p in model.parameters()) / 1e6 for model in (models.SegFormer(), models.ViT())]
    assert sizes[0] == pytest.approx(3.75, rel=0.01)  # SegFormer-b0 has 3.8 million with 150 classes
    assert sizes[1] == pytest.approx(4.28, rel=0.01)


def test_image_and_heatmap_are_mirrored_together_and_writing_never(baselines):
    half = np.zeros((40, 60), np.uint8)
    half[:, :30] = 255
    row = {"image": Image.fromarray(half).convert("RGB"), "heatmap": Image.fromarray(half), "score": 0.25}
    torch.manual_seed(0)
    for writing, sides in ((0, {True, False}), (WRITING, {True})):
        batch = baselines.training.collate(
            [row | {"cells": np.array([writing], np.uint64).tobytes()}] * 20, map_side=56
        )
        assert batch["heatmap"].shape == (20, 56, 56) and batch["score"].tolist() == [0.25] * 20
        bright = batch["pixel_values"][:, 0, 112, 10] > batch["pixel_values"][:, 0, 112, -10]
        hot = batch["heatmap"][:, 28, 2] > batch["heatmap"][:, 28, -2]
        assert bright.tolist() == hot.tolist() and set(hot.tolist()) == sides
