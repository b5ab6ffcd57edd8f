"""Heatmap metrics: pure functions `f(prediction, target) -> float` on two maps of the same shape (H, W).

Heatmaps are floats in [0, 1], 0 = plausible. Definitions follow github youweiliang/RichHF `metrics.py` and the MIT
saliency benchmark (Bylinskii et al., TPAMI 2019); where the two differ, the difference is a keyword. An empty target
(all 0) has no metric but MSE: the others give NaN with a warning, and `heatmap_metrics` leaves such images out.

All of them raise ValueError for shapes that differ, batches, empty arrays, NaN, infinity, and values outside [0, 1]:
up to `TOLERANCE` beyond it counts as rounding and is clamped.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from heie_hf.metrics.arrays import as_floats, centre, check_same_shape, is_constant, pearson, undefined

RICHHF_EPS = 1e-8  # an all-zero prediction costs about 9 nats
MIT_EPS = 2.2204e-16  # the same costs about 31

#: How far outside [0, 1] a value may be.
TOLERANCE = 0.01

#: Metrics that an empty target leaves undefined.
GT_METRICS = ("kld", "cc", "sim", "nss", "auc_judd")

#: The columns of `image_metrics`.
COLUMNS = ("gt_sum", "mse", *GT_METRICS)


def mse(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean squared error, in [0, 1]."""
    prediction, target = _as_pair(prediction, target)
    squared_errors = (prediction - target) ** 2
    return float(squared_errors.mean())


def kld(prediction: ArrayLike, target: ArrayLike, *, eps: float = RICHHF_EPS) -> float:
    """Divergence of the prediction from the target as distributions, in nats: sum g log(eps + g / (p + eps)).

    Args:
        eps: also added to the sums that normalise; `RICHHF_EPS` (1e-8) or `MIT_EPS` (2.2e-16). It decides the cost of
            a prediction that misses the target, so report it.
    """
    prediction, target = _as_pair(prediction, target)
    if not target.any():
        return undefined("kld", "the target is empty")
    hit = target > 0  # the other cells add nothing
    prediction_sum = prediction.sum() + eps
    target_sum = target.sum() + eps
    p = prediction[hit] / prediction_sum
    g = target[hit] / target_sum
    ratio = g / (p + eps)
    nats = g * np.log(eps + ratio)
    return float(nats.sum())


def cc(prediction: ArrayLike, target: ArrayLike) -> float:
    """Pearson's correlation of the cells, in [-1, 1]; 0 if a map is constant."""
    prediction, target = _as_pair(prediction, target)
    if not target.any():
        return undefined("cc", "the target is empty")
    if is_constant(prediction) or is_constant(target):
        return 0.0
    return pearson(prediction, target)


def sim(prediction: ArrayLike, target: ArrayLike, *, normalize: Literal["minmax"] | None = None) -> float:
    """Overlap of the two maps, each normalised to sum 1, in [0, 1]; 0 if the prediction is all zero.

    Args:
        normalize: "minmax" scales both maps to [0, 1] before, as MIT's `similarity.m`; RichHF and pysaliency do not.

    Raises:
        ValueError: for another `normalize`, too.
    """
    if normalize not in (None, "minmax"):
        raise ValueError(f"normalize must be None or 'minmax', not {normalize!r}")
    prediction, target = _as_pair(prediction, target)
    if not target.any():
        return undefined("sim", "the target is empty")
    if normalize == "minmax":
        prediction_low = prediction.min()
        target_low = target.min()
        prediction = prediction - prediction_low  # the sum takes care of the maximum
        target = target - target_low
    p = _density(prediction)
    g = _density(target)
    overlap = np.minimum(p, g)
    return float(overlap.sum())


