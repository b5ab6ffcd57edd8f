"""Standing people, and portraits with raised hands."""

import cmath
import math

import numpy as np

from .canvas import Color, Pen, darker, lighter
from .faces import Look, draw_head, random_look
from .hands import draw_hand
from .palette import CLOTHES, an, chance, jitter, named, pick
from .thing import Thing


def _bar(start: complex, degrees: float, length: float) -> complex:
    """The point `length` away; 0 degrees hangs straight down, positive swings to +x."""
    return start + cmath.rect(length, math.radians(90 - degrees))


def draw_arm(pen: Pen, rng, look: Look, sleeve: Color, shoulder: complex, side: int, torn: bool, plan: frozenset):
    """Upper arm, forearm and hand; `torn` moves all but the shoulder away from the body."""
    upper, bend = side * rng.uniform(18, 42), side * rng.uniform(-12, 25)
    if chance(rng, 0.4):  # raised, the forearm up
        upper, bend = side * rng.uniform(60, 95), side * rng.uniform(50, 80)
    kind = "detached limb" if torn else None
    gap = rng.uniform(0.15, 0.18) if torn else 0.0
    torn = torn and not pen.flawless
    start = _bar(shoulder, upper, gap) if torn else shoulder
    with pen.planting(kind, visible=False):
        if torn:
            pen.limb(shoulder, start, 0.035, 0.035, sleeve, "arm")
    elbow = _bar(start, upper, 0.1 if torn else 0.15)
    wrist = _bar(elbow, upper + bend, 0.13)
    with pen.planting(kind):
        pen.limb(start, elbow, 0.042, 0.036, sleeve, "arm", rim=True)
        if chance(rng, 0.5):
            pen.limb(elbow, wrist, 0.036, 0.03, sleeve, "arm", rim=True)
        else:
            pen.limb(elbow, wrist, 0.032, 0.027, look.skin, "arm", rim=True)
        hand = pen.at(wrist, 180 - upper - bend, 0.13)
        draw_hand(Pen(hand.layer, hand.origin, hand.unit, hand.flip != (side < 0)), rng, look.skin, plan)


def draw_leg(pen: Pen, rng, hip: complex, degrees: float, cloth: Color, shoe: Color, kind: str | None, length=0.42):
    """A leg from the hip to the ground; `kind` is what is wrong with it."""
    foot = _bar(hip, degrees, length / math.cos(math.radians(degrees)))
    start = hip
    cut = rng.uniform(0.42, 0.5) if kind == "detached limb" else 0.0
    kind = pen.planted(kind)
    if kind == "detached limb":  # fallen aside
        start, foot = hip + (foot - hip) * cut, foot + math.copysign(0.05, degrees)
    if kind == "missing leg":
        pen.limb(hip, hip + (foot - hip) * 0.2, 0.05, 0.045, cloth, "leg", rim=True)
    with pen.planting(kind, visible=False):
        if kind == "detached limb":
            pen.limb(hip + (foot - hip) * 0.1, start, 0.04, 0.04, cloth, "leg")
    with pen.planting(kind, visible=kind != "missing leg"):
        ankle = foot - 0.03j
        pen.limb(start, ankle, 0.05, 0.036, cloth, "leg", rim=True)
        toe = complex(0.045 if degrees >= 0 else -0.045, -0.004)
        pen.limb(foot - 0.02j, foot - 0.02j + toe, 0.03, 0.024, shoe, "leg", rim=True)


def _legs(pen: Pen, rng, plan: frozenset, torn: bool, cloth: Color, shoe: Color) -> None:
    stance = rng.uniform(5, 13)
    legs = [(-0.055, -stance, None), (0.055, stance, None)]
    chosen = pick(rng, (0, 1))
    if "missing leg" in plan or torn:
        legs[chosen] = (*legs[chosen][:2], "detached limb" if torn else "missing leg")
    if "extra leg" in plan:
        three = [(-0.07, -rng.uniform(17, 22)), (0.0, 0.0), (0.07, rng.uniform(17, 22))]
        if not pen.flawless:
            legs = [(*leg, "extra leg") for leg in three]  # nobody can say which of the three is extra
    for x, degrees, kind in legs:
        draw_leg(pen, rng, complex(x, -0.42), degrees, cloth, shoe, kind)


