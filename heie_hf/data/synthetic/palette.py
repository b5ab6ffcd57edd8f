"""Named colours, so that a text can say what was painted."""

import numpy as np

from .canvas import Color

CLOTHES = {
    "red": (200, 45, 45),
    "orange": (232, 130, 40),
    "yellow": (235, 200, 60),
    "green": (60, 150, 75),
    "blue": (50, 95, 190),
    "purple": (125, 70, 160),
    "pink": (235, 140, 170),
    "brown": (130, 85, 50),
    "black": (48, 48, 54),
    "white": (235, 235, 230),
    "gray": (140, 140, 145),
}
FUR = {name: CLOTHES[name] for name in ("brown", "black", "white", "gray")} | {"orange": (215, 145, 80)}
SKIN = ((245, 208, 178), (228, 180, 142), (198, 142, 104), (150, 100, 68), (105, 68, 46))
HAIR = ((40, 30, 25), (90, 58, 34), (150, 100, 50), (215, 180, 105), (170, 75, 40), (150, 150, 150))


def pick(rng: np.random.Generator, options):
    """One of a sequence, each as likely."""
    return options[int(rng.integers(len(options)))]


def chance(rng: np.random.Generator, probability: float) -> bool:
    return rng.random() < probability


def jitter(rng: np.random.Generator, color: Color, amount: int = 14) -> Color:
    shift = rng.integers(-amount, amount + 1, 3)
    return tuple(min(255, max(0, int(c + s))) for c, s in zip(color, shift))


def an(words: str) -> str:
    """The words with their article: an orange dog, a red one."""
    return ("an " if words[0] in "aeiou" else "a ") + words


def named(rng: np.random.Generator, colors: dict[str, Color]) -> tuple[str, Color]:
    """A colour's name and a shade of it."""
    name = pick(rng, tuple(colors))
    return name, jitter(rng, colors[name])
