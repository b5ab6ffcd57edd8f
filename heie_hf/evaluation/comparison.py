"""Two results on the same images, figure by figure: is the difference real?"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from heie_hf.metrics.bootstrap import NUM_RESAMPLES, compare

from .figures import CONFIDENCE, FIGURES, quiet, statistics
from .results import by_key, load_samples
from .store import EvaluationError

#: Differences below this share of the figure come from the order of floating-point sums.
ROUNDING = 1e-6
_LABELS = ("target_score", "gt_sum", "issues_there")


@dataclass(frozen=True)
class Difference:
    """One figure of two results A and B on their common images.

    Args:
        difference: A - B, with its paired 95 % bootstrap interval `low`, `high`.
        p_value: two-sided, of "no difference"; not corrected for the number of figures.
        better: "A" or "B" where the interval leaves out 0 and the difference is more than rounding, otherwise None.
    """

    figure: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p_value: float
    better: str | None

    @property
    def verdict(self) -> str:
        return f"{self.better} is better" if self.better else "no difference shown"


def compare_results(a: str | Path, b: str | Path, num_resamples: int = NUM_RESAMPLES) -> tuple[list[Difference], int]:
    """The figures that both folders have, and the number of common images.

    Raises:
        FileNotFoundError: a folder holds no result.
        EvaluationError: no image is in both, or the labels of one differ.
    """
    first, second = (by_key(load_samples(folder)) for folder in (a, b))
    common = [key for key in first if key in second]
    if not common:
        raise EvaluationError(f"{a} and {b} have no image in common")
    for key in common:
        different = [name for name in _LABELS if _differ(first[key][name], second[key][name])]
        if different:
            raise EvaluationError(f"{key} has another {different[0]} in {b} than in {a}: these are not the same data")
    pair = [[samples[key] for key in common] for samples in (first, second)]
    with quiet():
        return _differences(*_only_shared(*pair), num_resamples), len(common)


def _differ(first, second) -> bool:
    """Labels that one result did not need (issues, without text) are None there."""
    return first is not None and second is not None and first != second


def _only_shared(first: list[dict], second: list[dict]) -> tuple[list[dict], list[dict]]:
    """What only one of the two has of an image (score, text) is taken from neither."""
    missing = [{name for name in x if x[name] is None or y[name] is None} for x, y in zip(first, second)]
    return tuple(
        [sample | dict.fromkeys(names) for sample, names in zip(samples, missing)] for samples in (first, second)
    )


def _differences(first: list[dict], second: list[dict], num_resamples: int) -> list[Difference]:
    ours, theirs = statistics(first), statistics(second)
    found = []
    for name, more_is_better in FIGURES.items():
        pair = ours[name], theirs[name]
        if all(statistic.num_images and not np.isnan(statistic.value) for statistic in pair):
            result = compare(*pair, confidence=CONFIDENCE, num_resamples=num_resamples)
            values = [statistic.value for statistic in pair]
            better = None
            if (result.low > 0 or result.high < 0) and abs(result.difference) > ROUNDING * max(map(abs, values)):
                better = "A" if (result.difference > 0) == more_is_better else "B"
            interval = result.difference, result.low, result.high, result.p_value
            found.append(Difference(name, *values, *interval, better))
    return found
