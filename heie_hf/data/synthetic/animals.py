"""Four-legged animals from the side. Frame: middle of the ground under the animal, its height = 1, looking to -x."""

import math
from dataclasses import dataclass

import numpy as np

from .canvas import Color, Pen, darker, lighter
from .faces import draw_eyes
from .palette import FUR, an, chance, named, pick
from .thing import Thing


@dataclass(frozen=True)
class Build:
    noun: str
    half_length: float  # of the trunk
    trunk: float  # its thickness (radius)
    legs: float  # height of the trunk's centre above the ground
    leg: float  # thickness (radius) of a leg
    head: complex  # centre of the head from the trunk's centre
    skull: float  # radius of the head
    ears: str  # pointed | hanging | round
    tail: str  # up | down | brush


BUILDS = (
    Build("dog", 0.36, 0.15, 0.46, 0.048, complex(-0.5, -0.24), 0.2, "hanging", "up"),
    Build("cat", 0.33, 0.13, 0.4, 0.04, complex(-0.44, -0.28), 0.2, "pointed", "up"),
    Build("horse", 0.35, 0.15, 0.52, 0.045, complex(-0.52, -0.3), 0.15, "pointed", "brush"),
    Build("cow", 0.4, 0.19, 0.46, 0.052, complex(-0.58, -0.2), 0.18, "horns", "down"),
    Build("sheep", 0.3, 0.22, 0.42, 0.045, complex(-0.46, -0.2), 0.16, "round", "down"),
)


def _leg(pen: Pen, rng, hip: complex, swing: float, radius: float, color: Color, kind: str | None) -> None:
    foot = complex(hip.real + swing, -radius)
    start = hip
    cut = rng.uniform(0.56, 0.64) if kind == "detached limb" else 0.0
    kind = pen.planted(kind)
    if kind == "detached limb":  # fallen aside
        start, foot = hip + (foot - hip) * cut, foot + math.copysign(radius, hip.real)
    if kind == "missing leg":
        pen.limb(hip, hip + (foot - hip) * 0.45, radius * 1.2, radius * 1.1, color, "animal leg", rim=True)
    with pen.planting(kind, visible=False):
        if kind == "detached limb":
            pen.limb(hip, start, radius, radius, color, "animal leg")
    with pen.planting(kind, visible=kind != "missing leg"):
        pen.limb(start, foot, radius * 1.2, radius, color, "animal leg", rim=True)
        pen.limb(foot, foot - radius * 0.7, radius * 0.9, radius * 0.8, darker(color, 0.45), "animal leg")


def _legs(pen: Pen, rng, build: Build, color: Color, plan: frozenset) -> None:
    """Far pair darker and behind; all of them apart, so that they can be counted."""
    x, step = build.half_length * 0.9, build.leg * rng.uniform(3.4, 4.2)
    legs = [(-x + step, 0.25, None), (x - step, 0.25, None), (-x, 0.0, None), (x, 0.0, None)]
    wrong = next((kind for kind in ("missing leg", "detached limb") if kind in plan), None)
    if wrong:
        odd = pick(rng, (0, 1, 2, 3))
        legs[odd] = (*legs[odd][:2], wrong)
    if "extra leg" in plan:
        place = pick(rng, (complex(0.0), complex(-x - step * 0.9), complex(x + step * 0.9)))
        legs.append((place.real, pick(rng, (0.0, 0.25)), "extra leg"))
    for at, shade, kind in sorted(legs, key=lambda leg: -leg[1]):
        hip = complex(at, -build.legs + build.trunk * (0.55 if abs(at) <= x else 0.0))
        swing = rng.uniform(-0.03, 0.03)
        if kind == "extra leg" and pen.flawless:
            continue
        _leg(pen, rng, hip, swing, build.leg, darker(color, shade), kind)


