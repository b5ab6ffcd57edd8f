"""Two results on the same images, figure by figure: is the difference real?"""

from dataclasses import dataclass, replace
from pathlib import Path

from heie_hf.metrics.bootstrap import NUM_RESAMPLES, Comparison, compare

from .figures import CONFIDENCE, FIGURES, is_defined, quiet, statistics, support
from .kept_files import EvaluationError
from .samples import SHUFFLED, finite, load_samples

#: Differences below this share of the figure come from the order of floating-point sums.
ROUNDING = 1e-6

#: Where nothing differs, n images all lean to the same side in one of 2^(n-1) cases. That is 1 in 16 for five of them,
#: which is too often for a verdict at 95 %, and 1 in 32 for six.
MIN_IMAGES = 6

_LABELS = ("target_score", "gt_sum", "issues_there")

Value = float | None  # None where it is undefined


@dataclass(frozen=True)
class Difference:
    """One figure of two results A and B on their common images.

    Args:
        num_images: how many of them the figure is over.
        difference: A - B, with its paired 95 % bootstrap interval `low`, `high`.
        p_value: two-sided, of "no difference"; not corrected for the number of figures.
        better: "A" or "B" where the interval leaves out 0 and the difference is more than rounding, otherwise None.

    With fewer than MIN_IMAGES there is no interval, no p and no better one: they would say nothing.
    """

    figure: str
    num_images: int
    a: Value
    b: Value
    difference: Value
    low: Value
    high: Value
    p_value: Value
    better: str | None

    @property
    def verdict(self) -> str:
        if self.num_images < MIN_IMAGES:
            return f"no verdict: {self.num_images} image(s), it takes {MIN_IMAGES}"
        if self.better:
            return f"{self.better} is better"
        return "no difference shown"


def compare_results(a: str | Path, b: str | Path, num_resamples: int = NUM_RESAMPLES) -> tuple[list[Difference], int]:
    """The figures that both folders have, and the number of common images.

    Raises:
        FileNotFoundError: a folder holds no result.
        EvaluationError: no image is in both, or the labels of one differ.
        DamagedFileError: a result cannot be read.
    """
    samples_a = _by_key(load_samples(a))
    samples_b = _by_key(load_samples(b))
    common_a, common_b = [], []
    for key, sample_a in samples_a.items():
        if key not in samples_b:
            continue
        sample_b = samples_b[key]
        label = _differing_label(sample_a, sample_b)
        if label:
            raise EvaluationError(f"{key} has another {label} in {b} than in {a}: these are not the same data")
        # What only one of the two has of an image (score, text) is taken from neither.
        missing = [name for name in sample_a if sample_a[name] is None or sample_b[name] is None]
        common_a.append(sample_a | dict.fromkeys(missing))
        common_b.append(sample_b | dict.fromkeys(missing))
    if not common_a:
        raise EvaluationError(f"{a} and {b} have no image in common")
    with quiet():
        return _differences(common_a, common_b, num_resamples), len(common_a)


def _by_key(samples: list[dict]) -> dict[str, dict]:
    return {sample["key"]: sample for sample in samples}


def _differing_label(sample_a: dict, sample_b: dict) -> str | None:
    """The first label that is not the same. One that a result did not need (issues, without text) is None there."""
    for name in _LABELS:
        label_a, label_b = sample_a[name], sample_b[name]
        if label_a is not None and label_b is not None and label_a != label_b:
            return name
    return None


def _differences(samples_a: list[dict], samples_b: list[dict], num_resamples: int) -> list[Difference]:
    statistics_a = statistics(samples_a)
    statistics_b = statistics(samples_b)
    num_images = support(samples_a)  # of both: each has what the other has
    differences = []
    for figure in FIGURES:
        if figure.endswith(SHUFFLED):  # what chance gives is no figure of a model
            continue
        of_a = statistics_a[figure]
        of_b = statistics_b[figure]
        if not is_defined(of_a) or not is_defined(of_b):
            continue
        comparison = compare(of_a, of_b, confidence=CONFIDENCE, num_resamples=num_resamples)
        differences.append(_difference(figure, num_images[figure], of_a.value, of_b.value, comparison))
    return differences


def _difference(figure: str, num_images: int, a: float, b: float, comparison: Comparison) -> Difference:
    difference = Difference(
        figure=figure,
        num_images=num_images,
        a=finite(a),
        b=finite(b),
        difference=finite(comparison.difference),
        low=finite(comparison.low),
        high=finite(comparison.high),
        p_value=finite(comparison.p_value),
        better=_better(figure, a, b, comparison),
    )
    if num_images < MIN_IMAGES:
        return replace(difference, low=None, high=None, p_value=None, better=None)
    return difference


def _better(figure: str, a: float, b: float, comparison: Comparison) -> str | None:
    leaves_out_zero = comparison.low > 0 or comparison.high < 0
    rounding = ROUNDING * max(abs(a), abs(b))
    if not leaves_out_zero or abs(comparison.difference) <= rounding:
        return None
    a_is_more = comparison.difference > 0
    return "A" if a_is_more == FIGURES[figure] else "B"
