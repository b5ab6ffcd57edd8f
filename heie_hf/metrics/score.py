"""Score metrics: pure functions `f(prediction, target) -> float` over n images, both (n,).

Raw scores, unless `logistic=True` asks for the five-parameter fit first. Fewer than two images, or a constant input,
leave a correlation undefined: NaN with a warning. NaN, infinity, values beyond `LARGEST`, empty inputs, other shapes
and differing lengths raise ValueError. Only the fit needs scipy, which is imported when it runs.
"""

import numpy as np
from numpy.typing import ArrayLike

from heie_hf.metrics.arrays import as_floats, check_same_shape, is_constant, mid_ranks, pearson, undefined

#: Squares of larger scores, and sums of those, would overflow.
LARGEST = 1e150

#: How many curves `logistic_fit` tries.
MAX_CURVES = 2000


def plcc(prediction: ArrayLike, target: ArrayLike, *, logistic: bool = False) -> float:
    """Pearson's linear correlation, in [-1, 1].

    Args:
        logistic: map the prediction by `logistic_fit` first, as quality assessment papers do. HEIE's table does not
            say that it does.
    """
    prediction, target = _as_pair(prediction, target)
    if reason := _why_undefined(prediction, target):
        return undefined("plcc", reason)
    if logistic:
        prediction = logistic_fit(prediction, target)
    return pearson(prediction, target)


def srcc(prediction: ArrayLike, target: ArrayLike) -> float:
    """Spearman's rank correlation, in [-1, 1], ties by mid-ranks."""
    prediction, target = _as_pair(prediction, target)
    if reason := _why_undefined(prediction, target):
        return undefined("srcc", reason)
    prediction_ranks = mid_ranks(prediction)
    target_ranks = mid_ranks(target)
    return pearson(prediction_ranks, target_ranks)


def krcc(prediction: ArrayLike, target: ArrayLike) -> float:
    """Kendall's rank correlation tau-b, in [-1, 1], in O(n log n)."""
    prediction, target = _as_pair(prediction, target)
    if reason := _why_undefined(prediction, target):
        return undefined("krcc", reason)
    _, x = np.unique(prediction, return_inverse=True)
    _, y = np.unique(target, return_inverse=True)
    both = x * (y.max() + 1) + y  # one number for each (x, y)
    _, sizes_both = np.unique(both, return_counts=True)
    pairs = _num_pairs(np.array([x.size]))
    tied_x = _num_pairs(np.bincount(x))
    tied_y = _num_pairs(np.bincount(y))
    tied_both = _num_pairs(sizes_both)
    untied = pairs - tied_x - tied_y + tied_both  # concordant + discordant
    by_x_then_y = np.lexsort((y, x))
    discordant = _inversions(y[by_x_then_y])
    surplus = untied - 2 * discordant  # concordant - discordant
    untied_x = pairs - tied_x
    untied_y = pairs - tied_y
    norm = np.sqrt(untied_x * untied_y)
    return float(surplus / norm)


def rmse(prediction: ArrayLike, target: ArrayLike, *, logistic: bool = False) -> float:
    """Root of the mean squared error, in units of the score; `logistic` as for `plcc`."""
    prediction, target = _as_pair(prediction, target)
    if logistic:
        prediction = logistic_fit(prediction, target)
    squared_errors = (prediction - target) ** 2
    return float(np.sqrt(squared_errors.mean()))


def logistic_curve(x: np.ndarray, b1: float, b2: float, b3: float, b4: float, b5: float) -> np.ndarray:
    """b1 (1/2 - 1 / (1 + e^(b2 (x - b3)))) + b4 x + b5; written with tanh, which cannot overflow."""
    position = b2 * (x - b3)
    step = 0.5 * np.tanh(position / 2)
    line = b4 * x + b5
    return b1 * step + line


