"""Cars from the side. Frame: middle of the ground under the car, height = 1, front to -x."""

import cmath
import math

import numpy as np

from .canvas import Color, Pen, darker, lighter
from .palette import CLOTHES, an, chance, named, pick
from .thing import Thing

GLASS = (165, 200, 220)

#: Half length of the body, the cabin's outline above the body line, and the x of the wheels.
SHAPES = {
    "car": (1.15, [-0.62 - 0.5j, -0.3 - 0.98j, 0.45 - 0.98j, 0.82 - 0.5j], (-0.68, 0.68)),
    "van": (1.1, [-0.98 - 0.5j, -0.68 - 1j, 1.06 - 1j, 1.08 - 0.5j], (-0.66, 0.68)),
    "truck": (1.2, [-0.9 - 0.5j, -0.68 - 1j, -0.1 - 1j, -0.06 - 0.5j], (-0.72, 0.74)),
}


def _wheel(pen: Pen, x: float, radius: float, rim: Color, kind: str | None) -> None:
    arch = [complex(x, -0.18) + cmath.rect(radius * 1.16, math.radians(-15 * step)) for step in range(13)]
    arch = [complex(point.real, min(point.imag, -0.18)) for point in arch]
    pen.polygon(arch, (42, 42, 48), "car body")  # there with or without its wheel
    with pen.planting(kind, visible=kind != "missing wheel"):
        pen.ellipse(complex(x, -radius), radius, radius, (28, 28, 30), "wheel")
        pen.ellipse(complex(x, -radius), radius * 0.6, radius * 0.6, rim, None)
        for spoke in (1, 1j, 0.7 + 0.7j, 0.7 - 0.7j):
            end = spoke * radius * 0.55
            pen.limb(complex(x, -radius) - end, complex(x, -radius) + end, 0.015, 0.015, darker(rim, 0.45), None)
        pen.ellipse(complex(x, -radius), radius * 0.16, radius * 0.16, darker(rim, 0.5), None)


def _windows(pen: Pen, cabin: list[complex], glass: Color, pillar: Color) -> None:
    middle = sum(cabin) / len(cabin)
    pane = [middle + (point - middle) * 0.84 for point in cabin]
    pen.polygon(pane, glass, "car window")
    pen.polygon([pane[1], pane[1] + 0.12, pane[0] + 0.22, pane[0]], lighter(glass, 0.4), "car window")
    if cabin[2].real - cabin[1].real > 0.7:
        x = middle.real + 0.05
        pen.limb(complex(x, pane[0].imag), complex(x, pane[1].imag), 0.03, 0.03, pillar, "car body")


def draw_car(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    noun = pick(rng, ("car", "car", "van", "truck"))
    half, cabin, axles = SHAPES[noun]
    name, color = named(rng, CLOTHES)
    radius = rng.uniform(0.215, 0.25)
    pen.polygon(cabin, color, "car body")
    body = [complex(-half, -0.24), complex(-half + 0.04, -0.48), complex(cabin[0].real, -0.56)]
    body += [complex(half - 0.06, -0.56), complex(half, -0.48), complex(half, -0.22)]
    if pen.layer.outline:
        pen.polygon([p * 1.02 + 0.005j for p in body], darker(color, 0.55), "car body")
    pen.polygon(body, color, "car body")
    pen.polygon([complex(-half, -0.26), complex(half, -0.26), complex(half, -0.18), complex(-half + 0.03, -0.18)],
                darker(color, 0.35), "car body")  # fmt: skip
    pen.limb(complex(-half + 0.1, -0.44), complex(half - 0.1, -0.44), 0.012, 0.012, lighter(color, 0.4), None)
    _windows(pen, cabin, GLASS, color)
    x = (axles[0] + axles[1]) / 2
    pen.limb(complex(x, -0.26), complex(x, -0.54), 0.008, 0.008, darker(color, 0.45), None)
    pen.limb(complex(x + 0.1, -0.47), complex(x + 0.22, -0.47), 0.014, 0.014, darker(color, 0.5), None)
    pen.ellipse(complex(-half + 0.07, -0.4), 0.06, 0.05, (255, 240, 180), None)
    pen.ellipse(complex(half - 0.05, -0.4), 0.04, 0.05, (210, 40, 40), None)
    rim = pick(rng, ((190, 192, 196), (120, 122, 128), (225, 225, 228)))
    lost = pick(rng, axles) if "missing wheel" in plan else None
    for axle in axles:
        _wheel(pen, axle, radius, rim, "missing wheel" if axle == lost else None)
    if "extra wheel" in plan:
        between = x + rng.uniform(-0.1, 0.1)
        if not pen.flawless:
            _wheel(pen, between, radius, rim, "extra wheel")
    anchors = [(complex(axles[0] if chance(rng, 0.5) else axles[1], -0.3), 0.34, "wheel")]
    anchors.append(((cabin[1] + cabin[2]) / 2 + 0.25j, 0.36, "window"))
    anchors = [(pen.to(at), size * pen.length, what) for at, size, what in anchors]
    return Thing(noun, an(f"{name} {noun}"), an(f"{name} {noun}"), anchors, color=name)
