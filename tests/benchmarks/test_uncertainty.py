"""What is said about the predicted deviation: right for deviations that are known to be good or bad."""

import importlib

import numpy as np
import pytest

from heie_hf import HEIEForImplausibility, HEIEProcessor
from heie_hf.data.synthetic import synthesize
from heie_hf.evaluation import EvaluatedModel, evaluate, read_data
from heie_hf.evaluation.heads import Heads
from heie_hf.evaluation.store import PredictionStore, read_shard

PAGE = "Before.\n\n<!-- table -->\n\nwas here\n\n<!-- end of table -->\n\nAfter.\n"


@pytest.fixture
def uncertainty(monkeypatch):
    return importlib.import_module("benchmarks.claims.uncertainty")


@pytest.fixture
def laplace(uncertainty):
    """An image whose maps err by Laplace noise of exactly the deviations that they state."""
    random = np.random.default_rng(0)
    target = np.full((100, 200), 0.5, np.float32)
    deviations = [random.uniform(0.01, 0.2, target.shape) for _ in range(2)]
    maps = [target + random.laplace(scale=s / np.sqrt(2)) for s in deviations]
    return uncertainty.Maps(*maps, *deviations, target, target)


def test_sparsification_tells_a_perfect_from_a_useless_and_a_wrong_order(uncertainty):
    error = np.random.default_rng(0).random(5000)
    perfect, useless, wrong = (
        uncertainty.sparsification(error, s) for s in (2 * error, np.random.default_rng(1).random(5000), -error)
    )
    assert perfect.ause == 0
    assert useless.ause == pytest.approx(useless.ause_of_chance, rel=0.1)
    assert wrong.ause > 1.5 * useless.ause
    assert perfect.by_deviation[0] == pytest.approx(1) and perfect.by_deviation[-1] < 0.1


def test_true_laplace_deviations_cover_what_they_promise(uncertainty, laplace):
    table = uncertainty.deviation_table([laplace])
    for name in ("local", "global"):
        assert table[name]["coverage"]["0.5"] == pytest.approx(0.5, abs=0.02)
        assert table[name]["coverage"]["0.9"] == pytest.approx(0.9, abs=0.02)
        assert table[name]["ause"] < table[name]["ause_of_chance"] and table[name]["srcc"] > 0.3


def test_inverse_variance_is_the_best_fusion_of_true_deviations(uncertainty, laplace):
    fusions = importlib.import_module("benchmarks.claims.uncertainty_fusions")
    errors = {
        name: float(np.square(fuse(laplace) - laplace.target).mean())
        for name, fuse in fusions.fusions([laplace]).items()
    }
    assert min(errors, key=errors.get).startswith("1/s²")
    assert fusions.calibration_of([laplace]) == pytest.approx(1, abs=0.03)
    low, high = np.quantile(fusions.paper_weight(laplace), [0.05, 0.95])
    assert 0.45 < low < high < 0.55  # e^-s hardly tells small deviations apart


def test_the_page_on_a_real_evaluation(uncertainty, tiny_checkpoint, tmp_path):
    folders = {}
    for split, seed in (("dev", 1), ("test", 2)):
        synthesize(6, seed, tmp_path / split)
        load = lambda: (  # noqa: E731
            HEIEForImplausibility.from_pretrained(tiny_checkpoint).eval(),
            HEIEProcessor.from_pretrained(tiny_checkpoint),
        )
        folders[split] = tmp_path / f"on-{split}"
        data = read_data(str(tmp_path / split))
        evaluate(data, EvaluatedModel("tiny", load), folders[split], text="none", num_workers=0)
    maps = next(uncertainty.read_maps(str(tmp_path / "test"), folders["test"]))
    (predictions,) = (folders["test"] / "predictions").iterdir()
    path = min(PredictionStore(predictions).shard_of.values())
    fusions = importlib.import_module("benchmarks.claims.uncertainty_fusions")
    ours = fusions.average(maps, fusions.paper_weight(maps))
    np.testing.assert_allclose(ours, Heads.load(predictions).fuse(read_shard(path))[0], atol=1e-6)

    (tmp_path / "uncertainty.md").write_text(PAGE)
    arguments = []
    for split in folders:
        arguments += [f"--{split}", str(tmp_path / split), str(folders[split])]
    uncertainty.main([*arguments, "--docs", str(tmp_path)])
    written = (tmp_path / "uncertainty.md").read_text()
    assert "6 test scenes, 6 dev scenes" in written and written.endswith("After.\n")
    assert len([line for line in written.splitlines() if line.startswith("| ")]) == 6 + 1 + 11
    assert (tmp_path / "uncertainty" / "sparsification.svg").is_file()
