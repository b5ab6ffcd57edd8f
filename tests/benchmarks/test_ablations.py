"""The ablations at tiny size: what each variant changes, what an interval is over, and the page they write."""

import importlib
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from heie_hf import HEIETrainer
from heie_hf.evaluation.samples import UNKNOWN

PAGE = "Before.\n\n<!-- table -->\n\nwas here\n\n<!-- end of table -->\n\nAfter.\n"


@pytest.fixture
def variants(monkeypatch):
    return importlib.import_module("benchmarks.claims.ablation_variants")


@pytest.fixture
def ablations(variants):
    return importlib.import_module("benchmarks.claims.ablations")


@pytest.fixture
def maps_of(variants, tiny_checkpoint, images):
    """maps_of(NAME) -> the fused heatmap of one image, from the same backbone and the same new heads."""

    def run(name):
        model, processor = variants.start(variants.VARIANTS[name], tiny_checkpoint, seed=0)
        return model.eval().assess(**processor(images=images[:1], return_tensors="pt"))

    return run


def test_every_variant_starts_from_the_same_backbone_and_changes_something(variants, maps_of):
    plain = maps_of("heie")
    for name in ("fusion-local", "score-token", "literal-equation", "predicting-position", "one-patch"):
        other = maps_of(name)
        same_map = other.heatmap[0].shape == plain.heatmap[0].shape and torch.equal(other.heatmap[0], plain.heatmap[0])
        assert not (same_map and torch.equal(other.score, plain.score)), name
    assert torch.equal(maps_of("fusion-local").local_heatmap[0], plain.local_heatmap[0])
    assert torch.equal(maps_of("texts-none").heatmap[0], plain.heatmap[0])  # differs in training alone


def test_the_states_before_the_tokens_are_read(variants, tiny_checkpoint):
    model, _ = variants.start(variants.VARIANTS["predicting-position"], tiny_checkpoint, seed=0)
    ids = torch.tensor([[5, model.config.map_token_id, model.config.local_map_token_ids[0], 6]])
    ids = torch.cat([ids, torch.tensor([[model.config.score_token_id]])], dim=1)
    states = torch.arange(5.0).view(1, 5, 1)
    maps, score = model._select_states(states, ids, [2])
    assert maps.flatten().tolist() == [1.0, 0.0] and score.item() == 3.0  # thumbnail last


def test_a_score_is_read_as_it_was_written(variants):
    text = variants.write_score({"analysis": "The cat has five legs.", "score": 0.4249})["analysis"]
    assert text.startswith("The cat has five legs. ") and variants.read_score(text) == 0.42
    assert variants.read_score("The plausibility is 0.4.") == 0.4
    for unread in ("The cat has five legs.", "The plausibility is 1.40."):
        assert variants.read_score(unread) == 0.5


def samples(shift, n=60):
    drawn = np.random.default_rng(1).random(n)
    return [dict(UNKNOWN) | {"key": str(i), "cc": value + shift} for i, value in enumerate(drawn)]


def test_intervals_are_over_scenes_and_seeds(ablations):
    one = ablations.figure_of([samples(0)], [samples(0)], "cc")
    seeds = [samples(shift) for shift in (-0.2, 0, 0.2)]
    three = ablations.figure_of(seeds, seeds, "cc")
    assert three["difference_interval"] == one["difference_interval"] == [0, 0]
    assert three["value"] == pytest.approx(one["value"])
    width = [high - low for low, high in (one["interval"], three["interval"])]
    assert width[1] > 1.5 * width[0]
    better = ablations.figure_of([samples(0.1)] * 3, [samples(0)] * 3, "cc")
    assert better["difference_interval"] == pytest.approx([0.1, 0.1])


def test_the_page_is_measured_once_and_written_again_from_the_results(
    ablations, tiny_checkpoint, tmp_path, monkeypatch
):
    score = ablations.TABLES["score"]
    kept = {
        name: score.rows[name] for name in ("a number in the text", "both and the reference heatmap", "both (HEIE)")
    }
    decisions = ablations.TABLES["decisions"]
    tables = {
        "score": replace(score, rows=kept),
        "decisions": replace(decisions, rows={n: decisions.rows[n] for n in ("one patch and the thumbnail", "HEIE")}),
    }
    monkeypatch.setattr(ablations, "TABLES", tables)
    (tmp_path / "ablations.md").write_text(PAGE)
    arguments = ["--docs", str(tmp_path)]
    run = ["--output-dir", str(tmp_path / "run"), "--model", tiny_checkpoint, "--seeds", "0", "1", "--steps", "1"]
    run += ["--batch-size", "2", "--num-train", "2", "--num-test", "6"]
    ablations.main(arguments + run)
    written = (tmp_path / "ablations.md").read_text()
    assert written.startswith("Before.") and written.endswith("After.\n") and "was here" not in written
    assert "| 0.697 | 0.683 |" in next(line for line in written.splitlines() if line.startswith("| both (HEIE)"))
    assert len(written.split("| one patch |")[1].split("\n\n")[0].splitlines()) >= 3  # by size
    assert (tmp_path / "ablations" / "score.svg").read_text().startswith("<?xml")
    stored = json.loads((tmp_path / "ablations.json").read_text())["tables"]
    assert stored["decisions"]["HEIE"]["cc"]["difference_interval"] == [0, 0]

    monkeypatch.setattr(HEIETrainer, "train", None)  # would fail if it were called again
    for again in (arguments, arguments + run):
        (tmp_path / "ablations.md").write_text(PAGE)
        ablations.main(again)
        assert (tmp_path / "ablations.md").read_text() == written
