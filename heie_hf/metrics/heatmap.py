"""Heatmap metrics: pure functions `f(prediction, target) -> float` on two maps of the same shape (H, W).

Heatmaps are floats in [0, 1], 0 = plausible. Definitions follow github youweiliang/RichHF `metrics.py` and the MIT
saliency benchmark (Bylinskii et al., TPAMI 2019); where the two differ, the difference is a keyword. An empty target
(all 0) has no metric but MSE: the others give NaN with a warning, and `heatmap_metrics` leaves such images out.
All of them raise ValueError for shapes that differ, empty arrays, NaN and infinity.
"""

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from heie_hf.metrics.arrays import as_pair, centre, is_constant, pearson, undefined

RICHHF_EPS = 1e-8  # an all-zero prediction costs about 9 nats
MIT_EPS = 2.2204e-16  # the same costs about 31

#: Metrics that an empty target leaves undefined.
GT_METRICS = ("kld", "cc", "sim", "nss", "auc_judd")


def mse(prediction: ArrayLike, target: ArrayLike) -> float:
    """Mean squared error."""
    prediction, target = as_pair(prediction, target)
    return float(np.mean((prediction - target) ** 2))


def kld(prediction: ArrayLike, target: ArrayLike, *, eps: float = RICHHF_EPS) -> float:
    """Divergence of the prediction from the target as distributions, in nats: sum g log(eps + g / (p + eps)).

    Args:
        eps: also added to the sums that normalise; `RICHHF_EPS` (1e-8) or `MIT_EPS` (2.2e-16). It decides the cost of
            a prediction that misses the target, so report it.

    Raises:
        ValueError: if a map has negative values.
    """
    prediction, target = _nonnegative(*as_pair(prediction, target))
    if not target.any():
        return undefined("kld", "the target is empty")
    hit = target > 0  # the other cells add nothing
    p, g = prediction[hit] / (prediction.sum() + eps), target[hit] / (target.sum() + eps)
    return float(np.sum(g * np.log(eps + g / (p + eps))))


