"""Objects and their shadows put into the picture, with the labels of what is seen of them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from .canvas import OVERSAMPLING, Layer, Pen
from .families import Placed
from .lighting import Light, cast_shadow, contact_shadow, shade
from .melting import melt
from .palette import chance, pick
from .vocabulary import DEFECTS, PARTS

_WRONG_SHADOW = DEFECTS.index("wrong shadow")


@dataclass
class Canvas:
    """The picture while it is made."""

    image: Image.Image
    parts: np.ndarray  # (H, W) uint8, index into PARTS
    defects: np.ndarray  # (H, W) uint8, index into DEFECTS


@dataclass
class Sheet:
    """A finished object at the picture's scale; `corner`: its upper left pixel, `foot`: y of the ground under it."""

    item: Placed
    color: Image.Image
    coverage: Image.Image
    label: Image.Image
    corner: tuple[int, int]
    foot: float


def draw_object(
    item: Placed, rng: np.random.Generator, size: tuple[int, int], outline: float, indoor: bool, flawless: bool
) -> Sheet:
    """`size` of the picture in pixels; `outline` and `flawless` as in `Layer`. A flawless item's plan is emptied."""
    slot, post = item.slot, item.family.pose == "hangs" and not indoor  # outdoors a clock needs a post
    height = item.height * (0.8 if post else 1.0)
    width = height * item.family.aspect
    x = slot.x + slot.width / 2 + rng.uniform(-0.5, 0.5) * max(0.0, slot.width - width)
    ground = size[1] if item.family.pose == "cut" else slot.y + slot.height - height * 0.04
    base = (
        slot.y + height + (slot.height - height) * (0.15 if post else 0.5) if item.family.pose == "hangs" else ground
    )
    corner = max(0, int(x - width * 0.58)), max(0, int(base - height * 1.1))
    end = min(size[0], int(x + width * 0.58) + 1), min(size[1], int(ground + height * 0.05) + 1)
    layer = Layer(end[0] - corner[0], end[1] - corner[1], outline, flawless)
    origin = complex(x - corner[0], base - corner[1])
    pen = Pen(layer, OVERSAMPLING * origin, complex(OVERSAMPLING * height), flip=chance(rng, 0.5))
    if post:
        pen.limb(-0.1j, 1j * (ground - base) / height, 0.035, 0.035, (85, 80, 80), "post", rim=True)
    item.thing = item.family.draw(pen, rng, item.plan)
    if "melted patch" in item.plan:
        spot, radius, item.thing.parts["melted patch"] = pick(rng, item.thing.anchors)
        melt(layer, spot, 1.2 * radius, rng)
    if flawless:
        item.plan = frozenset()
    return Sheet(item, *layer.flatten(), corner, ground)


def throw_shadow(canvas: Canvas, sheet: Sheet, light: Light) -> None:
    """Darken the ground; a wrong shadow is marked as the defect that it is."""
    width, height = canvas.image.size
    wrong = "wrong shadow" in sheet.item.plan
    if light.sharp:
        side = -light.side if wrong else light.side
        shadow, top = cast_shadow(sheet.coverage, sheet.corner, sheet.foot, light, width, side)
    else:
        shadow, top = contact_shadow(sheet.coverage, sheet.corner, sheet.foot, width)
    shadow = shadow.filter(ImageFilter.BoxBlur(max(width, height) / (400 if light.sharp else 90)))
    canvas.image.paste((20, 20, 35), (0, top), shadow.point([round(v * light.strength) for v in range(256)]))
    dark = np.asarray(shadow)[: height - top] > 127
    canvas.parts[top : top + dark.shape[0]][dark] = PARTS.index("shadow")
    if wrong:
        canvas.defects[top : top + dark.shape[0]][dark] = _WRONG_SHADOW
        mask = np.zeros((height, width), bool)
        mask[top : top + dark.shape[0]] = dark
        sheet.item.masks["wrong shadow"] = mask


def put_object(canvas: Canvas, sheet: Sheet, light: Light) -> None:
    """Paint an object over what is there, labels included, and note where its defects are."""
    (x, y), (width, height) = sheet.corner, sheet.color.size
    box = (x, y, x + width, y + height)
    under = canvas.image.crop(box)
    under.paste((0, 0, 0), (0, 0), sheet.coverage)
    canvas.image.paste(ImageChops.add(under, shade(sheet.color, light)), box)
    label, window = np.asarray(sheet.label), np.s_[y : y + height, x : x + width]
    painted = label[..., 0] > 0
    np.copyto(canvas.parts[window], label[..., 0], where=painted)
    np.copyto(canvas.defects[window], label[..., 1], where=painted | (label[..., 1] > 0))
    for kind in sheet.item.plan - {"wrong shadow"}:
        mask = np.zeros(canvas.parts.shape, bool)
        mask[window] = label[..., 1] == DEFECTS.index(kind)
        sheet.item.masks[kind] = mask