def nss(prediction: ArrayLike, target: ArrayLike, *, threshold: float = 0.0) -> float:
    """Mean of the standardised prediction over the fixated cells (target > threshold); 0 if it is constant."""
    prediction, target = _as_pair(prediction, target)
    is_fixated = target > threshold
    if not is_fixated.any():
        return undefined("nss", f"no cell of the target is above {threshold}")
    if is_constant(prediction):
        return 0.0
    centred, deviation = centre(prediction)
    mean_fixated = centred[is_fixated].mean()
    return float(mean_fixated / deviation)


def auc_judd(prediction: ArrayLike, target: ArrayLike, *, threshold: float = 0.0) -> float:
    """Area under the ROC curve, in [0, 1], where fixated cells (target > threshold) are to be above all others.

    Exact, with ties counted as one half (a constant prediction gives 0.5), which is the Mann-Whitney statistic of
    mid-ranks. MIT's and RichHF's code breaks ties by adding noise of 1e-7 and draws the curve through the fixated
    values only, which adds up to 1 / (2 * number of fixated cells).
    """
    prediction, target = _as_pair(prediction, target)
    is_fixated = target > threshold
    if is_fixated.all():
        return undefined("auc_judd", f"every cell of the target is above {threshold}")
    if not is_fixated.any():
        return undefined("auc_judd", f"no cell of the target is above {threshold}")
    if is_constant(prediction):
        return 0.5
    inside = np.sort(prediction[is_fixated])
    outside = prediction[~is_fixated]
    low = prediction.min()
    high = prediction.max()
    pairs_in_order = _pairs_in_order(inside, outside, low, high)
    pairs = inside.size * outside.size
    return pairs_in_order / pairs


def resize(heatmap: ArrayLike, size: tuple[int, int]) -> np.ndarray:
    """The map in `size` (height, width), float32; bilinear, averaging over areas when it shrinks (Pillow's).

    Raises:
        ValueError: if it is no (H, W), or has no cells.
    """
    from PIL import Image

    cells = np.asarray(heatmap, dtype=np.float32)
    if cells.ndim != 2 or cells.size == 0:
        raise ValueError(f"a heatmap is (H, W), this one is {cells.shape}")
    height, width = size
    image = Image.fromarray(cells)
    resized = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def image_metrics(
    prediction: ArrayLike,
    target: ArrayLike,
    *,
    size: tuple[int, int] | None = None,
    eps: float = RICHHF_EPS,
    threshold: float = 0.0,
    normalize: Literal["minmax"] | None = None,
) -> dict[str, float]:
    """All metrics of one image, NaN where undefined, and `gt_sum`, the target's sum (0 = subset "GT=0").

    Args:
        size: (height, width) that both maps are resized to; None resizes the prediction to the target.
        eps, threshold, normalize: see `kld`, `auc_judd` and `nss`, `sim`.
    """
    prediction = _as_map(prediction, "prediction")
    target = _as_map(target, "target")
    if size is not None:
        target = resize(target, size)
    if prediction.shape != target.shape:
        prediction = resize(prediction, target.shape)
    row = dict.fromkeys(COLUMNS, float("nan"))
    gt_sum = target.sum(dtype=np.float64)
    row["gt_sum"] = float(gt_sum)
    row["mse"] = mse(prediction, target)
    if not target.any():
        return row
    row["kld"] = kld(prediction, target, eps=eps)
    row["cc"] = cc(prediction, target)
    row["sim"] = sim(prediction, target, normalize=normalize)
    is_fixated = target > threshold
    if is_fixated.any():
        row["nss"] = nss(prediction, target, threshold=threshold)
    if is_fixated.any() and not is_fixated.all():
        row["auc_judd"] = auc_judd(prediction, target, threshold=threshold)
    return row