def _tail(pen: Pen, build: Build, color: Color) -> None:
    root = complex(build.half_length + build.trunk * 0.8, -build.legs - build.trunk * 0.4)
    shapes = {
        "up": [0, 0.08 - 0.06j, 0.12 - 0.2j, 0.08 - 0.3j],
        "down": [0, 0.06 + 0.06j, 0.07 + 0.2j, 0.06 + 0.3j],
        "brush": [0, 0.08 + 0.02j, 0.12 + 0.16j, 0.11 + 0.3j],
    }
    thick = 0.055 if build.tail == "brush" else 0.03
    pen.stroke([root + step for step in shapes[build.tail]], thick, darker(color, 0.15), "tail")


def _ears(pen: Pen, build: Build, color: Color) -> None:
    """The frame: centre of the head, its radius = 1."""
    for side in (-1, 1):
        if build.ears == "pointed":
            ear = [complex(side * 0.9, -0.45), complex(side * 0.25, -0.9), complex(side * 0.85, -1.5)]
            pen.polygon(ear, darker(color, 0.2), "animal head")
        elif build.ears == "hanging":
            pen.limb(
                complex(side * 0.85, -0.6), complex(side * 1.15, 0.35), 0.2, 0.28, darker(color, 0.35), "animal head"
            )
        else:
            pen.ellipse(complex(side * 1.1, -0.4), 0.38, 0.2, darker(color, 0.2), "animal head", rim=True)
        if build.ears == "horns":
            horn = [complex(side * 0.4, -0.85), complex(side * 0.75, -0.7), complex(side * 0.85, -1.45)]
            pen.polygon(horn, (235, 225, 195), "animal head")


def _head(pen: Pen, rng, build: Build, color: Color, plan: frozenset) -> None:
    _ears(pen, build, color)
    long = 1.25 if build.noun in ("horse", "cow") else 1.0
    pen.ellipse(complex(0, (long - 1) * 0.7), 0.98, long, color, "animal head", rim=True)
    draw_eyes(pen, rng, plan, pick(rng, ((60, 45, 30), (90, 120, 60), (160, 120, 40))), color, None)
    muzzle = lighter(color, 0.35)
    pen.ellipse(complex(0, 0.5 * long), 0.48, 0.36, muzzle, None)
    pen.ellipse(complex(0, 0.36 * long), 0.17, 0.12, (35, 25, 28), None)
    pen.stroke(
        [complex(-0.2, 0.66 * long), complex(0, 0.6 * long), complex(0.2, 0.66 * long)], 0.04, (60, 35, 35), "mouth"
    )


def draw_animal(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    build = pick(rng, BUILDS)
    name, color = named(rng, FUR)
    center = complex(0, -build.legs)
    _tail(pen, build, color)
    _legs(pen, rng, build, color, plan)
    neck = center + build.head
    thick = build.trunk * 0.7
    pen.limb(
        complex(-build.half_length * 0.8, center.imag - 0.02),
        neck,
        thick,
        thick * 0.75,
        color,
        "animal body",
        rim=True,
    )
    end = build.half_length
    pen.limb(center - end, center + end, build.trunk, build.trunk * 0.95, color, "animal body", rim=True)
    pen.limb(center - end * 0.8 - 0.05j, center + end * 0.8 - 0.05j, 0.07, 0.06, lighter(color, 0.1), None)
    if chance(rng, 0.35):
        for spot in (-0.2, 0.02, 0.22):
            pen.ellipse(
                center + complex(spot, rng.uniform(-0.06, 0.04)), 0.07, 0.05, darker(color, 0.35), "animal body"
            )
    _head(pen.at(neck, rng.uniform(-8, 8), build.skull), rng, build, color, plan)
    anchors = [(neck, build.skull * 1.05, "face"), (center + end * 0.9 + 0.12j, build.trunk * 1.2, "body")]
    anchors = [(pen.to(at), radius * pen.length, what) for at, radius, what in anchors]
    return Thing(build.noun, an(f"{name} {build.noun}"), an(f"{name} {build.noun}"), anchors, color=name)
