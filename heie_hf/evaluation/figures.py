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

from .samples import FACT_FIGURES, SHUFFLED, TEXT_FIGURES, column
from .twins import pair_values

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
    "paired_accuracy": True,
    "paired_false_alarm": False,
    "issue_precision": True,
    "issue_recall": True,
    "issue_f1": True,
    "issue_f1_shuffled": True,
    "description_facts": True,
    "description_facts_shuffled": True,
    "description_objects": True,
    "description_objects_shuffled": True,
    "description_colors": True,
    "description_colors_shuffled": True,
    "description_place": True,
    "description_place_shuffled": True,
    "rouge_l": True,
    "rouge_l_shuffled": True,
    "bert_score": True,
    "judge_rating": True,
    "perplexity_reference": False,
    "perplexity_generated": False,
}

#: How people read the figures and counts of metrics.json.
NAMES = {
    "mse": "MSE",
    "mse_gt0": "MSE GT=0",
    "kld": "KLD",
    "cc": "CC",
    "sim": "SIM",
    "nss": "NSS",
    "auc_judd": "AUC-Judd",
    "plcc": "PLCC",
    "srcc": "SRCC",
    "krcc": "KRCC",
    "rmse": "RMSE",
    "plcc_token": "PLCC, token alone",
    "srcc_token": "SRCC, token alone",
    "plcc_map": "PLCC, heatmap alone",
    "srcc_map": "SRCC, heatmap alone",
    "paired_accuracy": "Pairs, the clean twin scores higher",
    "paired_false_alarm": "Pairs, false alarm on the clean twin",
    "issue_precision": "Issues, precision",
    "issue_recall": "Issues, recall",
    "issue_f1": "Issues, F1",
    "issue_f1_shuffled": "Issues, F1, texts of other images",
    "description_facts": "Description, facts said rightly",
    "description_facts_shuffled": "Description, facts, texts of other images",
    "description_objects": "Description, objects",
    "description_objects_shuffled": "Description, objects, texts of other images",
    "description_colors": "Description, colours",
    "description_colors_shuffled": "Description, colours, texts of other images",
    "description_place": "Description, place",
    "description_place_shuffled": "Description, place, texts of other images",
    "rouge_l": "ROUGE-L",
    "rouge_l_shuffled": "ROUGE-L, texts of other images",
    "bert_score": "BERTScore",
    "judge_rating": "Judge's rating",
    "perplexity_reference": "Perplexity, reference text",
    "perplexity_generated": "Perplexity, generated text",
    "num_images": "images",
    "num_heatmaps": "with a reference heatmap",
    "num_gt0": "with an empty one (nothing wrong)",
    "num_scores": "with a true and a predicted score",
    "num_pairs": "pairs of a flawed and a clean twin",
    "num_issue_images": "with listed defects",
    "num_fact_images": "with listed facts",
    "num_reference_texts": "with a reference text",
    "num_generated_texts": "with a generated text",
    "num_failures": "failures",
}

#: Means over the images that have the column of this name.
_MEANS = (
    *("mse", "kld", "cc", "sim", "nss", "auc_judd"),
    *FACT_FIGURES,
    *(name + SHUFFLED for name in FACT_FIGURES),
    *TEXT_FIGURES,
    "rouge_l_shuffled",
)

#: Suffix of the figures -> the score that they are of: the final one, and the two that it is made of (Table 6).
_SCORES = {"": "score", "_token": "token_score", "_map": "map_score"}


def statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    """Each of FIGURES as a statistic over the images; those without the label in question do not count in it."""
    by_name = {}
    for name in _MEANS:
        by_name[name] = mean_of(column(samples, name))
    is_empty = column(samples, "gt_sum") == 0
    by_name["mse_gt0"] = mean_of(np.where(is_empty, column(samples, "mse"), np.nan))
    by_name |= _score_statistics(samples)
    wins, alarms = pair_values(samples)
    by_name["paired_accuracy"] = mean_of(_known(wins))  # resamples are of pairs
    by_name["paired_false_alarm"] = mean_of(_known(alarms))
    by_name |= _issue_statistics(samples)
    by_name["perplexity_reference"] = _perplexity(samples, "reference")
    by_name["perplexity_generated"] = _perplexity(samples, "generated")
    return by_name


def _score_statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    scored = [sample for sample in samples if _has_both_scores(sample)]
    target = column(scored, "target_score")
    score = column(scored, "score")
    by_name = {"krcc": krcc_of(score, target), "rmse": rmse_of(score, target)}
    for suffix, score_name in _SCORES.items():
        score = column(scored, score_name)
        by_name[f"plcc{suffix}"] = plcc_of(score, target)
        by_name[f"srcc{suffix}"] = srcc_of(score, target)
    return by_name


