"""Metrics. Those of heatmaps and scores are pure functions `f(prediction, target) -> float` that need only numpy.

Explanations are judged by `heie_hf.metrics.text`, `.judge` (a language model) and `.human`; `.bootstrap` says how sure
a figure is. `MODULES` holds the same metrics for `evaluate.load(str(MODULES / "heatmap"))`, offline.
"""

from pathlib import Path

from heie_hf.metrics.heatmap import auc_judd, average_images, cc, heatmap_metrics, image_metrics, kld, mse, nss, sim
from heie_hf.metrics.score import krcc, logistic_fit, plcc, rmse, score_metrics, srcc

MODULES = Path(__file__).parent / "modules"

__all__ = [
    "MODULES",
    "auc_judd",
    "average_images",
    "cc",
    "heatmap_metrics",
    "image_metrics",
    "kld",
    "krcc",
    "logistic_fit",
    "mse",
    "nss",
    "plcc",
    "rmse",
    "score_metrics",
    "sim",
    "srcc",
]
