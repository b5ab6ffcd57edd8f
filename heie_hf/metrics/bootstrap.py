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
        return float(self.of(np.ones((1, self.num_images)))[0])


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
    return ratio_of(np.nan_to_num(values), ~np.isnan(values))


def ratio_of(
    numerators: ArrayLike, denominators: ArrayLike, transform: Callable[[np.ndarray], np.ndarray] = np.asarray
) -> Statistic:
    """transform(sum of numerators / sum of denominators), both (n,): precision, recall, F1, perplexity (`np.exp`)."""
    numerators, denominators = (np.asarray(values, dtype=np.float64) for values in (numerators, denominators))

    def of(weights: np.ndarray) -> np.ndarray:
        with np.errstate(invalid="ignore", divide="ignore"):
            return transform((weights @ numerators) / (weights @ denominators))

    return Statistic(len(numerators), of)


def rmse_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Root mean squared error of scores (n,)."""
    error = np.asarray(prediction, dtype=np.float64) - np.asarray(target, dtype=np.float64)
    return ratio_of(error**2, np.ones(len(error)), np.sqrt)


def plcc_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Pearson's correlation of scores (n,)."""
    x, y = (np.asarray(values, dtype=np.float64)[None] for values in (prediction, target))
    return Statistic(x.shape[1], lambda weights: _weighted_pearson(weights, x, y))


def srcc_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Spearman's correlation of scores (n,); ranks are taken anew in every resample."""
    rank_x, rank_y = _weighted_ranks(prediction), _weighted_ranks(target)
    return Statistic(len(prediction), lambda weights: _weighted_pearson(weights, rank_x(weights), rank_y(weights)))


def krcc_of(prediction: ArrayLike, target: ArrayLike) -> Statistic:
    """Kendall's tau-b of scores (n,), resample by resample: slower than the others."""
    x, y = np.asarray(prediction), np.asarray(target)

    def of(weights: np.ndarray) -> np.ndarray:
        return np.array([krcc(np.repeat(x, row), np.repeat(y, row)) for row in weights.astype(int)])

    return Statistic(len(x), of)


def interval(
    statistic: Statistic, *, confidence: float = 0.95, num_resamples: int = NUM_RESAMPLES, seed: int = 0
) -> Interval:
    """Percentile bootstrap over images."""
    values = np.concatenate([statistic.of(w) for w in _resamples(statistic.num_images, num_resamples, seed)])
    return Interval(statistic.value, *_bounds(values, confidence))


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
    weights = _resamples(first.num_images, num_resamples, seed)
    values = np.concatenate([first.of(w) - second.of(w) for w in weights])
    values = values[~np.isnan(values)]
    tails = (1 + np.count_nonzero(values <= 0), 1 + np.count_nonzero(values >= 0))
    p_value = min(1.0, 2 * min(tails) / (len(values) + 1)) if len(values) else float("nan")
    return Comparison(first.value - second.value, *_bounds(values, confidence), p_value)


def _resamples(num_images: int, num_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights (r, num_images) whose rows sum to num_images, in chunks; the same rows whatever the chunk size."""
    if not num_images:
        raise ValueError("there are no images to resample")
    generator = np.random.default_rng(seed)
    step = max(1, _CHUNK_CELLS // num_images)
    for start in range(0, num_resamples, step):
        rows = min(step, num_resamples - start)
        drawn = generator.integers(num_images, size=(rows, num_images))
        drawn += np.arange(rows)[:, None] * num_images
        yield np.bincount(drawn.ravel(), minlength=rows * num_images).reshape(rows, num_images).astype(np.float64)


def _bounds(values: np.ndarray, confidence: float) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), float("nan")
    low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _weighted_pearson(weights: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights (r, n); x, y (r, n) or (1, n). NaN for resamples in which x or y is constant."""
    total = weights.sum(axis=1, keepdims=True)
    x = x - (weights * x).sum(axis=1, keepdims=True) / total
    y = y - (weights * y).sum(axis=1, keepdims=True) / total
    xy, xx, yy = ((weights * product).sum(axis=1) for product in (x * y, x * x, y * y))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.clip(xy / np.sqrt(xx * yy), -1, 1)


def _weighted_ranks(values: ArrayLike) -> Callable[[np.ndarray], np.ndarray]:
    """A function from weights (r, n) to the mid-ranks (r, n) that the images have in each resample."""
    _, group, sizes = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    order, starts = np.argsort(group, kind="stable"), np.cumsum(sizes) - sizes

    def ranks(weights: np.ndarray) -> np.ndarray:
        drawn = np.add.reduceat(weights[:, order], starts, axis=1)  # (r, distinct values)
        return (np.cumsum(drawn, axis=1) - (drawn - 1) / 2)[:, group]

    return ranks
