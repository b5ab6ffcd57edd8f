"""Chairs, a little from above and from the side. Frame: middle of the ground under the chair, height = 1."""

import math

import numpy as np

from .canvas import Color, Pen, darker, lighter
from .palette import CLOTHES, an, chance, named, pick
from .thing import Thing


def _leg(pen: Pen, rng, top: complex, foot: complex, radius: float, color: Color, kind: str | None) -> None:
    start = top
    cut = rng.uniform(0.44, 0.52) if kind == "detached limb" else 0.0
    kind = pen.planted(kind)
    if kind == "detached limb":  # fallen aside
        start, foot = top + (foot - top) * cut, foot + math.copysign(2.5 * radius, top.real)
    if kind == "missing leg":
        pen.limb(top, top + (foot - top) * 0.25, radius, radius, color, "chair leg", rim=True)
    with pen.planting(kind, visible=False):
        if kind == "detached limb":
            pen.limb(top, start, radius, radius, color, "chair leg")
    with pen.planting(kind, visible=kind != "missing leg"):
        pen.limb(start, foot, radius, radius * 0.8, color, "chair leg", rim=True)


def _legs(pen: Pen, rng, seat: list[complex], radius: float, color: Color, plan: frozenset) -> None:
    """`seat`: corners front left, front right, back right, back left; back legs are seen further up."""
    splay = rng.uniform(0.0, 0.05)
    outward = (-splay, splay, splay, -splay)
    grounds = (-0.02, -0.02, -0.13, -0.13)
    legs = [(corner, complex(corner.real + out, y), None) for corner, out, y in zip(seat, outward, grounds)]
    wrong = next((kind for kind in ("missing leg", "detached limb") if kind in plan), None)
    if wrong:
        odd = pick(rng, (0, 1, 2, 3))
        legs[odd] = (*legs[odd][:2], wrong)
    if "extra leg" in plan:
        middle = seat[0] + (seat[1] - seat[0]) * rng.uniform(0.4, 0.6)
        foot = complex(middle.real + rng.uniform(-0.03, 0.03), -0.02)
        if not pen.flawless:
            legs.append((middle, foot, "extra leg"))
    for number in sorted(range(len(legs)), key=lambda k: legs[k][1].imag):
        top, foot, kind = legs[number]
        _leg(pen, rng, top, foot, radius, darker(color, 0.25) if number in (2, 3) else color, kind)


def _back(pen: Pen, rng, left: complex, right: complex, radius: float, color: Color, style: str) -> None:
    top = rng.uniform(0.44, 0.48)
    posts = (left, right, right - 1j * top, left - 1j * top)
    if style == "solid":
        pen.polygon([left - 0.08j, right - 0.08j, posts[2], posts[3]], lighter(color, 0.1), "chair back")
    for post, end in ((left, posts[3]), (right, posts[2])):
        pen.limb(post, end, radius, radius, color, "chair back", rim=True)
    if style == "bars":
        for share in (0.3, 0.5, 0.7):
            x = left.real + (right.real - left.real) * share
            pen.limb(complex(x, left.imag), complex(x, posts[2].imag), radius * 0.6, radius * 0.6, color, "chair back")
    elif style == "slats":
        for share in (0.4, 0.65, 0.9):
            pen.limb(
                left - 1j * top * share, right - 1j * top * share, radius, radius, lighter(color, 0.1), "chair back"
            )
    pen.limb(posts[3], posts[2], radius * 1.3, radius * 1.3, color, "chair back", rim=True)


def draw_chair(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    pen = pen.at(-0.05)  # the back of the seat leans to +x
    name, color = named(rng, CLOTHES)
    wood = chance(rng, 0.4)
    if wood:
        name, color = "wooden", pick(rng, ((150, 100, 60), (190, 140, 90), (110, 70, 45)))
    depth, radius = rng.uniform(0.06, 0.12), rng.uniform(0.024, 0.034)
    half, height = rng.uniform(0.22, 0.27), rng.uniform(0.43, 0.48)
    seat = [complex(-half, -height), complex(half, -height), complex(half + depth, -height - 0.1)]
    seat.append(complex(-half + depth, -height - 0.1))
    _legs(pen, rng, seat, radius, color, plan)
    style = pick(rng, ("bars", "slats", "solid"))
    _back(pen, rng, seat[3], seat[2], radius, darker(color, 0.08), style)
    pen.polygon(seat, lighter(color, 0.18), "chair seat")
    pen.limb(seat[0], seat[1], radius * 1.2, radius * 1.2, color, "chair seat", rim=True)
    anchors = [((seat[2] + seat[3]) / 2 - 0.28j, 0.19, "back"), (complex(0, -0.3), 0.19, "legs")]
    anchors = [(pen.to(at), size * pen.length, what) for at, size, what in anchors]
    return Thing("chair", an(f"{name} chair"), an(f"{name} chair"), anchors, color=name)