def logistic_fit(prediction: ArrayLike, target: ArrayLike) -> np.ndarray:
    """The prediction mapped to the target's scale by the least-squares `logistic_curve`, (n,).

    Where the data lie on a line, many curves fit equally well, and the search for the very best may not end: it stops
    after `MAX_CURVES`.

    Raises:
        ValueError: for fewer than 6 images or a constant prediction.
    """
    from scipy.optimize import least_squares

    prediction, target = _as_pair(prediction, target)
    if prediction.size < 6 or is_constant(prediction):
        raise ValueError("the five-parameter fit needs at least 6 images and a prediction that is not constant")
    # In units of their own, so that the search is the same whatever the scales are.
    x = (prediction - prediction.mean()) / prediction.std()
    offset = target.mean()
    scale = np.ptp(target) or 1.0
    y = (target - offset) / scale
    slope = np.mean(x * y)  # of the line that fits best
    start = [0.5, 1.0, np.median(x), slope / 2, 0.0]

    def residuals(curve: np.ndarray) -> np.ndarray:
        return logistic_curve(x, *curve) - y

    best = least_squares(residuals, start, method="lm", max_nfev=MAX_CURVES)
    fitted = logistic_curve(x, *best.x)
    return offset + scale * fitted


def score_metrics(predictions: ArrayLike, targets: ArrayLike) -> dict[str, float | int]:
    """plcc, srcc, krcc, rmse and num_scores. Images whose target is NaN (no score known) are left out and not counted.

    Raises:
        ValueError: naming the first such image by its number from 0, if a prediction is NaN where the target is known;
            if no target is known; and as the metrics do.
    """
    predictions = np.asarray(predictions, dtype=np.float64)
    targets = np.asarray(targets, dtype=np.float64)
    check_same_shape(predictions, targets)
    is_known = ~np.isnan(targets)
    if targets.size and not is_known.any():
        raise ValueError("no target score is known: all are NaN")
    # Checked before any are left out, so that an error has the image's own number.
    for scores, name in ((predictions, "prediction"), (targets, "target")):
        known_or_zero = np.where(is_known, scores, 0)
        _as_scores(known_or_zero, name)
    predictions = predictions[is_known]
    targets = targets[is_known]
    return {
        "plcc": plcc(predictions, targets),
        "srcc": srcc(predictions, targets),
        "krcc": krcc(predictions, targets),
        "rmse": rmse(predictions, targets),
        "num_scores": targets.size,
    }


def _as_pair(prediction: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the same images; the one check of all score metrics."""
    prediction = _as_scores(prediction, "prediction")
    target = _as_scores(target, "target")
    check_same_shape(prediction, target)
    return prediction, target


def _as_scores(values: ArrayLike, name: str) -> np.ndarray:
    scores = as_floats(values, name)
    if scores.ndim != 1:
        raise ValueError(f"{name} is {scores.shape}; scores are (n,), one per image")
    sizes = np.abs(scores)
    largest = sizes.argmax()
    if sizes[largest] > LARGEST:
        raise ValueError(f"{name} has {scores[largest]:g} at [{largest}], beyond {LARGEST:g}")
    return scores


def _why_undefined(prediction: np.ndarray, target: np.ndarray) -> str | None:
    """Why the two have no correlation, if they have none."""
    if prediction.size < 2:
        return "there is only one image"
    if is_constant(prediction) or is_constant(target):
        return "an input is constant"
    return None


def _num_pairs(group_sizes: np.ndarray) -> float:
    """Pairs within groups of these sizes."""
    sizes = group_sizes.astype(np.float64)
    pairs = sizes * (sizes - 1) / 2
    return float(pairs.sum())


def _inversions(ranks: np.ndarray) -> int:
    """Pairs in the wrong order: bit by bit from the highest, ones that stand before zeros of the same higher bits."""
    count = 0
    num_bits = int(ranks.max()).bit_length()
    for bit in reversed(range(num_bits)):
        higher = ranks >> (bit + 1)
        ones = (ranks >> bit) & 1
        ones_before = np.cumsum(ones) - ones
        group_starts = np.searchsorted(higher, higher)  # `higher` is sorted
        ones_before -= ones_before[group_starts]
        is_zero = ones == 0
        num_inversions = ones_before[is_zero].sum()
        count += int(num_inversions)
        order = np.argsort(ranks >> bit, kind="stable")
        ranks = ranks[order]
    return count
