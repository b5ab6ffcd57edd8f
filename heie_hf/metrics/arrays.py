"""What the metrics share: checked pairs of arrays, Pearson's correlation, mid-ranks."""

import warnings

import numpy as np
from numpy.typing import ArrayLike


def as_pair(prediction: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64.

    Raises:
        ValueError: if their shapes differ, they are empty, or a value is NaN or infinite.
    """
    prediction, target = np.asarray(prediction, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if prediction.shape != target.shape:
        raise ValueError(f"prediction {prediction.shape} and target {target.shape} must have the same shape")
    if prediction.size == 0:
        raise ValueError("prediction and target are empty")
    for name, values in (("prediction", prediction), ("target", target)):
        if not np.isfinite(values).all():
            raise ValueError(f"{name} has {np.count_nonzero(~np.isfinite(values))} NaN or infinite values")
    return prediction, target


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
    centred = (values - values.mean()) / np.ptp(values)
    return centred, np.sqrt(np.vdot(centred, centred) / values.size)


def pearson(x: np.ndarray, y: np.ndarray) -> float:
    """Correlation in [-1, 1] of two arrays that are not constant."""
    (x, deviation_x), (y, deviation_y) = centre(x), centre(y)
    return float(np.clip(np.vdot(x, y) / (x.size * deviation_x * deviation_y), -1, 1))


def mid_ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1; equal values share the middle of theirs."""
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(sizes) - (sizes - 1) / 2)[group]
