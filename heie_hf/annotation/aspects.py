"""M3-AGIQA's texts (arXiv 2502.15167): what the teacher is asked, how its answer is checked, how a conversation looks.

The wording is ours. A conversation has four turns: a question about one aspect, the teacher's description, the
question for one word, and that word, which comes from the mean opinion score.
"""

import json
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

ASPECTS = ("quality", "correspondence", "authenticity")
#: In fifths of the scale, from its low end.
LABELS = ("bad", "poor", "fair", "good", "excellent")

#: The column of `heie_hf.data.schema.FEATURES` with the opinion about an aspect, by data set.
COLUMNS = {
    "agiqa3k": {"quality": "score", "correspondence": "alignment_score"},
    "aigciqa20k": {"quality": "score"},
}
#: Of all other data sets.
USUAL_COLUMNS = {"quality": "overall_score", "correspondence": "alignment_score", "authenticity": "score"}

GUIDANCE = {
    "quality": (
        "how sharp, clean, well lit and well composed the picture is, and what disturbs (blur, noise, artefacts, "
        "broken shapes)"
    ),
    "correspondence": (
        "which things, numbers, colours, places and style of the description the picture shows, and which it lacks or "
        "shows otherwise"
    ),
    "authenticity": (
        "how near it comes to a real photograph or to the work of a human artist, and what looks artificial"
    ),
}

TEACHER = """\
This picture was made by an image generator{description}. Assess it under each of these aspects, in two or three \
sentences each, which name only what can be seen:
{guidance}
{hint}Give no number, no grade and no score.

Answer with JSON and nothing else:
{form}"""
HINT = (
    "People rated it, from 0 (worst) to 5 (best): {ratings}. Your assessment must fit, and not tell, these ratings.\n"
)
REPAIR = "{problems}. Write the whole answer again without that, with everything else as it was."

ROUND_1 = "This picture was made by an image generator{description}. Analyse its {aspect}: {guidance}."
ROUND_2 = (
    "Go by your analysis and rate the {aspect} of the picture with one word out of bad, poor, fair, good, excellent."
)

#: Stands for all wordings, in the data card.
DIGEST = sha256("\n".join([TEACHER, HINT, REPAIR, ROUND_1, ROUND_2, *GUIDANCE.values()]).encode()).hexdigest()[:12]

_ASPECT_NAMES = "|".join(ASPECTS)
_PARAGRAPH = re.compile(
    rf"^\W*({_ASPECT_NAMES})\W*?:\W*?(\w.*?)(?=^\W*(?:{_ASPECT_NAMES})\W*?:|\Z)",
    re.DOTALL | re.IGNORECASE | re.MULTILINE,
)
_JSON_OBJECT = re.compile(r"\{.*\}", re.DOTALL)
# Numbers of things ("3 dogs") are ordinary; those of a scale are not.
_RATING = re.compile(
    r"\b(?:scor(?:e|es|ed|ing)|rat(?:e|ed|es|ing|ings)|mos|mean opinion)\b"
    r"|\b\d+(?:[.,]\d+)?\s*(?:/|out of)\s*\d+|\b\d+\.\d+\b|\b\d+\s*(?:%|points?\b|stars?\b)",
    re.IGNORECASE,
)


def columns_of(dataset: str) -> dict[str, str]:
    """Aspect to column; only the aspects that people were asked about."""
    return COLUMNS.get(dataset, USUAL_COLUMNS)


def label(score: float) -> str:
    """The word for a score in [0, 1]."""
    return LABELS[min(int(score * len(LABELS)), len(LABELS) - 1)]


def teacher_question(prompt: str | None, scores: dict[str, float], shows_ratings: bool) -> str:
    """The ask for all aspects of `scores` (in [0, 1]) at once."""
    guidance, form, ratings = [], {}, []
    for aspect, score in scores.items():
        guidance.append(f"- {aspect}: {GUIDANCE[aspect]}")
        form[aspect] = "..."
        ratings.append(f"{aspect} {score * 5:.1f}")
    hint = HINT.format(ratings=", ".join(ratings)) if shows_ratings else ""
    return TEACHER.format(
        description=_description(prompt), guidance="\n".join(guidance), hint=hint, form=json.dumps(form)
    )


