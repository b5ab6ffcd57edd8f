import evaluate
import numpy as np
import pytest

from heie_hf.metrics import MODULES, heatmap_metrics, score_metrics
from heie_hf.metrics.text import bert_score
from tests.metrics.tiny_bert import make_tiny_bert


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("evaluate.config.HF_METRICS_CACHE", str(tmp_path))
    monkeypatch.setattr("evaluate.config.HF_EVALUATE_OFFLINE", True)


def load(name, config=None):
    return evaluate.load(str(MODULES / name), config)


def make_maps():
    rng = np.random.default_rng(0)
    predictions, targets = rng.random((2, 3, 12, 10)).astype(np.float32)
    targets[targets < 0.5] = 0
    targets[0] = 0
    return predictions, targets


def test_heatmap_module_gives_the_same_row_in_batches():
    predictions, targets = make_maps()
    module = load("heatmap")
    module.add_batch(predictions=predictions[:2], references=targets[:2])
    module.add(prediction=predictions[2], reference=targets[2])
    expected = heatmap_metrics(predictions, targets, eps=1e-12)
    del expected["per_image"]
    assert module.compute(eps=1e-12) == pytest.approx(expected, abs=1e-6)


def test_heatmaps_of_different_sizes():
    rng = np.random.default_rng(0)
    maps = [rng.random((4, 6)).tolist(), rng.random((5, 3)).tolist()]
    row = load("heatmap").compute(predictions=maps, references=maps)
    assert (row["num_images"], row["mse"], row["cc"]) == (2, 0, pytest.approx(1))


def test_score_and_issue_modules():
    rng = np.random.default_rng(0)
    predictions, targets = rng.random((2, 20))
    assert load("score").compute(predictions=predictions, references=targets) == score_metrics(predictions, targets)
    row = load("issues").compute(predictions=[["extra eye"], []], references=[["extra eye"], ["missing leg"]])
    assert (row["issue_precision"], row["issue_recall"]) == (1, 0.5)


def test_text_module(tmp_path):
    pytest.importorskip("rouge_score")
    pytest.importorskip("bert_score")
    texts = {"predictions": ["the hand has six fingers", "a dog"], "references": ["the hand has fingers", "a dog"]}
    assert load("text").compute(**texts) == {"rouge_l": pytest.approx((8 / 9 + 1) / 2)}
    row = load("text").compute(**texts, model=make_tiny_bert(tmp_path / "bert"))
    assert row["bert_score"] == pytest.approx(bert_score(*texts.values(), str(tmp_path / "bert"), 2).mean())


def test_modules_combine_with_each_other_and_with_anyone_elses():
    class Bias(evaluate.Metric):
        def _info(self):
            return load("score")._info()

        def _compute(self, predictions, references):
            return {"bias": float(np.mean(predictions) - np.mean(references))}

    predictions, targets = np.random.default_rng(0).random((2, 20))
    together = evaluate.combine([load("score", "srcc"), load("score", "plcc"), Bias()])
    row = together.compute(predictions=predictions, references=targets)
    expected = score_metrics(predictions, targets)
    assert row == {
        "srcc": expected["srcc"],
        "plcc": expected["plcc"],
        "bias": pytest.approx(predictions.mean() - targets.mean()),
    }


def test_single_heatmap_metrics_combine():
    predictions, targets = make_maps()
    together = evaluate.combine([load("heatmap", "kld"), load("heatmap", "auc_judd")])
    together.add_batch(predictions=predictions, references=targets)
    expected = heatmap_metrics(predictions, targets)
    assert together.compute() == pytest.approx({name: expected[name] for name in ("kld", "auc_judd")}, abs=1e-6)
