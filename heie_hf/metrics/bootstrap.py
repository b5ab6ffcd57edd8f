"""How sure a figure is: bootstrap intervals over images, and paired comparison of two sets of results.

Every figure is a statistic of weighted images: a resample is a row of integer weights, how often each image was drawn,
so that means, ratios and correlations are computed for thousands of resamples at once.

    interval(mean_of(per_image["cc"]))                            # an averaged metric
    interval(srcc_of(scores, targets))                            # a correlation
    interval(ratio_of(nll, num_tokens, np.exp))                   # perplexity
    compare(plcc_of(a, targets), plcc_of(b, targets))             # is the difference of two models real?
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from heie_hf.metrics.score import krcc

NUM_RESAMPLES = 2000
_CHUNK_CELLS = 4_000_000  # weights held at once: 32 MB


@dataclass(frozen=True)
class Statistic:
    """A figure over `num_images`; `of` takes weights (resamples, num_images) and gives one value per resample."""

    num_images: int
    of: Callable[[np.ndarray], np.ndarray]

    @property
    def value(self) -> float:
        """The figure of the images as they are."""
        once_each = np.ones((1, self.num_images))
        [value] = self.of(once_each)
        return float(value)


@dataclass(frozen=True)
class Interval:
    """A figure with its percentile interval; NaN where it is undefined."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """First minus second with its interval, and the two-sided p of "no difference"."""

    difference: float
    low: float
    high: float
    p_value: float


def mean_of(values: ArrayLike) -> Statistic:
    """Mean over images (n,); those that are NaN (metric undefined there) do not count."""
    values = np.asarray(values, dtype=np.float64)
    is_defined = ~np.isnan(values)
    summands = np.nan_to_num(values)
    return ratio_of(summands, is_defined)


def ratio_of(
    numerators: ArrayLike, denominators: ArrayLike, transform: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> Statistic:
    """transform(sum of numerators / sum of denominators), both (n,): precision, recall, F1, perplexity (`np.exp`)."""
    numerators, denominators = _pair(numerators, denominators)

    def of(weights: np.ndarray) -> np.ndarray:
        total = weights @ numerators
        divisor = weights @ denominators
        with np.errstate(invalid="ignore", divide="ignore"):
            return transform(total / divisor)

    return Statistic(len(numerators), of)


def rmse_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Root mean squared error of scores (n,)."""
    prediction, target = _pair(prediction, target)
    squared_errors = (prediction - target) ** 2
    return ratio_of(squared_errors, np.ones(len(target)), np.sqrt)


def plcc_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Pearson's correlation of scores (n,)."""
    x, y = _pair(prediction, target)

    def of(weights: np.ndarray) -> np.ndarray:
        return _weighted_pearson(weights, x[None], y[None])

    return Statistic(len(x), of)


def srcc_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Spearman's correlation of scores (n,); ranks are taken anew in every resample."""
    x, y = _pair(prediction, target)
    rank_x = _weighted_ranks(x)
    rank_y = _weighted_ranks(y)

    def of(weights: np.ndarray) -> np.ndarray:
        return _weighted_pearson(weights, rank_x(weights), rank_y(weights))

    return Statistic(len(x), of)


def krcc_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Kendall's tau-b of scores (n,), resample by resample: slower than the others."""
    x, y = _pair(prediction, target)

    def of(weights: np.ndarray) -> np.ndarray:
        values = np.empty(len(weights))
        for number, row in enumerate(weights.astype(int)):
            drawn_x = np.repeat(x, row)
            drawn_y = np.repeat(y, row)
            values[number] = krcc(drawn_x, drawn_y)
        return values

    return Statistic(len(x), of)


def interval(
    statistic: Statistic, *, confidence: float = 0.95, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap over images."""
    chunks = []
    for weights in _resamples(statistic.num_images, num_resamples, seed):
        chunks.append(statistic.of(weights))
    low, high = _bounds(np.concatenate(chunks), confidence)
    return Interval(statistic.value, low, high)


def compare(
    first: Statistic,
    second: Statistic,
    *,
    confidence: float = 0.95,
    num_resamples: int = NUM_RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """Whether two results on the same images, in the same order, differ: both are computed on the same resamples.

    p is twice the share of resamples on the far side of zero, and at least 2 / (num_resamples + 1).

    Raises:
        ValueError: if the two are not over the same number of images.
    """
    if first.num_images != second.num_images:
        raise ValueError(f"not the same images: {first.num_images} and {second.num_images}")
    chunks = []
    for weights in _resamples(first.num_images, num_resamples, seed):
        difference = first.of(weights) - second.of(weights)
        chunks.append(difference)
    differences = np.concatenate(chunks)
    low, high = _bounds(differences, confidence)
    difference = first.value - second.value
    return Comparison(difference, low, high, _p_value(differences))


def _pair(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two values per image, both (n,)."""
    first = np.asarray(first, dtype=np.float64)
    second = np.asarray(second, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape:
        raise ValueError(f"there must be two values per image, both (n,): these are {first.shape} and {second.shape}")
    return first, second


def _resamples(num_images: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights (r, num_images) whose rows sum to num_images, in chunks; the same rows whatever the chunk size."""
    if not num_images:
        raise ValueError("there are no images to resample")
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // num_images)
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        drawn = generator.integers(num_images, size=(rows, num_images))
        row_starts = np.arange(rows) * num_images
        cells = drawn + row_starts[:, None]
        counts = np.bincount(cells.ravel(), minlength=cells.size)
        weights = counts.reshape(rows, num_images)
        yield weights.astype(np.float64)


def _bounds(values: np.ndarray, confidence: float) -> tuple[float, float]:
    """The middle `confidence` of the values."""
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    tail = (1 - confidence) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)


def _p_value(differences: np.ndarray) -> float:
    differences = differences[~np.isnan(differences)]
    if not len(differences):
        return float("nan")
    at_most_zero = 1 + np.count_nonzero(differences <= 0)
    at_least_zero = 1 + np.count_nonzero(differences >= 0)
    rarer = min(at_most_zero, at_least_zero)
    one_sided = rarer / (len(differences) + 1)
    return min(1.0, 2 * one_sided)


def _weighted_pearson(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (r, n); x, y (r, n) or (1, n). NaN for resamples in which x or y is constant."""
    total = weights.sum(axis=1, keepdims=True)
    sum_x = np.sum(weights * x, axis=1, keepdims=True)
    sum_y = np.sum(weights * y, axis=1, keepdims=True)
    mean_x = sum_x / total
    mean_y = sum_y / total
    x = x - mean_x
    y = y - mean_y
    covariance = np.sum(weights * x * y, axis=1)
    variance_x = np.sum(weights * x**2, axis=1)
    variance_y = np.sum(weights * y**2, axis=1)
    norm = np.sqrt(variance_x * variance_y)
    with np.errstate(invalid="ignore", divide="ignore"):
        correlation = covariance / norm
    return np.clip(correlation, -1, 1)


def _weighted_ranks(values: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights (r, n) to the mid-ranks (r, n) that the images have in each resample."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    order = np.argsort(group, kind="stable")
    starts = np.cumsum(sizes) - sizes

    def ranks(weights: np.ndarray) -> np.ndarray:
        drawn = np.add.reduceat(weights[:, order], starts, axis=1)  # (r, distinct values)
        last_ranks = np.cumsum(drawn, axis=1)
        to_middle = (drawn - 1) / 2
        mid_ranks = last_ranks - to_middle
        return mid_ranks[:, group]

    return ranks
