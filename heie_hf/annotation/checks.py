"""What the models answer, checked instead of hoped for: the filter's verdict and the form of an explanation."""

import json
import re
from dataclasses import dataclass

from heie_hf.processing.explanation_heie import MAP_TOKEN, SCORE_TOKEN, SECTIONS, Explanation, parse

from .prompts import CATEGORIES, NO_REGIONS

# A text that speaks of the contours was not written about the picture. Bare "contours" and "outline" are ordinary
# words: 11 % of the published texts have one.
_SHAPE = r"(?:circle|contour|outline|ring|marking|box)(?:s|es)?"
_LEAKS = re.compile(
    rf"\b(?:(?:red|numbered)\s+{_SHAPE}"
    rf"|(?:inside|within|by)\s+(?:the|this|that|each|a)\s+{_SHAPE}"
    r"|circled|encircled|annotat(?:ed|ors?|ions?)"
    r"|(?:marked|outlined|highlighted|numbered)\s+(?:areas?|regions?|parts?|places?)"
    r"|regions?\s+\d+)\b",
    re.IGNORECASE,
)
_REGION_NUMBER = re.compile(r"\s*\(\s*region\s+(\d+)\s*\)\s*\.?\s*$", re.IGNORECASE)
_JSON_OBJECT = re.compile(r"\{.*\}", re.DOTALL)


@dataclass(frozen=True)
class Formatted:
    """An answer of stage 3.

    Args:
        explanation: its sections, without numbers of regions.
        regions: per line of the analysis the number of its region, counted from 1; None where none is named.
        problems: what does not fit, in words that a model can be told; empty for a good answer.
    """

    explanation: Explanation
    regions: list[int | None]
    problems: list[str]


def parse_filter(answer: str) -> str:
    """The category of a sensitive picture, "none" for any other.

    Raises:
        ValueError: if the answer holds no such verdict.
    """
    found = _JSON_OBJECT.search(answer)
    if found is None:
        raise ValueError("no JSON object")
    verdict = json.loads(found.group())
    if not isinstance(verdict.get("sensitive"), bool) or verdict.get("category") not in CATEGORIES:
        raise ValueError("no verdict of the sensitive filter")
    if not verdict["sensitive"]:
        return "none"
    return verdict["category"] if verdict["category"] != "none" else "not named"


def check_format(text: str, num_regions: int) -> Formatted:
    """Parse an answer of stage 3 and list what is wrong with it."""
    problems = []
    for token in (MAP_TOKEN, SCORE_TOKEN):
        if text.count(token) != 1:
            problems.append(f"{token} stands there {text.count(token)} times, not once")
    explanation = parse(text)
    lines, regions = _split_numbers(explanation.analysis)
    explanation = Explanation(explanation.description, explanation.regions, "\n".join(lines))
    for section in SECTIONS:
        content = getattr(explanation, section)
        if not content:
            problems.append(f"the section for the {section} is missing or empty")
        for leak in leaks(content)[:1]:
            problems.append(f'"{leak}" speaks of the markings, not of the picture')
    if num_regions == 0 and explanation.regions and explanation.regions != NO_REGIONS:
        problems.append(f'nothing is wrong with the picture, so the regions must be "{NO_REGIONS}"')
    if num_regions > 0 and explanation.regions == NO_REGIONS:
        problems.append("it names no problematic region, but there is one")
    if num_regions > 1:
        problems += _number_problems(regions, num_regions)
    elif num_regions == 1:
        regions = [1] * len(lines)
    return Formatted(explanation, regions, problems)


def leaks(text: str) -> list[str]:
    """What in a text speaks of the contours, not of the picture."""
    return [leak.group() for leak in _LEAKS.finditer(text)]


def _split_numbers(analysis: str) -> tuple[list[str], list[int | None]]:
    """The lines without "(region N)" at their end, and those numbers."""
    lines, regions = [], []
    for line in analysis.splitlines():
        number = _REGION_NUMBER.search(line)
        regions.append(int(number.group(1)) if number else None)
        lines.append(_REGION_NUMBER.sub("", line))
    return lines, regions


def _number_problems(regions: list[int | None], num_regions: int) -> list[str]:
    wrong = sorted({number for number in regions if number is not None and not 1 <= number <= num_regions})
    if wrong:
        return [f"there are regions 1 to {num_regions}, no region {wrong[0]}"]
    if None in regions:
        return ["a line of the analysis does not end with the number of its region, such as (region 1)"]
    return []
