"""Which objects there are, which of them fit where, and which defects they get."""

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from .animals import draw_animal
from .cars import draw_car
from .chairs import draw_chair
from .clocks import draw_clock
from .layout import Slot
from .people import draw_person, draw_portrait, draw_raised_hand
from .signs import draw_sign
from .thing import Thing
from .vocabulary import DEFECTS, GROUPS


@dataclass(frozen=True)
class Family:
    """A kind of object: who draws it and its width for a height of 1.

    `kinds`: the height in seen pixels (see `layout.sight`) from which a person can tell the defect.
    `pose`: stands on the ground, hangs on a wall, or is cut by the picture's lower edge.
    """

    draw: Callable
    aspect: float
    pose: str
    weight: float
    kinds: dict[str, float]


FAMILIES = (
    Family(draw_person, 0.9, "stands", 1.5, {"extra leg": 95, "missing leg": 95, "detached limb": 110,
           "melted patch": 90, "wrong shadow": 80}),
    Family(draw_portrait, 1.3, "cut", 3.0, {"extra finger": 140, "missing finger": 140, "extra eye": 95,
           "misaligned eyes": 110, "missing eye": 95, "melted patch": 95}),
    Family(draw_raised_hand, 0.75, "cut", 1.0, {"extra finger": 75, "missing finger": 75, "melted patch": 80}),
    Family(draw_animal, 1.45, "stands", 1.3, {"extra leg": 90, "missing leg": 90, "detached limb": 100,
           "extra eye": 150, "misaligned eyes": 150, "missing eye": 150, "melted patch": 80, "wrong shadow": 70}),
    Family(draw_chair, 0.85, "stands", 1.0, {"extra leg": 80, "missing leg": 80, "detached limb": 90,
           "melted patch": 80, "wrong shadow": 70}),
    Family(draw_car, 2.6, "stands", 1.7, {"missing wheel": 40, "extra wheel": 40, "melted patch": 60,
           "wrong shadow": 50}),
    Family(draw_clock, 1.05, "hangs", 1.0, {"extra clock hand": 50, "melted patch": 60}),
    Family(draw_sign, 1.75, "stands", 1.0, {"garbled sign": 50, "melted patch": 60}),
)  # fmt: skip

#: Kinds that many objects can have are taken less often, those of one family more often: about equal in the end.
KIND_WEIGHT = dict.fromkeys(DEFECTS[1:], 1.0) | {
    "extra clock hand": 0.6,
    "extra eye": 7.0,
    "extra finger": 3.0,
    "missing finger": 3.0,
    "extra leg": 0.6,
    "missing leg": 0.6,
    "detached limb": 0.8,
    "garbled sign": 2.5,
    "melted patch": 0.2,
    "misaligned eyes": 10.0,
    "missing wheel": 5.0,
    "wrong shadow": 0.3,
    "missing eye": 14.0,
    "extra wheel": 9.0,
}
#: How often a scene has 0, 1, 2, 3 defects; a few with 2 or 3 get fewer for want of room.
NUMBER_OF_DEFECTS = (0.26, 0.33, 0.24, 0.17)


@dataclass
class Placed:
    """An object in its slot."""

    family: Family
    slot: Slot
    plan: frozenset[str] = frozenset()
    thing: Thing | None = None
    masks: dict[str, np.ndarray] = field(default_factory=dict)  # kind -> (H, W) bool

    @property
    def height(self) -> float:
        """In picture pixels: it fills its slot."""
        return min(self.slot.height * 0.9, self.slot.width * 0.92 / self.family.aspect)


def _fitness(item: Placed) -> float:
    """How willingly a family takes a slot: the better it fills it, the more often."""
    if item.family.pose == "cut" and not item.slot.lowest:
        return 0.0
    filled = item.height**2 * item.family.aspect / (item.slot.width * item.slot.height)
    return item.family.weight * filled**1.5


def place_families(rng: np.random.Generator, slots: list[Slot]) -> list[Placed]:
    placed = []
    for slot in slots:
        options = [Placed(family, slot) for family in FAMILIES]
        weights = np.array([_fitness(option) for option in options])
        placed.append(options[int(rng.choice(len(options), p=weights / weights.sum()))])
    return placed


def _allowed(kind: str, plan: frozenset) -> bool:
    """A melted patch would hide another defect of its object; a group's kinds exclude each other."""
    if kind in plan or "melted patch" in plan or (kind == "melted patch" and plan - {"wrong shadow"}):
        return False
    return not any(kind in group and plan & group for group in GROUPS)


def plan_defects(rng: np.random.Generator, placed: list[Placed], seen: float, kinds: frozenset[str]) -> bool:
    """Give the objects none to three defects of `kinds` that can be seen; False where not even one finds a place."""
    number = int(rng.choice(len(NUMBER_OF_DEFECTS), p=NUMBER_OF_DEFECTS))
    for planted in range(number):
        options = [
            (item, kind)
            for item in placed
            for kind, least in item.family.kinds.items()
            if kind in kinds and item.height * seen >= least and _allowed(kind, item.plan)
        ]
        if not options:
            return planted > 0
        weights = np.array([KIND_WEIGHT[kind] for _, kind in options])
        item, kind = options[int(rng.choice(len(options), p=weights / weights.sum()))]
        item.plan = item.plan | {kind}
    return True
