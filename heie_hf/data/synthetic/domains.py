"""What scenes are drawn from: the standard domain, and one that training never shows."""

from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO

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


def _printed(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A poster of few colours, a faded print, or a badly compressed copy."""
    style = pick(rng, ("poster", "faded", "compressed"))
    if style == "poster":
        return ImageOps.posterize(picture, 3)
    if style == "faded":
        return Image.blend(picture, Image.new("RGB", picture.size, (240, 225, 200)), 0.45)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=12)
    return Image.open(buffer).convert("RGB")


STANDARD = Domain("standard", (112, 672), OUTDOORS, INDOORS, frozenset(DEFECTS[1:]) - set(UNSEEN_DEFECTS), _as_it_is)
#: Other places, sizes and styles, and two more kinds of defect.
UNSEEN = Domain("unseen", (500, 1000), UNSEEN_OUTDOORS, UNSEEN_INDOORS, frozenset(DEFECTS[1:]), _printed)
