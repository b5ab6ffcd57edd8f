"""From planted defects to numbers: severity, score and heatmap."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from .vocabulary import BASE_SEVERITY, SIZE_WEIGHT

#: Width of the heatmap's soft edge (Gaussian sigma) as a share of the square root of the image's area.
SOFTNESS = 0.045
#: Below it the blur's tail is cut: nobody would mark what is this far away.
FLOOR = 0.1


@dataclass
class Defect:
    kind: str  # one of DEFECTS
    part: str  # the word in the text: "hand"
    noun: str  # the object's: "woman"
    where: str  # "on the left"
    box: tuple[float, float, float, float]  # x0, y0, x1, y1 in pixels, of the visible mask
    severity: float  # in [0, 1]


def severity(kind: str, mask: np.ndarray) -> float:
    """The kind's own weight plus a part of SIZE_WEIGHT, all of it from a ninth of the picture's area on.

    `mask`: (H, W) bool, where the defect can be seen.
    """
    extent = float(np.sqrt(mask.mean()) * 3)
    return BASE_SEVERITY[kind] + SIZE_WEIGHT * min(1.0, extent)


def plausibility(severities: list[float]) -> float:
    """The score in [0, 1]: the product of 1 - severity; 1 without defects, lower with each and with its severity."""
    return float(np.prod([1.0 - s for s in severities])) if severities else 1.0


def bounding_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


def heatmap(size: tuple[int, int], masks: list[np.ndarray], severities: list[float]) -> np.ndarray:
    """`size` (W, H) -> (H, W) float32 in [0, 1]: the strongest of the defects at each pixel, exactly 0 away from all.

    A mask (H, W, bool) is Gaussian-blurred, raised to a peak of 1 and weighted with min(1, 0.4 + severity); from what
    comes out, FLOOR .. 1 becomes 0 .. 1.
    """
    width, height = size
    total = np.zeros((height, width), np.float32)
    sigma = SOFTNESS * (height * width) ** 0.5
    margin = int(4 * sigma) + 2
    for mask, weight in zip(masks, severities):
        x0, y0, x1, y1 = (int(v) for v in bounding_box(mask))
        window = np.s_[max(0, y0 - margin) : y1 + margin, max(0, x0 - margin) : x1 + margin]
        soft = Image.fromarray(mask[window].astype(np.uint8) * 255).filter(ImageFilter.GaussianBlur(sigma))
        soft = np.asarray(soft, dtype=np.float32)
        total[window] = np.maximum(total[window], soft / soft.max() * min(1.0, 0.4 + weight))
    return np.maximum(total - FLOOR, 0) / (1 - FLOOR)
