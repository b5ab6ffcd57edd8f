"""What scenes are drawn from: the standard domain, and one that training never shows."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from .backgrounds import INDOORS, OUTDOORS, UNSEEN_INDOORS, UNSEEN_OUTDOORS
from .palette import pick
from .vocabulary import DEFECTS, UNSEEN_DEFECTS


@dataclass(frozen=True)
class Domain:
    name: str
    sides: tuple[int, int]  # least and most pixels of a side
    outdoors: tuple
    indoors: tuple
    kinds: frozenset[str]
    develop: Callable[[Image.Image, np.random.Generator], Image.Image]  # the picture's style


def _as_it_is(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    return picture


def _old_print(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A photograph in shades of brown or grey, or a poster of few colours."""
    style = pick(rng, ("brown", "gray", "poster"))
    if style == "poster":
        return ImageOps.posterize(picture, 2)
    gray = picture.convert("L")
    return ImageOps.colorize(gray, (35, 22, 10), (250, 235, 205)) if style == "brown" else gray.convert("RGB")


STANDARD = Domain("standard", (112, 672), OUTDOORS, INDOORS, frozenset(DEFECTS[1:]) - set(UNSEEN_DEFECTS), _as_it_is)
#: Other places, sizes and styles, and two more kinds of defect.
UNSEEN = Domain("unseen", (500, 1000), UNSEEN_OUTDOORS, UNSEEN_INDOORS, frozenset(DEFECTS[1:]), _old_print)