def draw_person(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    """Frame: between the feet, height of the person = 1."""
    look = random_look(rng)
    shirt_name, shirt = named(rng, CLOTHES)
    _, cloth = named(
        rng, {k: v for k, v in CLOTHES.items() if k in ("blue", "black", "gray", "brown", "green", "purple")}
    )
    shoe = jitter(rng, pick(rng, ((40, 35, 35), (120, 70, 40), (220, 220, 220), (170, 40, 40))))
    torn_leg = "detached limb" in plan and chance(rng, 0.5)
    torn_arm = pick(rng, (-1, 1)) if "detached limb" in plan and not torn_leg else 0
    bad_hand = pick(rng, (-1, 1))
    _legs(pen, rng, plan, torn_leg, cloth, shoe)
    shoulder = rng.uniform(0.12, 0.14)
    pen.ellipse(-0.75j, 0.04, 0.08, darker(look.skin, 0.15), "head")
    pen.limb(complex(-0.065, -0.42), complex(0.065, -0.42), 0.055, 0.055, cloth, "torso", rim=True)
    body = [complex(-shoulder, -0.7), complex(shoulder, -0.7), complex(0.115, -0.42), complex(-0.115, -0.42)]
    if pen.layer.outline:
        pen.polygon([p + 0.012 * (1 if p.real > 0 else -1) for p in body], darker(shirt, 0.55), "torso")
    pen.polygon(body, shirt, "torso")
    pen.limb(complex(-shoulder + 0.03, -0.7), complex(shoulder - 0.03, -0.7), 0.035, 0.035, shirt, "torso")
    if chance(rng, 0.35):
        for y in (-0.65, -0.57, -0.49):
            pen.limb(complex(-0.1, y), complex(0.1, y), 0.012, 0.012, lighter(shirt, 0.45), None)
    for side in (-1, 1):
        hands = plan if side == bad_hand else frozenset()
        draw_arm(pen, rng, look, darker(shirt, 0.12), complex(side * shoulder, -0.7), side, side == torn_arm, hands)
    draw_head(pen.at(-0.85j, rng.uniform(-8, 8), 0.1), rng, look, plan)
    anchors = [(-0.85j, 0.11, "face"), (-0.58j, 0.12, "body"), (-0.2j, 0.13, "legs")]
    places = {"detached limb": "leg" if torn_leg else "arm"}
    return Thing(
        look.noun,
        f"a {look.noun} in {an(shirt_name)} shirt",
        f"a {look.noun} in {shirt_name}",
        [(pen.to(at), radius * pen.length, what) for at, radius, what in anchors],
        places,
        color=shirt_name,
    )


def draw_portrait(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    """Head and shoulders with one or two raised hands. Frame: middle of the lower edge, height = 1."""
    look = random_look(rng)
    shirt_name, shirt = named(rng, CLOTHES)
    wide = rng.uniform(0.34, 0.4)
    pen.limb(-0.4j, -0.25j, 0.09, 0.1, darker(look.skin, 0.15), "head", rim=True)
    pen.limb(complex(-wide + 0.1, -0.13), complex(wide - 0.1, -0.13), 0.1, 0.1, shirt, "torso", rim=True)
    pen.polygon([complex(-wide, -0.13), complex(wide, -0.13), complex(wide, 0), complex(-wide, 0)], shirt, "torso")
    pen.polygon([-0.09 - 0.24j, 0.09 - 0.24j, -0.12j], darker(look.skin, 0.1), "head")
    draw_head(pen.at(complex(0, -0.62), rng.uniform(-10, 10), rng.uniform(0.22, 0.25)), rng, look, plan)
    sides = (-1, 1) if chance(rng, 0.5) else (pick(rng, (-1, 1)),)
    bad_hand = pick(rng, sides)
    for side in sides:
        wrist, elbow = complex(side * rng.uniform(0.42, 0.47), rng.uniform(-0.4, -0.28)), complex(side * 0.44, 0)
        pen.limb(elbow, wrist, 0.075, 0.06, darker(shirt, 0.12), "arm", rim=True)
        hand = pen.at(wrist, side * rng.uniform(-6, 14), rng.uniform(0.36, 0.42))
        frame = Pen(hand.layer, hand.origin, hand.unit, hand.flip != (side > 0))
        draw_hand(frame, rng, look.skin, plan if side == bad_hand else frozenset())
    anchors = [(-0.6j, 0.22, "face")]
    anchors.append((complex(bad_hand * 0.45, -0.5), 0.16, "hand"))
    return Thing(
        look.noun,
        f"a close view of a {look.noun} in {an(shirt_name)} shirt",
        f"a {look.noun} in {shirt_name}",
        [(pen.to(at), radius * pen.length, what) for at, radius, what in anchors],
        color=shirt_name,
        close_view=True,
    )


def draw_raised_hand(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    """One hand, close. Frame: middle of the lower edge, height = 1."""
    look = random_look(rng)
    name, sleeve = named(rng, CLOTHES)
    wrist = complex(rng.uniform(-0.04, 0.04), rng.uniform(-0.36, -0.32))
    pen.limb(complex(rng.uniform(-0.1, 0.1), 0.1), wrist, 0.12, 0.1, look.skin, "arm", rim=True)
    pen.limb(complex(wrist.real * 0.3, 0.1), wrist * 0.5, 0.15, 0.15, sleeve, "arm", rim=True)
    palm = pen.at(wrist, rng.uniform(-12, 12), rng.uniform(0.58, 0.64))
    draw_hand(palm, rng, look.skin, plan)
    anchors = [(palm.to(-0.3j), 0.3 * palm.length, "palm"), (palm.to(-0.65j), 0.3 * palm.length, "fingers")]
    return Thing("hand", f"a raised hand in {an(name)} sleeve", "a raised hand", anchors, color=name)
