"""Open hands. The frame: wrist at 0, the palm up along -y, length of the whole hand about 1, thumb at +x."""

import cmath
import math
from dataclasses import dataclass, replace

import numpy as np

from .canvas import Color, Pen, darker, lighter
from .palette import chance, pick

_LENGTHS = (0.44, 0.52, 0.5, 0.4)  # index, middle, ring, little finger beyond the palm


def _finger(pen: Pen, base: complex, degrees: float, length: float, radius: float, skin: Color) -> None:
    tip = base + cmath.rect(length, math.radians(degrees - 90))
    edge = max(0.025, 1.1 / pen.length)  # neighbours stay apart without an outline style, too
    pen.limb(base, tip, radius + edge, radius * 0.9 + edge, darker(skin, 0.5), "hand")
    pen.limb(base, tip, radius, radius * 0.9, skin, None)
    pen.ellipse(tip, radius * 0.5, radius * 0.5, lighter(skin, 0.3), None)


@dataclass(frozen=True)
class _Finger:
    degrees: float  # from straight up
    length: float
    healthy_degrees: float | None  # where it would be on a hand with five fingers; None: nowhere
    kind: str | None = None  # of defect


def _fan(rng: np.random.Generator, plan: frozenset) -> list[_Finger]:
    """All fingers except the thumb, from the thumb's side outwards."""
    spread = rng.uniform(17, 22)
    fan = []
    for k, length in enumerate(_LENGTHS):
        degrees = (1.5 - k) * spread
        fan.append(_Finger(degrees, length, healthy_degrees=degrees))
    if "extra finger" in plan:
        if chance(rng, 0.7):
            fan.append(_Finger(-2.5 * spread, 0.38, healthy_degrees=None))
        else:  # one more within the fan
            place = pick(rng, (1, 2, 3))
            fan.insert(place, _Finger(0.0, 0.48, healthy_degrees=None))
            fan = [replace(finger, degrees=(2 - k) * spread) for k, finger in enumerate(fan)]
        fan = [replace(finger, kind="extra finger") for finger in fan]  # nobody can say which of them is extra
    if "missing finger" in plan:
        gone = pick(rng, (0, 1, 2, 3))
        fan[gone] = replace(fan[gone], kind="missing finger")
    return fan


def _healthy(fingers: list[_Finger]) -> list[_Finger]:
    """Those of a hand with five fingers, from the thumb's side outwards."""
    healthy = []
    for finger in fingers:
        if finger.healthy_degrees is not None:
            healthy.append(replace(finger, degrees=finger.healthy_degrees, kind=None))
    return sorted(healthy, key=lambda finger: -finger.degrees)


def draw_hand(pen: Pen, rng: np.random.Generator, skin: Color, plan: frozenset) -> None:
    edge = max(0.025, 1.1 / pen.length)
    lean, plump = rng.uniform(-5, 5), rng.uniform(0.066, 0.08)
    # a missing one is not painted over
    fingers = sorted(_fan(rng, plan), key=lambda finger: finger.kind is not None)
    _finger(pen, complex(0.2, -0.2), rng.uniform(52, 66) + lean, 0.36, plump * 1.15, skin)  # the thumb
    fingers = [replace(finger, length=finger.length * rng.uniform(0.95, 1.05)) for finger in fingers]
    if pen.flawless:
        fingers = _healthy(fingers)
    for finger in fingers:
        turn = math.radians(finger.degrees * 1.7)
        base = complex(0.235 * math.sin(turn), -0.36 - 0.08 * math.cos(turn))
        with pen.planting(finger.kind, visible=finger.kind != "missing finger"):
            _finger(pen, base, finger.degrees + lean, finger.length, plump, skin)
    for grow, color, part in ((edge, darker(skin, 0.5), "hand"), (0.0, skin, None)):
        pen.ellipse(complex(0, -0.3), 0.25 + grow, 0.23 + grow, color, part)
        pen.limb(0, complex(0, -0.2), 0.15 + grow, 0.2 + grow, color, part)
    pen.stroke([complex(-0.15, -0.3), complex(0.02, -0.25), complex(0.17, -0.34)], 0.014, darker(skin, 0.25), None)
    pen.stroke([complex(0.1, -0.12), complex(0.0, -0.2), complex(0.08, -0.32)], 0.014, darker(skin, 0.25), None)
