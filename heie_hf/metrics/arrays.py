"""What the metrics share: checked arrays, Pearson's correlation, mid-ranks."""

import warnings

import numpy as np
from numpy.typing import ArrayLike


def as_floats(values: ArrayLike, name: str) -> np.ndarray:
    """The values as float64.

    Raises:
        ValueError: if there are none, or one is NaN or infinite; names the first.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.size == 0:
        raise ValueError(f"{name} is empty: its shape is {array.shape}")
    is_finite = np.isfinite(array)
    if not is_finite.all():
        places = np.argwhere(~is_finite)
        first = places[0].tolist()
        raise ValueError(f"{name} has {len(places)} NaN or infinite values, the first at {first}")
    return array


def check_same_shape(prediction: np.ndarray, target: np.ndarray) -> None:
    """The one complaint about shapes that differ, a ValueError."""
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must have the same shape")


def is_constant(values: np.ndarray) -> bool:
    # Not by the deviation: the mean of n equal floats can differ from them in the last bit.
    return values.min() == values.max()


def undefined(metric: str, reason: str) -> float:
    """NaN, with a warning that says why."""
    warnings.warn(f"{metric} is undefined: {reason}", RuntimeWarning, stacklevel=3)
    return float("nan")


def centre(values: np.ndarray) -> tuple[np.ndarray, float]:
    """Values that are not constant, in units of their range and with mean 0, and their (population) deviation.

    The range, so that squares of tiny values do not vanish.
    """
    scale = np.ptp(values)
    centred = (values - values.mean()) / scale
    sum_of_squares = np.vdot(centred, centred)
    variance = sum_of_squares / values.size
    return centred, np.sqrt(variance)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation in [-1, 1] of two arrays that are not constant."""
    x, deviation_x = centre(x)
    y, deviation_y = centre(y)
    covariance = np.vdot(x, y) / x.size
    correlation = covariance / (deviation_x * deviation_y)
    correlation = np.clip(correlation, -1, 1)
    return float(correlation)


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the middle of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    last_ranks = np.cumsum(sizes)
    to_middle = (sizes - 1) / 2
    ranks = last_ranks - to_middle
    return ranks[group]
