"""Supersampled drawing: every stroke paints colour and, on a second sheet, which part and which defect it is."""

import math
from contextlib import contextmanager

from PIL import Image, ImageDraw

from .vocabulary import DEFECTS, PARTS

OVERSAMPLING = 2
_CIRCLE = [complex(math.cos(2 * math.pi * k / 28), math.sin(2 * math.pi * k / 28)) for k in range(28)]
_PART = {name: index for index, name in enumerate(PARTS)}

Color = tuple[int, int, int]


def mix(color: Color, other: Color, share: float) -> Color:
    """`color` with `share` in [0, 1] of `other` mixed in."""
    (r, g, b), (x, y, z) = color, other
    return round(r + (x - r) * share), round(g + (y - g) * share), round(b + (z - b) * share)


def darker(color: Color, share: float = 0.3) -> Color:
    return mix(color, (0, 0, 0), share)


def lighter(color: Color, share: float = 0.3) -> Color:
    return mix(color, (255, 255, 255), share)


class Layer:
    """One object's sheet, `width` x `height` picture pixels, drawn OVERSAMPLING times larger.

    `color` is RGB, black where nothing was painted; `label` holds (part index, defect index, 0) per pixel. On a
    `flawless` one all random numbers of the planned defects are drawn, but what they would spoil is painted as it
    should be.
    """

    def __init__(self, width: int, height: int, outline: float = 0.0, flawless: bool = False):
        self.size = (width, height)
        self.flawless = flawless
        self.outline = outline  # thickness in picture pixels of a dark rim around shapes; 0 = none
        large = (width * OVERSAMPLING, height * OVERSAMPLING)
        self.color = Image.new("RGB", large)
        self.label = Image.new("RGB", large)
        self.ink = ImageDraw.Draw(self.color)
        self.mark = ImageDraw.Draw(self.label)
        self.defect = 0
        self.visible = True

    @contextmanager
    def planting(self, kind: str | None, visible: bool = True):
        """Strokes inside belong to defect `kind` (None: to none). Not visible: a missing part, only marked."""
        before = self.defect, self.visible
        if kind is not None and not self.flawless:
            self.defect, self.visible = DEFECTS.index(kind), visible
        yield
        self.defect, self.visible = before

    def flatten(self) -> tuple[Image.Image, Image.Image, Image.Image]:
        """At the picture's scale: colour (RGB, premultiplied with coverage), coverage (L) and label."""
        covered = self.label.getchannel(0).point([0] + [255] * 255)
        label = self.label.resize(self.size, Image.NEAREST)
        return self.color.reduce(OVERSAMPLING), covered.reduce(OVERSAMPLING), label

    def paint(self, shape: str, points: list, color: Color, part: str | None) -> None:
        """`shape`: a method of ImageDraw ("polygon" or "ellipse"); `points` in oversampled pixels.

        `part` None: a detail on top of what is there, colour only.
        """
        if self.visible:
            getattr(self.ink, shape)(points, fill=color)
        if part is None:
            return
        if self.visible:
            getattr(self.mark, shape)(points, fill=(_PART[part], self.defect, 0))
        else:
            self._mark_missing(shape, points)

    def _mark_missing(self, shape: str, points: list) -> None:
        """Where a part should be: a defect on top of whatever is painted there."""
        spot = Image.new("L", self.label.size)
        getattr(ImageDraw.Draw(spot), shape)(points, fill=255)
        box = spot.getbbox()
        if box is None:  # outside the layer
            return
        part, defect, rest = self.label.crop(box).split()
        defect.paste(self.defect, (0, 0), spot.crop(box))
        self.label.paste(Image.merge("RGB", (part, defect, rest)), box)


class Pen:
    """A coordinate frame on a layer. Points are complex numbers x + iy, y down; `at` opens a frame in the frame."""

    def __init__(self, layer: Layer, origin: complex, unit: complex, flip: bool = False):
        self.layer, self.origin, self.unit, self.flip = layer, origin, unit, flip
        self.length = abs(unit)

    @property
    def flawless(self) -> bool:
        return self.layer.flawless

    def planted(self, kind: str | None) -> str | None:
        """The kind, or None where defects are not painted."""
        return None if self.flawless else kind

    def to(self, point: complex) -> complex:
        """The oversampled pixel of a point of this frame."""
        return self.origin + self.unit * (-point.conjugate() if self.flip else point)

    def at(self, point: complex, degrees: float = 0.0, scale: float = 1.0) -> "Pen":
        turn = complex(math.cos(math.radians(degrees)), math.sin(math.radians(degrees))) * scale
        unit = self.unit * (turn.conjugate() if self.flip else turn)
        return Pen(self.layer, self.to(point), unit, self.flip)

    def planting(self, kind: str | None, visible: bool = True):
        return self.layer.planting(kind, visible)

    def polygon(self, points: list[complex], color: Color, part: str | None) -> None:
        self.layer.paint("polygon", [(p.real, p.imag) for p in map(self.to, points)], color, part)

    def ellipse(
        self, center: complex, rx: float, ry: float, color: Color, part: str | None, rim: bool = False
    ) -> None:
        if rim and self.layer.outline:
            edge = self.layer.outline * OVERSAMPLING / self.length
            self.ellipse(center, rx + edge, ry + edge, darker(color, 0.55), part)
            part = None  # the rim has marked it
        if abs(self.unit.imag) < 1e-6 * self.length or rx == ry:
            p, x, y = self.to(center), rx * self.length, ry * self.length
            self.layer.paint("ellipse", [p.real - x, p.imag - y, p.real + x, p.imag + y], color, part)
        else:
            self.polygon([center + complex(rx * c.real, ry * c.imag) for c in _CIRCLE], color, part)

    def limb(
        self, start: complex, end: complex, r0: float, r1: float, color: Color, part: str | None, rim: bool = False
    ):
        """A rounded bar from `start` (radius r0) to `end` (radius r1)."""
        if rim and self.layer.outline:
            edge = self.layer.outline * OVERSAMPLING / self.length
            self.limb(start, end, r0 + edge, r1 + edge, darker(color, 0.55), part)
            part = None  # the rim has marked it
        along = end - start
        side = complex(-along.imag, along.real) / (abs(along) or 1.0)
        self.polygon([start + side * r0, end + side * r1, end - side * r1, start - side * r0], color, part)
        self.ellipse(start, r0, r0, color, part)
        self.ellipse(end, r1, r1, color, part)

    def stroke(self, points: list[complex], radius: float, color: Color, part: str | None) -> None:
        """A line through `points`."""
        for start, end in zip(points, points[1:]):
            self.limb(start, end, radius, radius, color, part)
