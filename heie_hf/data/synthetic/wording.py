"""The text of a scene, and reading the defects' kinds back from a text."""

import re

import numpy as np

from .labels import Defect
from .palette import pick

#: What is said of a defect; {part} is the part's word. Each holds one of its kind's CUES and none of another's.
LINES = {
    "extra finger": ("one finger too many", "an extra finger", "six fingers instead of five"),
    "missing finger": ("a missing finger", "one finger is missing", "only four fingers"),
    "extra eye": ("an extra eye", "one eye too many", "three eyes instead of two"),
    "misaligned eyes": ("the eyes are misaligned", "the eyes are not level", "one eye sits at the wrong height"),
    "garbled sign": ("the letters are garbled", "the text cannot be read", "the letters are not real letters"),
    "melted patch": ("the surface looks melted", "a melted patch", "the shape melts and runs down"),
    "extra leg": ("an extra leg", "one leg too many", "more legs than normal"),
    "missing leg": ("a missing leg", "one leg is missing", "fewer legs than normal"),
    "detached limb": ("a detached {part}", "the {part} floats apart", "a gap cuts the {part} off"),
    "missing wheel": ("a missing wheel", "one wheel is missing", "no wheel where one should be"),
    "extra clock hand": ("three hands instead of two", "an extra clock hand", "one clock hand too many"),
    "wrong shadow": ("the shadow is on the wrong side", "the shadow falls towards the light", "a wrong shadow"),
    "missing eye": ("a missing eye", "one eye is missing", "only one eye"),
    "extra wheel": ("an extra wheel", "one wheel too many", "three wheels instead of two"),
}

#: A kind is mentioned where its pattern is found.
CUES = {
    "extra finger": r"finger too many|extra finger|six fingers",
    "missing finger": r"missing finger|finger is missing|four fingers",
    "extra eye": r"extra eye|eye too many|three eyes",
    "misaligned eyes": r"misaligned|not level|wrong height",
    "garbled sign": r"garbled|cannot be read|not real letters",
    "melted patch": r"melt",
    "extra leg": r"extra leg|leg too many|more legs",
    "missing leg": r"missing leg|leg is missing|fewer legs",
    "detached limb": r"detached|floats apart|a gap cuts",
    "missing wheel": r"missing wheel|wheel is missing|no wheel",
    "extra clock hand": r"three hands|extra clock hand|clock hand too many",
    "wrong shadow": r"wrong side|towards the light|wrong shadow",
    "missing eye": r"missing eye|eye is missing|only one eye",
    "extra wheel": r"extra wheel|wheel too many|three wheels",
}

NO_REGIONS = "No obvious problematic regions found."
NO_ISSUES = ("N/A", "Nothing looks wrong.", "Everything looks plausible.")


def issues_in(text: str) -> set[str]:
    """The kinds of defect that a regions or analysis text mentions (see `vocabulary.DEFECTS`)."""
    return {kind for kind, pattern in CUES.items() if re.search(pattern, text, re.IGNORECASE)}


def _sentence(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _listing(phrases: list[str]) -> str:
    return phrases[0] if len(phrases) == 1 else ", ".join(phrases[:-1]) + " and " + phrases[-1]


def describe(rng: np.random.Generator, phrases: list[str], place: str) -> str:
    opening = pick(rng, ("", "", "a picture of ", "a drawing of ", "we see ")) if len(phrases) == 1 else ""
    return _sentence(opening + _listing(phrases) + " " + place)


def regions(rng: np.random.Generator, defects: list[Defect]) -> str:
    if not defects:
        return NO_REGIONS
    spots = [f"the {d.noun}'s {d.part} {d.where}" for d in defects]
    spots = list(dict.fromkeys(spots))
    lead = pick(rng, ("Problematic area: ", "Issues at ", "Look at "))
    return lead + _listing(spots) + "."


def analysis(rng: np.random.Generator, defects: list[Defect]) -> str:
    if not defects:
        return pick(rng, NO_ISSUES)
    lines = []
    for d in defects:
        said = pick(rng, LINES[d.kind]).format(part=d.part)
        form = pick(rng, ("{part} of the {noun}: {said}", "the {noun} {where}: {said}", "{noun}, {part}: {said}"))
        lines.append("- " + _sentence(form.format(part=d.part, noun=d.noun, where=d.where, said=said)))
    return "\n".join(lines)
