"""Clocks. Frame: middle of the lower edge, height = 1."""

import cmath
import math

import numpy as np

from .canvas import Color, Pen, darker
from .palette import CLOTHES, an, chance, named, pick
from .thing import Thing


def _away(rng: np.random.Generator, taken: list[float], apart: float) -> float:
    """An angle at least `apart` degrees from those taken and from their opposites (a hand has a tail there)."""
    while True:
        angle = rng.uniform(0, 360)
        if all(abs((angle - other + 90) % 180 - 90) > apart for other in taken):
            return angle


def _hand(pen: Pen, degrees: float, length: float, radius: float, color: Color) -> None:
    tip = cmath.rect(length, math.radians(degrees - 90))
    pen.limb(-0.18 * tip, tip, radius, radius * 0.6, color, "clock hand")


def _dial(pen: Pen, rng: np.random.Generator, ink: Color) -> None:
    bold = chance(rng, 0.5)
    for hour in range(12):
        ray = cmath.rect(1.0, math.radians(30 * hour))
        main = hour % 3 == 0
        if bold or main:
            pen.limb(ray * (0.74 if main else 0.8), ray * 0.88, 0.035 if main else 0.022, 0.03, ink, None)
        else:
            pen.ellipse(ray * 0.84, 0.035, 0.035, ink, None)


def draw_clock(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    name, color = named(rng, CLOTHES)
    square = chance(rng, 0.25)
    pale = name in ("white", "gray") or chance(rng, 0.75)
    dial = pick(rng, ((250, 250, 245), (245, 238, 215), (225, 235, 245))) if pale else (45, 48, 58)
    ink = (30, 30, 35) if pale else (240, 240, 235)
    face = pen.at(-0.5j, scale=0.47)
    if square:
        for size, paint in ((1.0, color), (0.84, dial)):
            corner = complex(size, size)
            face.polygon([-corner, corner.conjugate(), corner, -corner.conjugate()], paint, "clock face")
    else:
        face.ellipse(0, 1.0, 1.0, color, "clock face", rim=True)
        face.ellipse(0, 0.9, 0.9, darker(color, 0.3), "clock face")
        face.ellipse(0, 0.86, 0.86, dial, "clock face")
    inner = face.at(0, scale=0.9)
    _dial(inner, rng, ink)
    hour = _away(rng, [], 0)
    minute = _away(rng, [hour], 25)
    shape = rng.uniform(0.045, 0.06)
    hands = [(hour, 0.46, shape * 1.25, None), (minute, 0.72, shape, None)]
    if "extra clock hand" in plan:
        long = chance(rng, 0.5)
        extra = _away(rng, [hour, minute], 25)
        if not pen.flawless:
            hands.append((extra, 0.72 if long else 0.46, shape if long else shape * 1.25, None))
            hands = [(*hand[:3], "extra clock hand") for hand in hands]  # nobody can say which of the three is extra
    for degrees, length, radius, kind in hands:
        with pen.planting(kind):
            _hand(inner, degrees, length, radius, ink)
    inner.ellipse(0, shape * 1.6, shape * 1.6, ink, "clock hand")
    anchors = [
        (face.to(0.35 + 0.35j), 0.55 * face.length, "face"),
        (face.to(-0.35 - 0.3j), 0.55 * face.length, "face"),
    ]
    kind = "square" if square else "round"
    return Thing("clock", f"a {kind} {name} clock", an(f"{name} clock"), anchors, color=name)