def average_images(per_image: dict[str, ArrayLike]) -> dict[str, float | int]:
    """One row from the columns of `image_metrics`: means over images, never over batches.

    `mse` is over all images, `mse_gt0` over those with an empty target, the others over those where they are defined:
    `num_images`, `num_gt0` (empty target), `num_gt` (the rest) and `num_auc_judd` (the rest without targets that
    cover the whole image). A mean over no image is NaN.
    """
    errors = np.asarray(per_image["mse"], dtype=np.float64)
    target_sums = np.asarray(per_image["gt_sum"], dtype=np.float64)
    is_empty = target_sums == 0
    row = {"mse": _mean(errors), "mse_gt0": _mean(errors[is_empty])}
    num_defined = {}
    for name in GT_METRICS:
        column = np.asarray(per_image[name], dtype=np.float64)
        defined = column[~np.isnan(column)]
        row[name] = _mean(defined)
        num_defined[name] = len(defined)
    row["num_images"] = len(is_empty)
    row["num_gt0"] = int(is_empty.sum())
    row["num_gt"] = row["num_images"] - row["num_gt0"]
    row["num_auc_judd"] = num_defined["auc_judd"]
    return row


def heatmap_metrics(predictions: Iterable[ArrayLike], targets: Iterable[ArrayLike], **parameters) -> dict:
    """Averages and counts (see `average_images`), plus the columns they come from under "per_image".

    Args:
        predictions, targets: (B, H, W) or B maps of any sizes; generators are read one image at a time.
        parameters: those of `image_metrics`.

    Raises:
        ValueError: naming the image by its number from 0, for a map that `image_metrics` refuses; for different
            numbers of maps.
    """
    columns = {name: [] for name in COLUMNS}
    for index, (prediction, target) in enumerate(zip(predictions, targets, strict=True)):
        try:
            row = image_metrics(prediction, target, **parameters)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
        for name in COLUMNS:
            columns[name].append(row[name])
    per_image = {name: np.array(column, dtype=np.float64) for name, column in columns.items()}
    return {**average_images(per_image), "per_image": per_image}


def _as_pair(prediction: ArrayLike, target: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Two maps of one shape; the one check of all heatmap metrics."""
    prediction = _as_map(prediction, "prediction")
    target = _as_map(target, "target")
    check_same_shape(prediction, target)
    return prediction, target


def _as_map(values: ArrayLike, name: str) -> np.ndarray:
    """One map, (H, W) or its cells in a row, as float64 in [0, 1]."""
    cells = as_floats(values, name)
    if cells.ndim not in (1, 2):
        raise ValueError(f"{name} is {cells.shape}; one heatmap is (H, W)")
    low = cells.min()
    high = cells.max()
    if low < -TOLERANCE or high > 1 + TOLERANCE:
        raise ValueError(f"{name} has values from {low:g} to {high:g}; heatmaps are in [0, 1], 8-bit ones / 255")
    if low < 0 or high > 1:
        cells = cells.clip(0, 1)
    return cells


def _pairs_in_order(
    inside: np.ndarray, outside: np.ndarray, low: float, high: float, num_buckets: int = 1 << 17
) -> float:
    """Pairs with inside > outside, plus half of the ties; `inside` is sorted, all values are in [low, high].

    Sorting the many values outside would take most of the time. Equal steps from low to high make buckets; a value
    outside that has its bucket to itself is settled by counting, and only the others are sorted.
    """
    bucket_in = _buckets(inside, low, high, num_buckets)
    bucket_out = _buckets(outside, low, high, num_buckets)
    is_shared = np.zeros(num_buckets, dtype=bool)
    is_shared[bucket_in] = True
    counts = np.bincount(bucket_out, minlength=num_buckets)
    counts[is_shared] = 0
    counts_up_to = np.cumsum(counts)
    num_below = counts_up_to[bucket_in].sum()
    is_rest = is_shared[bucket_out]
    rest = np.sort(outside[is_rest])
    num_less = np.searchsorted(rest, inside, "left").sum()
    num_less_or_equal = np.searchsorted(rest, inside, "right").sum()
    num_tied = num_less_or_equal - num_less
    return float(num_below + num_less + num_tied / 2)


def _buckets(values: np.ndarray, low: float, high: float, num_buckets: int) -> np.ndarray:
    positions = values - low
    positions /= high - low  # in place: whole images are large
    positions *= num_buckets - 1
    return positions.astype(np.intp)


def _density(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total else values


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
