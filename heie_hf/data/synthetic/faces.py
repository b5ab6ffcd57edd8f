"""Heads seen from the front. The frame: centre of the head, half its width = 1."""

from dataclasses import dataclass

import numpy as np

from .canvas import Color, Pen, darker, lighter, mix
from .palette import HAIR, SKIN, chance, jitter, pick

PEOPLE = ("man", "woman", "boy", "girl")


@dataclass
class Look:
    """What is the same on a person's head, hands and arms."""

    noun: str
    skin: Color
    hair: Color
    hair_style: str
    iris: Color


def random_look(rng: np.random.Generator) -> Look:
    noun = pick(rng, PEOPLE)
    styles = ("short", "short", "bald", "cap") if noun in ("man", "boy") else ("long", "long", "bun", "short")
    iris = pick(rng, ((70, 110, 160), (90, 60, 35), (60, 110, 70), (40, 35, 35)))
    return Look(noun, jitter(rng, pick(rng, SKIN), 8), jitter(rng, pick(rng, HAIR), 8), pick(rng, styles), iris)


def draw_eye(pen: Pen, iris: Color, gaze: complex, openness: float, lash: Color) -> None:
    """The frame: centre of the eye, half its width = 1."""
    pen.ellipse(0, 1.16, openness + 0.16, lash, "eye")
    pen.ellipse(0, 1.0, openness, (250, 250, 248), None)
    pupil = min(0.62, openness * 0.95)
    pen.ellipse(gaze, pupil, pupil, iris, None)
    pen.ellipse(gaze, pupil * 0.55, pupil * 0.55, (15, 15, 18), None)
    pen.ellipse(gaze + complex(-0.16, -0.18), 0.13, 0.13, (255, 255, 255), None)


def draw_eyes(pen: Pen, rng: np.random.Generator, plan: frozenset, iris: Color, skin: Color, brow: Color | None):
    """A pair of eyes in a head's frame, with what the plan wants wrong about them."""
    size, gap = rng.uniform(0.25, 0.3), rng.uniform(0.4, 0.46)
    height, openness = rng.uniform(-0.2, -0.06), rng.uniform(0.6, 0.95)
    gaze = complex(rng.uniform(-0.25, 0.25), rng.uniform(-0.12, 0.12))
    fallen = pick(rng, (-1, 1))
    slip = pick(rng, (-1, 1)) * rng.uniform(0.46, 0.56)
    for side in (-1, 1):
        center = complex(side * gap, height)
        wrong = next((kind for kind in ("misaligned eyes", "missing eye") if kind in plan and side == fallen), None)
        if wrong == "misaligned eyes":
            slipped = center + complex(side * rng.uniform(-0.05, 0.08), slip)
            center = center if pen.flawless else slipped
        if "misaligned eyes" in plan:
            wrong = "misaligned eyes"  # the pair is wrong, whichever of them slipped
        with pen.planting(wrong, visible=wrong != "missing eye"):
            draw_eye(pen.at(center, scale=size), iris, gaze, openness, darker(skin, 0.6))
            if brow is not None:
                inner = center - complex(side * size, size * 1.6)
                pen.limb(inner, inner + side * size * 2.1 + 0.02j, 0.05, 0.035, brow, "hair")
    if "extra eye" in plan:
        place = pick(rng, (complex(0, height - 0.56), complex(0.5 * fallen, height + 0.58), complex(0, height + 0.02)))
        if pen.flawless:
            return
        with pen.planting("extra eye"):
            draw_eye(pen.at(place, scale=size), iris, gaze, openness, darker(skin, 0.6))


def draw_mouth(pen: Pen, rng: np.random.Generator, skin: Color) -> None:
    lips = mix(darker(skin, 0.25), (190, 60, 70), 0.5)
    width, y = rng.uniform(0.24, 0.4), rng.uniform(0.62, 0.7)
    mood = pick(rng, ("smile", "smile", "flat", "open"))
    if mood == "open":
        pen.ellipse(complex(0, y), width * 0.8, 0.16, darker(lips, 0.4), "mouth")
        pen.ellipse(complex(0, y - 0.06), width * 0.6, 0.05, (245, 245, 240), "mouth")
        return
    sag = 0.12 if mood == "smile" else 0.0
    curve = [complex(width * t, y + sag * (1 - t * t) - sag / 2) for t in (-1, -0.6, -0.2, 0.2, 0.6, 1)]
    pen.stroke(curve, 0.045, lips, "mouth")


def draw_hair_behind(pen: Pen, look: Look) -> None:
    if look.hair_style == "long":
        pen.ellipse(complex(0, -0.2), 1.14, 1.25, look.hair, "hair", rim=True)
        pen.polygon([-1.14 - 0.2j, 1.14 - 0.2j, 1.2 + 1.35j, -1.2 + 1.35j], look.hair, "hair")
    elif look.hair_style == "bun":
        pen.ellipse(-1.4j, 0.42, 0.38, look.hair, "hair", rim=True)
    if look.hair_style in ("short", "bun"):
        pen.ellipse(complex(0, -0.32), 1.1, 1.08, look.hair, "hair", rim=True)


def draw_hair_front(pen: Pen, rng: np.random.Generator, look: Look) -> None:
    """A fringe, or a cap."""
    if look.hair_style == "bald":
        return
    part, low = rng.uniform(-0.5, 0.5), rng.uniform(-0.72, -0.58)
    dome = [
        complex(x, -0.32 - 1.04 * (1 - x * x / 1.1) ** 0.5) for x in (-1, -0.75, -0.5, -0.25, 0, 0.25, 0.5, 0.75, 1)
    ]
    if look.hair_style == "cap":
        pen.polygon([complex(-1.04, low)] + dome + [complex(1.04, low)], look.iris, "hair")
        pen.limb(complex(-1.0, low), complex(1.15, low), 0.09, 0.07, darker(look.iris), "hair")
        return
    fringe = [complex(1.0, low + 0.25), complex(part + 0.3, low), complex(part, low - 0.12), complex(-1.0, low + 0.3)]
    pen.polygon(dome + fringe, look.hair, "hair")


def draw_head(pen: Pen, rng: np.random.Generator, look: Look, plan: frozenset) -> None:
    draw_hair_behind(pen, look)
    for side in (-1, 1):
        pen.ellipse(complex(side * 1.0, 0.05), 0.17, 0.26, darker(look.skin, 0.1), "head", rim=True)
    pen.ellipse(0, 1.0, 1.2, look.skin, "head", rim=True)
    pen.ellipse(complex(-0.28, -0.35), 0.55, 0.6, lighter(look.skin, 0.07), None)
    if chance(rng, 0.4):
        for side in (-1, 1):
            pen.ellipse(complex(side * 0.58, 0.4), 0.2, 0.14, mix(look.skin, (230, 90, 90), 0.25), None)
    if look.noun == "man" and chance(rng, 0.35):
        beard = [complex(x, 0.25 + 0.95 * (1 - x * x) ** 0.5) for x in (-0.97, -0.7, -0.35, 0, 0.35, 0.7, 0.97)]
        pen.polygon(beard + [0.6 + 0.5j, -0.6 + 0.5j], look.hair, "hair")
    draw_hair_front(pen, rng, look)
    draw_eyes(pen, rng, plan, look.iris, look.skin, darker(look.hair, 0.2))
    pen.stroke([0.02 - 0.05j, 0.1 + 0.3j, -0.06 + 0.34j], 0.035, darker(look.skin, 0.25), None)
    draw_mouth(pen, rng, look.skin)
