"""What is true of a scene, and reading the same from a text: objects with their colours, and the place.

>>> read_facts("A red car and a woman in a blue shirt in the snow.")
Facts(objects=(ObjectFact(noun='car', color='red'), ObjectFact(noun='woman', color='blue')), places=('in the snow',))
"""

import re
from dataclasses import dataclass

from .animals import BUILDS
from .backgrounds import INDOORS, OUTDOORS, UNSEEN_INDOORS, UNSEEN_OUTDOORS
from .cars import SHAPES
from .faces import PEOPLE
from .labels import Defect
from .palette import CLOTHES
from .thing import Thing

_ANIMALS = [build.noun for build in BUILDS]
_SCENERIES = (*OUTDOORS, *INDOORS, *UNSEEN_OUTDOORS, *UNSEEN_INDOORS)

NOUNS = frozenset({*PEOPLE, *_ANIMALS, *SHAPES, "hand", "chair", "clock", "sign"})
COLORS = frozenset({*CLOTHES, "wooden"})
PLACES = tuple(dict.fromkeys(scenery[0] for scenery in _SCENERIES))  # two sceneries have one name

#: What wears the colour that is said behind the noun: "a woman in a blue shirt", "a woman in blue".
_CLOTHING = ("shirt", "sleeve")
#: A colour in front of these does not belong to the noun behind them.
_SEPARATORS = frozenset({",", ".", "and", "with", "in", "on"})
_WORDS = re.compile(r"[a-z]+|[,.]")


@dataclass(frozen=True)
class ObjectFact:
    """An object and its colour, None where the text says none; contradicting colours stand side by side."""

    noun: str
    color: str | None = None


@dataclass(frozen=True)
class Facts:
    """`objects`: in the order of the text; `places`: those of PLACES that are said."""

    objects: tuple[ObjectFact, ...] = ()
    places: tuple[str, ...] = ()


def read_facts(text: str) -> Facts:
    """The objects, colours and places that a description says, in the generator's words; all other words are let be.

    Each time that a noun stands there counts as an object.
    """
    rest = text.lower()
    places = []
    for place in PLACES:
        pattern = rf"\b{re.escape(_core(place))}\b"
        if re.search(pattern, rest):
            places.append(place)
            rest = re.sub(pattern, ",", rest)  # "a green park" is no green object
    return Facts(_objects(_WORDS.findall(rest)), tuple(places))


def record_facts(things: list[Thing], phrases: list[str], place: str, defects: list[Defect]) -> dict:
    """What is true of a scene, as the column `facts` of `heie_hf.data.schema` has it.

    `phrases`: what the reference says of each thing. A colour that it does not say (of a hand among three objects) is
    left out: no text is taught to say it.
    """
    objects = []
    for thing, phrase in zip(things, phrases, strict=True):
        color = thing.color if thing.color in phrase.split() else None
        objects.append({"noun": thing.noun, "color": color, "close_view": thing.close_view})
    issues = []
    for defect in defects:
        issues.append({"kind": defect.kind, "noun": defect.noun, "part": defect.part, "where": defect.where})
    return {"objects": objects, "place": place, "issues": issues}


def _core(place: str) -> str:
    """What tells a place from the others: "striped wall" of "in a room with a striped wall"."""
    return re.sub(r"^(in front of|in|on)( a room with)?( an?| the)? ", "", place)


def _objects(words: list[str]) -> tuple[ObjectFact, ...]:
    objects = []
    colors = []  # in front of the next noun
    for position, word in enumerate(words):
        if word in COLORS:
            colors.append(word)
        elif word in NOUNS:
            colors += _worn(words[position + 1 :])
            objects.append(ObjectFact(word, _as_one(colors)))
            colors = []
        elif word in _SEPARATORS:
            colors = []
    return tuple(objects)


def _worn(words: list[str]) -> list[str]:
    """The colours right behind a noun: "in a blue shirt" or "in blue", which is not "in a blue box"."""
    if words[:1] != ["in"]:
        return []
    has_article = words[1:2] in (["a"], ["an"])
    start = 2 if has_article else 1
    colors = []
    for word in words[start:]:
        if word not in COLORS:
            break
        colors.append(word)
    behind = words[start + len(colors) :]
    if has_article and not (behind and behind[0] in _CLOTHING):
        return []
    return colors


def _as_one(colors: list[str]) -> str | None:
    distinct = dict.fromkeys(colors)
    return " ".join(distinct) or None