def cc(prediction: ArrayLike, target: ArrayLike) -> float:
    """Pearson's correlation of the cells, in [-1, 1]; 0 if a map is constant."""
    prediction, target = as_pair(prediction, target)
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
        ValueError: if a map has negative values and is not scaled, or for another `normalize`.
    """
    if normalize not in (None, "minmax"):
        raise ValueError(f"normalize must be None or 'minmax', not {normalize!r}")
    prediction, target = as_pair(prediction, target)
    if not target.any():
        return undefined("sim", "the target is empty")
    if normalize == "minmax":
        prediction, target = prediction - prediction.min(), target - target.min()  # the sum takes care of the maximum
    prediction, target = _nonnegative(prediction, target)
    return float(np.minimum(_density(prediction), _density(target)).sum())


def nss(prediction: ArrayLike, target: ArrayLike, *, threshold: float = 0.0) -> float:
    """Mean of the standardised prediction over the fixated cells (target > threshold); 0 if it is constant."""
    prediction, target = as_pair(prediction, target)
    fixated = target > threshold
    if not fixated.any():
        return undefined("nss", f"no cell of the target is above {threshold}")
    if is_constant(prediction):
        return 0.0
    centred, deviation = centre(prediction)
    return float(centred[fixated].mean() / deviation)


def auc_judd(prediction: ArrayLike, target: ArrayLike, *, threshold: float = 0.0) -> float:
    """Area under the ROC curve, in [0, 1], where fixated cells (target > threshold) are to be above all others.

    Exact, with ties counted as one half (a constant prediction gives 0.5), which is the Mann-Whitney statistic of
    mid-ranks. MIT's and RichHF's code breaks ties by adding noise of 1e-7 and draws the curve through the fixated
    values only, which adds up to 1 / (2 * number of fixated cells).
    """
    prediction, target = as_pair(prediction, target)
    fixated = target > threshold
    if fixated.all() or not fixated.any():
        return undefined("auc_judd", f"{'every' if fixated.any() else 'no'} cell of the target is above {threshold}")
    if is_constant(prediction):
        return 0.5
    inside, outside = np.sort(prediction[fixated]), prediction[~fixated]
    return _pairs_in_order(inside, outside, prediction.min(), prediction.max()) / (inside.size * outside.size)


def resize(heatmap: ArrayLike, size: tuple[int, int]) -> np.ndarray:
    """The map in `size` (height, width), float32; bilinear, averaging over areas when it shrinks (Pillow's)."""
    from PIL import Image

    image = Image.fromarray(np.asarray(heatmap, dtype=np.float32))
    return np.asarray(image.resize((size[1], size[0]), Image.Resampling.BILINEAR))


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
    target = np.asarray(target) if size is None else resize(target, size)
    if np.shape(prediction) != target.shape:
        prediction = resize(prediction, target.shape)
    row = {"gt_sum": float(target.sum(dtype=np.float64)), "mse": mse(prediction, target)}
    if not target.any():
        return row | dict.fromkeys(GT_METRICS, float("nan"))
    has_both = 0 < np.count_nonzero(target > threshold) < target.size
    return row | {
        "kld": kld(prediction, target, eps=eps),
        "cc": cc(prediction, target),
        "sim": sim(prediction, target, normalize=normalize),
        "nss": nss(prediction, target, threshold=threshold) if (target > threshold).any() else float("nan"),
        "auc_judd": auc_judd(prediction, target, threshold=threshold) if has_both else float("nan"),
    }


def average_images(per_image: dict[str, ArrayLike]) -> dict[str, float | int]:
    """One row from the columns of `image_metrics`: means over images, never over batches.

    `mse` is over all images, `mse_gt0` over those with an empty target, the others over those where they are defined:
    `num_images`, `num_gt0` (empty target), `num_gt` (the rest) and `num_auc_judd` (the rest without targets that
    cover the whole image). A mean over no image is NaN.
    """
    columns = {name: np.asarray(values, dtype=np.float64) for name, values in per_image.items()}
    empty = columns["gt_sum"] == 0
    return {
        "mse": _mean(columns["mse"]),
        "mse_gt0": _mean(columns["mse"][empty]),
        **{name: _mean(columns[name][~np.isnan(columns[name])]) for name in GT_METRICS},
        "num_images": len(empty),
        "num_gt0": int(empty.sum()),
        "num_gt": int((~empty).sum()),
        "num_auc_judd": int(np.count_nonzero(~np.isnan(columns["auc_judd"]))),
    }


def heatmap_metrics(predictions: Iterable[ArrayLike], targets: Iterable[ArrayLike], **parameters) -> dict:
    """Averages and counts (see `average_images`), plus the columns they come from under "per_image".

    Args:
        predictions, targets: (B, H, W) or B maps of any sizes; generators are read one image at a time.
        parameters: those of `image_metrics`.
    """
    rows = [image_metrics(p, t, **parameters) for p, t in zip(predictions, targets, strict=True)]
    columns = ("gt_sum", "mse", *GT_METRICS)
    per_image = {name: np.array([row[name] for row in rows], dtype=np.float64) for name in columns}
    return {**average_images(per_image), "per_image": per_image}


def _pairs_in_order(
    inside: np.ndarray, outside: np.ndarray, low: float, high: float, num_buckets: int = 1 << 17
) -> float:
    """Pairs with inside > outside, plus half of the ties; `inside` is sorted, all values are in [low, high].

    Sorting the many values outside would take most of the time. Equal steps from low to high make buckets; a value
    outside that has its bucket to itself is settled by counting, and only the others are sorted.
    """
    bucket_in, bucket_out = (((v - low) / (high - low) * (num_buckets - 1)).astype(np.intp) for v in (inside, outside))
    is_shared = np.zeros(num_buckets, dtype=bool)
    is_shared[bucket_in] = True
    counts = np.bincount(bucket_out, minlength=num_buckets)
    counts[is_shared] = 0
    rest = np.sort(outside[is_shared[bucket_out]])
    below = np.searchsorted(rest, inside, "left") + np.searchsorted(rest, inside, "right")
    return float(np.cumsum(counts)[bucket_in].sum() + below.sum() / 2)


def _nonnegative(*maps: np.ndarray) -> tuple[np.ndarray, ...]:
    if any(values.min() < 0 for values in maps):
        raise ValueError("a map with negative values is no distribution")
    return maps


def _density(values: np.ndarray) -> np.ndarray:
    total = values.sum()
    return values / total if total else values


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
