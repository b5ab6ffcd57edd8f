"""Stage 1 of Expl-AIGI-Eval (HEIE, section 3.4): a contour round each region of the heatmap, drawn on the image.

The contour is a ring outside the region, so that the defect itself stays visible. The paper gives neither threshold
nor width; those here are ours and scale with the image.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from heie_hf.prediction.regions import THRESHOLD, Region, find_regions, grow

RED = (255, 0, 0)
#: Pixels at a longer side of 512: how far from the region the ring begins, and how wide it is.
GAP, WIDTH = 9, 5


@dataclass(frozen=True)
class VisualPrompt:
    """An image with its problematic regions outlined.

    Args:
        image: RGB, the picture with a red ring round each region; with several regions also their numbers.
        regions: region i + 1 of the picture; boxes and masks are in its pixels. Empty for an image without a defect.
    """

    image: Image.Image
    regions: list[Region]


def draw_contours(image: Image.Image, heatmap: Image.Image) -> VisualPrompt:
    """Outline what the heatmap marks.

    Parts whose rings would run into each other are one region. Where no value reaches the threshold, half of the
    highest one does.

    Args:
        image: the picture.
        heatmap: L image of the same size, 0 = plausible.
    """
    heat = np.asarray(heatmap.convert("L"), dtype=np.float32) / 255  # (H, W)
    if not heat.any():
        return VisualPrompt(image.convert("RGB"), [])
    highest = float(heat.max())
    threshold = THRESHOLD if highest >= THRESHOLD else highest / 2
    marked = heat >= threshold
    scale = max(image.size) / 512
    inside = grow(marked, max(1, round(GAP * scale)))
    outside = grow(inside, max(1, round(WIDTH * scale)))
    pixels = np.array(image.convert("RGB"))
    pixels[outside & ~inside] = RED
    drawn = Image.fromarray(pixels)
    outlines = _outlines(inside, heat)
    regions = [_marked_part(outline, marked, heat) for outline in outlines]
    if len(regions) > 1:
        for number, outline in enumerate(outlines, 1):
            _write_number(drawn, outline, number, scale)
    return VisualPrompt(drawn, regions)


def _outlines(inside: np.ndarray, heat: np.ndarray) -> list[Region]:
    """What lies inside each ring, the hottest first."""
    least = 1 / 255
    filled = np.where(inside, heat.clip(least), 0).astype(np.float32)
    return find_regions(filled, threshold=least, min_area=0)


def _marked_part(outline: Region, marked: np.ndarray, heat: np.ndarray) -> Region:
    """What the heatmap marks inside an outline, in pixels of the image."""
    x0, y0, x1, y1 = outline.box
    mask = outline.mask & marked[y0:y1, x0:x1]
    rows = np.flatnonzero(mask.any(axis=1))
    columns = np.flatnonzero(mask.any(axis=0))
    left, right = int(columns[0]), int(columns[-1]) + 1
    top, bottom = int(rows[0]), int(rows[-1]) + 1
    hottest = heat[y0:y1, x0:x1][mask].max()
    box = (x0 + left, y0 + top, x0 + right, y0 + bottom)
    return Region(box, area=int(mask.sum()), heat=float(hottest), mask=mask[top:bottom, left:right])


def _write_number(image: Image.Image, outline: Region, number: int, scale: float) -> None:
    """Beside the upper left corner of the outline, white on red."""
    draw = ImageDraw.Draw(image)
    font = ImageFont.load_default(max(12, round(20 * scale)))
    x0, y0, _, _ = outline.box
    left, top, right, bottom = draw.textbbox((0, 0), str(number), font=font)
    margin = max(2, (bottom - top) // 4)
    width = right - left + 2 * margin
    height = bottom - top + 2 * margin
    x = min(max(0, x0 - width), image.width - width)
    y = min(max(0, y0 - height), image.height - height)
    draw.rectangle((x, y, x + width, y + height), fill=RED)
    draw.text((x + margin - left, y + margin - top), str(number), fill="white", font=font)