def _has_both_scores(sample: dict) -> bool:
    return sample["target_score"] is not None and sample["score"] is not None


def _issue_statistics(samples: Sequence[dict]) -> dict[str, Statistic]:
    hits, false_alarms, misses = _issue_counts(samples)
    return {
        "issue_precision": ratio_of(hits, hits + false_alarms),
        "issue_recall": ratio_of(hits, hits + misses),
        "issue_f1": _f1(hits, false_alarms, misses),
        "issue_f1_shuffled": _f1(*_issue_counts(samples, SHUFFLED)),
    }


def _issue_counts(samples: Sequence[dict], suffix: str = "") -> list[np.ndarray]:
    """Hits, false alarms and misses of each image."""
    return [_zero_where_unknown(samples, name + suffix) for name in ("hits", "false_alarms", "misses")]


def _f1(hits: np.ndarray, false_alarms: np.ndarray, misses: np.ndarray) -> Statistic:
    return ratio_of(2 * hits, 2 * hits + false_alarms + misses)


def _perplexity(samples: Sequence[dict], text: str) -> Statistic:
    nll = _zero_where_unknown(samples, f"nll_{text}")
    num_tokens = _zero_where_unknown(samples, f"num_tokens_{text}")
    return ratio_of(nll, num_tokens, np.exp)


def _zero_where_unknown(samples: Sequence[dict], name: str) -> np.ndarray:
    return np.nan_to_num(column(samples, name))


def support(samples: Sequence[dict]) -> dict[str, int]:
    """Over how many images each of FIGURES is."""
    numbers = {}
    for name in _MEANS:
        numbers[name] = _num_known(samples, name)
    numbers["mse_gt0"] = int(np.count_nonzero(column(samples, "gt_sum") == 0))
    num_scores = sum(map(_has_both_scores, samples))
    for name in ("plcc", "srcc", "krcc", "rmse", "plcc_token", "srcc_token", "plcc_map", "srcc_map"):
        numbers[name] = num_scores
    wins, alarms = pair_values(samples)
    numbers["paired_accuracy"] = len(_known(wins))
    numbers["paired_false_alarm"] = len(_known(alarms))
    for name in ("issue_precision", "issue_recall", "issue_f1"):
        numbers[name] = _num_known(samples, "hits")
    numbers["issue_f1_shuffled"] = _num_known(samples, "hits_shuffled")
    for text in ("reference", "generated"):
        numbers[f"perplexity_{text}"] = _num_known(samples, f"nll_{text}")
    return numbers


def _num_known(samples: Sequence[dict], name: str) -> int:
    return len(_known(column(samples, name)))


def _known(values: np.ndarray) -> np.ndarray:
    return values[~np.isnan(values)]


def counts(samples: Sequence[dict]) -> dict[str, int]:
    """How many images each group of figures is over, as metrics.json names it."""
    numbers = support(samples)
    return {
        "num_images": len(samples),
        "num_heatmaps": numbers["mse"],
        "num_gt0": numbers["mse_gt0"],
        "num_scores": numbers["plcc"],
        "num_pairs": numbers["paired_accuracy"],
        "num_issue_images": numbers["issue_f1"],
        "num_fact_images": numbers["description_facts"],
        "num_reference_texts": numbers["perplexity_reference"],
        "num_generated_texts": numbers["perplexity_generated"],
    }


def intervals(samples: Sequence[dict], num_resamples: int = NUM_RESAMPLES) -> dict[str, Interval]:
    """Value and bootstrap interval of each of FIGURES, NaN where it is undefined. One image has no interval."""
    by_name = statistics(samples)
    numbers = support(samples)
    found = {}
    with quiet():
        for name in FIGURES:
            found[name] = _interval(by_name[name], numbers[name], num_resamples)
    return found


def _interval(statistic: Statistic, num_images: int, num_resamples: int) -> Interval:
    if not is_defined(statistic):
        return Interval(np.nan, np.nan, np.nan)
    if num_images < 2:
        return Interval(statistic.value, np.nan, np.nan)
    return interval(statistic, confidence=CONFIDENCE, num_resamples=num_resamples)


def is_defined(statistic: Statistic) -> bool:
    """Whether there are images, and a value of them."""
    return statistic.num_images > 0 and not np.isnan(statistic.value)


@contextmanager
def quiet():
    """Without the warnings about scores that are all the same, in single resamples or at all."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="krcc is undefined")
        yield
