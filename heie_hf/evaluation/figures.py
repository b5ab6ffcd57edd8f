"""From rows of single images to the figures of a data set, each with its bootstrap interval."""

import warnings
from collections.abc import Sequence
from contextlib import contextmanager

import numpy as np

from heie_hf.metrics.bootstrap import (
    NUM_RESAMPLES,
    Interval,
    Statistic,
    interval,
    krcc_of,
    mean_of,
    plcc_of,
    ratio_of,
    rmse_of,
    srcc_of,
)

CONFIDENCE = 0.95

#: Every figure, and whether more of it is better.
FIGURES = {
    "mse": False,
    "mse_gt0": False,
    "kld": False,
    "cc": True,
    "sim": True,
    "nss": True,
    "auc_judd": True,
    "plcc": True,
    "srcc": True,
    "krcc": True,
    "rmse": False,
    "plcc_token": True,
    "srcc_token": True,
    "plcc_map": True,
    "srcc_map": True,
    "issue_precision": True,
    "issue_recall": True,
    "issue_f1": True,
    "rouge_l": True,
    "bert_score": True,
    "judge_rating": True,
    "perplexity_reference": False,
    "perplexity_generated": False,
}


def column(samples: Sequence[dict], name: str) -> np.ndarray:
    """(n,) float64, NaN where it is None."""
    return np.array([sample[name] for sample in samples], dtype=np.float64)


def statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    """Each of FIGURES as a statistic over the images; those without the label in question do not count in it."""
    return {
        **_heatmap_statistics(samples),
        **_score_statistics(samples),
        **_issue_statistics(samples),
        **{name: mean_of(column(samples, name)) for name in TEXT_FIGURES},
        **{f"perplexity_{text}": _perplexity(samples, text) for text in ("reference", "generated")},
    }


def _heatmap_statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    columns = {name: column(samples, name) for name in ("mse", "kld", "cc", "sim", "nss", "auc_judd")}
    columns["mse_gt0"] = np.where(column(samples, "gt_sum") == 0, columns["mse"], np.nan)
    return {name: mean_of(values) for name, values in columns.items()}


def _score_statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    scored = [s for s in samples if s["target_score"] is not None and s["score"] is not None]
    target = column(scored, "target_score")
    pairs = {suffix: (column(scored, name), target) for suffix, name in SCORES.items()}
    return {
        "krcc": krcc_of(*pairs[""]),
        "rmse": rmse_of(*pairs[""]),
        **{f"plcc{suffix}": plcc_of(*pair) for suffix, pair in pairs.items()},
        **{f"srcc{suffix}": srcc_of(*pair) for suffix, pair in pairs.items()},
    }


#: How alike the generated and the reference text of an image are.
TEXT_FIGURES = ("rouge_l", "bert_score", "judge_rating")

#: The final score, and the two that it is made of (Table 6).
SCORES = {"": "score", "_token": "token_score", "_map": "map_score"}


def _issue_statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    hits, false_alarms, misses = (np.nan_to_num(column(samples, name)) for name in ("hits", "false_alarms", "misses"))
    return {
        "issue_precision": ratio_of(hits, hits + false_alarms),
        "issue_recall": ratio_of(hits, hits + misses),
        "issue_f1": ratio_of(2 * hits, 2 * hits + false_alarms + misses),
    }


def _perplexity(samples: Sequence[dict], text: str) -> Statistic:
    nll, num_tokens = (np.nan_to_num(column(samples, f"{name}_{text}")) for name in ("nll", "num_tokens"))
    return ratio_of(nll, num_tokens, np.exp)


def counts(samples: Sequence[dict]) -> dict[str, int]:
    """How many images each group of figures is over."""
    gt_sum = column(samples, "gt_sum")
    return {
        "num_images": len(samples),
        "num_heatmaps": int((~np.isnan(gt_sum)).sum()),
        "num_gt0": int((gt_sum == 0).sum()),
        "num_scores": sum(s["target_score"] is not None and s["score"] is not None for s in samples),
        "num_issue_images": sum(s["hits"] is not None for s in samples),
        "num_reference_texts": sum(s["nll_reference"] is not None for s in samples),
        "num_generated_texts": sum(s["nll_generated"] is not None for s in samples),
    }


def intervals(samples: Sequence[dict], num_resamples: int = NUM_RESAMPLES) -> dict[str, Interval]:
    """Value and bootstrap interval of each of FIGURES, NaN where it is undefined."""
    found = statistics(samples)
    with quiet():
        return {name: _interval(found[name], num_resamples) for name in FIGURES}


def _interval(statistic: Statistic, num_resamples: int) -> Interval:
    if not statistic.num_images or np.isnan(statistic.value):
        return Interval(*[float("nan")] * 3)
    return interval(statistic, confidence=CONFIDENCE, num_resamples=num_resamples)


@contextmanager
def quiet():
    """Without the warnings about scores that are all the same, in single resamples or at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="krcc is undefined")
        yield


def finite(value: float) -> float | None:
    """NaN as None: JSON has no NaN."""
    return None if np.isnan(value) else value