def answer_schema(aspects: Sequence[str]) -> dict:
    """For servers with structured output."""
    properties = {}
    for aspect in aspects:
        properties[aspect] = {"type": "string"}
    schema = {"type": "object", "properties": properties, "required": list(aspects), "additionalProperties": False}
    return {"type": "json_schema", "json_schema": {"name": "assessment", "schema": schema, "strict": True}}


def parse_answer(text: str, aspects: Sequence[str]) -> dict[str, str]:
    """Text by aspect, from JSON (fenced or not), from paragraphs "Quality: ...", or plain where it is about one only.

    Raises:
        ValueError: an aspect is missing or has no text.
    """
    assessment = _from_json(text) or _from_paragraphs(text)
    is_plain = "{" not in text and "}" not in text and text.strip() != ""
    if not assessment and len(aspects) == 1 and is_plain:
        assessment = {aspects[0]: text}
    tidy = {}
    for aspect in aspects:
        content = assessment.get(aspect)
        if not isinstance(content, str) or not content.strip():
            raise ValueError(f"no text about {aspect}")
        tidy[aspect] = " ".join(content.split())
    return tidy


def _from_json(text: str) -> dict:
    found = _JSON_OBJECT.search(text)
    if found is None:
        return {}
    try:
        return json.loads(found.group(), strict=False)  # line breaks inside a text are harmless
    except (ValueError, RecursionError):
        return {}


def _from_paragraphs(text: str) -> dict[str, str]:
    paragraphs = {}
    if "{" in text or "}" in text:  # JSON that is cut or broken
        return paragraphs
    for aspect, content in _PARAGRAPH.findall(text):
        paragraphs[aspect.lower()] = content
    return paragraphs


def rating_problem(text: str) -> str | None:
    """What tells the rating, or a rating, in words that a model can be told."""
    leak = _RATING.search(text)
    return f'"{leak.group()}" tells a rating' if leak else None


def conversation(identity: str, image: str, prompt: str | None, aspect: str, text: str, score: float) -> dict:
    """An item of M3-AGIQA's files."""
    description = _description(prompt)
    question = ROUND_1.format(description=description, aspect=aspect, guidance=GUIDANCE[aspect])
    turns = [
        {"role": "user", "content": f"<image>\n{question}"},
        {"role": "assistant", "content": text},
        {"role": "user", "content": ROUND_2.format(aspect=aspect)},
        {"role": "assistant", "content": label(score)},
    ]
    return {"id": identity, "image": image, "conversations": turns}


def _description(prompt: str | None) -> str:
    return f' from the description "{prompt}"' if prompt else ""


def read_conversations(path: str | Path) -> list[dict]:
    """The items of a file of this form, the published ones too (some are named .jsonl, and are one JSON list as well).

    Returns:
        id, image (a path from the file's folder), question, description, label of each item.

    Raises:
        ValueError: the file is no such list; names the item that is not.
        OSError: it cannot be read.
    """
    path = Path(path)
    try:
        items = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: is not JSON: {error}") from error
    if not isinstance(items, list):
        raise ValueError(f"{path}: is not a list of conversations")
    rows = []
    for number, item in enumerate(items, 1):
        try:
            question, description, _, word = [turn["content"] for turn in item["conversations"]]
            row = {"id": item["id"], "image": item["image"], "question": question, "description": description}
        except (TypeError, KeyError, ValueError):
            raise ValueError(f"{path}: item {number} is no conversation of four turns with id and image") from None
        if word not in LABELS:
            raise ValueError(f"{path}: item {number} ends in {word!r:.40}, not in {', '.join(LABELS)}")
        rows.append(row | {"label": word})
    return rows
