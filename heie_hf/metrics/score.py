"""Score metrics: pure functions `f(prediction, target) -> float` over n images.

Raw scores, unless `logistic=True` asks for the five-parameter fit first. Fewer than two images, or a constant input,
leave a correlation undefined: NaN with a warning. NaN, infinity, empty inputs and differing lengths raise ValueError.
Only the fit needs scipy, which is imported when it runs.
"""

import numpy as np
from numpy.typing import ArrayLike

from heie_hf.metrics.arrays import as_pair, is_constant, mid_ranks, pearson, undefined


def plcc(prediction: ArrayLike, target: ArrayLike, *, logistic: bool = False) -> float:
    """Pearson's linear correlation, in [-1, 1].

    Args:
        logistic: map the prediction by `logistic_fit` first, as quality assessment papers do. HEIE's table does not
            say that it does.
    """
    prediction, target = as_pair(prediction, target)
    if is_constant(prediction) or is_constant(target):
        return undefined("plcc", "an input is constant")
    return pearson(logistic_fit(prediction, target) if logistic else prediction, target)


def srcc(prediction: ArrayLike, target: ArrayLike) -> float:
    """Spearman's rank correlation, in [-1, 1], ties by mid-ranks."""
    prediction, target = as_pair(prediction, target)
    if is_constant(prediction) or is_constant(target):
        return undefined("srcc", "an input is constant")
    return pearson(mid_ranks(prediction), mid_ranks(target))


def krcc(prediction: ArrayLike, target: ArrayLike) -> float:
    """Kendall's rank correlation tau-b, in [-1, 1], in O(n log n)."""
    prediction, target = as_pair(prediction, target)
    if is_constant(prediction) or is_constant(target):
        return undefined("krcc", "an input is constant")
    x, y = (np.unique(values, return_inverse=True)[1] for values in (prediction, target))
    in_order = y[np.lexsort((y, x))]
    pairs, tied_x, tied_y = _num_pairs([x.size]), _num_pairs(np.bincount(x)), _num_pairs(np.bincount(y))
    tied_both = _num_pairs(np.unique(x * (y.max() + 1) + y, return_counts=True)[1])
    untied = pairs - tied_x - tied_y + tied_both  # concordant + discordant
    return float((untied - 2 * _inversions(in_order)) / np.sqrt((pairs - tied_x) * (pairs - tied_y)))


def rmse(prediction: ArrayLike, target: ArrayLike, *, logistic: bool = False) -> float:
    """Root of the mean squared error, in units of the score; `logistic` as for `plcc`."""
    prediction, target = as_pair(prediction, target)
    fitted = logistic_fit(prediction, target) if logistic else prediction
    return float(np.sqrt(np.mean((fitted - target) ** 2)))


def logistic_curve(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    """b1 (1/2 - 1 / (1 + e^(b2 (x - b3)))) + b4 x + b5; written with tanh, which cannot overflow."""
    return b1 * 0.5 * np.tanh(b2 * (x - b3) / 2) + b4 * x + b5


def logistic_fit(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    """The prediction mapped to the target's scale by the least-squares `logistic_curve`, (n,).

    Raises:
        ValueError: for fewer than 6 images, a constant prediction, or if the fit does not converge.
    """
    from scipy.optimize import curve_fit

    prediction, target = as_pair(prediction, target)
    if prediction.size < 6 or is_constant(prediction):
        raise ValueError("the five-parameter fit needs at least 6 images and a prediction that is not constant")
    slope, offset = np.polyfit(prediction, target, 1)
    start = [np.ptp(target) / 2, 1 / prediction.std(), np.median(prediction), slope / 2, offset]
    try:
        best, _ = curve_fit(logistic_curve, prediction, target, p0=start, maxfev=20_000)
    except RuntimeError as error:
        raise ValueError(f"the five-parameter fit did not converge: {error}") from error
    return logistic_curve(prediction, *best)


def score_metrics(predictions: ArrayLike, targets: ArrayLike) -> dict[str, float | int]:
    """plcc, srcc, krcc, rmse and num_scores. Images whose target is NaN (no score known) are left out and not counted.

    Raises:
        ValueError: if a prediction is NaN, or no target is known.
    """
    predictions, targets = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if predictions.shape != targets.shape:
        raise ValueError(f"prediction {predictions.shape} and target {targets.shape} must have the same shape")
    known = ~np.isnan(targets)
    pair = predictions[known], targets[known]
    return {**{metric.__name__: metric(*pair) for metric in (plcc, srcc, krcc, rmse)}, "num_scores": int(known.sum())}


def _num_pairs(group_sizes: ArrayLike) -> float:
    sizes = np.asarray(group_sizes, dtype=np.float64)
    return float((sizes * (sizes - 1) / 2).sum())


def _inversions(ranks: np.ndarray) -> int:
    """Pairs in the wrong order: bit by bit from the highest, ones that stand before zeros of the same higher bits."""
    count = 0
    for bit in reversed(range(int(ranks.max()).bit_length())):
        higher, ones = ranks >> (bit + 1), (ranks >> bit) & 1
        before = np.cumsum(ones) - ones
        before -= before[np.searchsorted(higher, higher)]  # `higher` is sorted: count from the start of its group
        count += int(before[ones == 0].sum())
        ranks = ranks[np.argsort(ranks >> bit, kind="stable")]
    return count
