"""From a heatmap to regions, and to masks for inpainting.

Conventions: a region is 8-connected (two cells that touch at a corner are one region); a box is x0, y0, x1, y1 in
pixels with x1 and y1 outside; a mask is white (255) where something is to be repainted, as in diffusers and Label
Studio.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from heie_hf.visualization import Heatmap

#: One of RichHF-18K's three annotators marks a place with about 1/3 before smoothing.
THRESHOLD = 0.2
#: Share of the picture that a region must cover; less is noise of the map.
MIN_AREA = 0.0005
#: Pixels that a mask grows at a side of 512, in proportion elsewhere: inpainting needs room round a defect.
DILATE = 8


@dataclass(frozen=True)
class Region:
    """A connected part of a heatmap at or above the threshold.

    Args:
        box: x0, y0, x1, y1 in cells of the heatmap, x1 and y1 outside.
        area: number of its cells.
        heat: the highest value inside, in [0, 1].
        mask: (y1 - y0, x1 - x0) bool, the region within its box.
    """

    box: tuple[int, int, int, int]
    area: int
    heat: float
    mask: np.ndarray


def find_regions(
    heatmap: Heatmap, threshold: float = THRESHOLD, min_area: float = MIN_AREA, max_regions: int | None = None
) -> list[Region]:
    """The connected regions of a heatmap, the hottest first, the larger first where two are equally hot.

    Args:
        heatmap: (H, W) in [0, 1], or an L image.
        threshold: in (0, 1], the least value inside a region.
        min_area: least share of the heatmap's cells, in [0, 1].
        max_regions: only so many, the hottest; None = all.

    Raises:
        ValueError: the heatmap is not (H, W), or the threshold is not in (0, 1].
    """
    heat = _as_array(heatmap)
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold must be above 0 and at most 1, not {threshold}")
    labels, boxes = label_regions(heat >= threshold)
    areas = np.bincount(labels.ravel(), minlength=len(boxes) + 1)[1:]
    regions = []
    for index in np.flatnonzero(areas >= min_area * heat.size):
        x0, y0, x1, y1 = boxes[index].tolist()
        mask = labels[y0:y1, x0:x1] == index + 1
        hottest = float(heat[y0:y1, x0:x1][mask].max())
        regions.append(Region(box=(x0, y0, x1, y1), area=int(areas[index]), heat=hottest, mask=mask))
    regions.sort(key=lambda region: (-region.heat, -region.area, region.box))
    return regions[:max_regions]


def to_mask(
    heatmap: Heatmap,
    size: tuple[int, int],
    threshold: float = THRESHOLD,
    min_area: float = MIN_AREA,
    max_regions: int | None = None,
    dilate: int = DILATE,
    feather: float = 0.0,
) -> Image.Image | None:
    """A mask for inpainting; None where nothing is to be repaired (an empty mask would break a crop to its box).

    Args:
        heatmap, threshold, min_area, max_regions: as in `find_regions`.
        size: width and height of the picture that the mask is for.
        dilate: pixels that each region grows to every side, at a longer side of 512, in proportion elsewhere.
        feather: radius in pixels of a Gaussian blur of the edge; 0 leaves the mask at 0 and 255.

    Returns:
        An L image of `size`, 255 = repaint.
    """
    heat = _as_array(heatmap)
    chosen = np.zeros(heat.shape, dtype=bool)
    for region in find_regions(heat, threshold, min_area, max_regions):
        x0, y0, x1, y1 = region.box
        chosen[y0:y1, x0:x1] |= region.mask
    if not chosen.any():
        return None
    mask = Image.fromarray(chosen).resize(size, Image.Resampling.NEAREST)
    radius = round(dilate * max(size) / 512)
    grown = Image.fromarray(grow(np.asarray(mask), radius)).convert("L")
    return grown.filter(ImageFilter.GaussianBlur(feather)) if feather else grown


def grow(mask: np.ndarray, radius: int) -> np.ndarray:
    """(H, W) bool -> the mask dilated by a square of side 2 x radius + 1."""
    if radius < 1:
        return mask
    return _grow_down(_grow_down(mask, radius).T, radius).T


def _grow_down(mask: np.ndarray, radius: int) -> np.ndarray:
    """Along the columns; the cells of a window are counted as the difference of two running sums."""
    padded = np.pad(mask, ((radius + 1, radius), (0, 0)))
    counts = np.cumsum(padded, axis=0, dtype=np.int32)
    window = 2 * radius + 1
    return counts[window:] > counts[:-window]


def label_regions(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """8-connected components of (H, W) bool: labels (H, W) from 1, 0 outside, and boxes (N, 4) as in `Region`.

    Works on the runs of each row, so that its cost is that of the outlines, not of the pixels.
    """
    height, width = mask.shape
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).view(np.int8), axis=1)  # (H, W + 1)
    rows, starts = np.nonzero(edges == 1)
    _, ends = np.nonzero(edges == -1)  # in the same order: a run ends before the next one of its row begins
    upper, lower = _touching(rows, starts, ends, width)
    roots, numbers = np.unique(_components(len(rows), upper, lower), return_inverse=True)
    deltas = np.zeros((height, width + 1), dtype=np.int32)
    deltas[rows, starts] = numbers + 1
    deltas[rows, ends] -= (numbers + 1).astype(np.int32)
    labels = np.cumsum(deltas, axis=1, dtype=np.int32)[:, :width]
    boxes = np.tile([width, height, 0, 0], (len(roots), 1))
    np.minimum.at(boxes[:, 0], numbers, starts)
    np.minimum.at(boxes[:, 1], numbers, rows)
    np.maximum.at(boxes[:, 2], numbers, ends)
    np.maximum.at(boxes[:, 3], numbers, rows + 1)
    return labels, boxes


def _touching(rows: np.ndarray, starts: np.ndarray, ends: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of runs, one in the row below the other, that share a column or a corner."""
    stride = width + 2
    first_cells = rows * stride + starts
    last_cells = rows * stride + ends  # just outside, so that a corner touches
    begin = np.searchsorted(last_cells, first_cells + stride, side="left")
    end = np.searchsorted(first_cells, last_cells + stride, side="right")
    counts = np.maximum(end - begin, 0)
    upper = np.repeat(np.arange(len(rows)), counts)
    offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    lower = np.repeat(begin, counts) + offsets
    return upper, lower


def _components(number: int, upper: np.ndarray, lower: np.ndarray) -> np.ndarray:
    """The smallest member of each node's component in a graph of `number` nodes: minima spread until nothing moves."""
    component = np.arange(number)
    while True:
        smaller = np.minimum(component[upper], component[lower])
        before = component.copy()
        # The roots of both ends take the smaller of the two, then every node goes to its root's root.
        np.minimum.at(component, before[upper], smaller)
        np.minimum.at(component, before[lower], smaller)
        component = component[component]
        if np.array_equal(component, before):
            return component


def _as_array(heatmap: Heatmap) -> np.ndarray:
    if isinstance(heatmap, Image.Image):
        return np.asarray(heatmap.convert("L"), dtype=np.float32) / 255
    heat = np.asarray(heatmap, dtype=np.float32)
    if heat.ndim != 2:
        raise ValueError(f"a heatmap is (height, width), not {heat.shape}")
    return heat
