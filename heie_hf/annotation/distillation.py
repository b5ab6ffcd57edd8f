"""M3-AGIQA's distillation: a vision model assesses images under several aspects, one call per image.

Writes into the folder: ASPECT.json (conversations, see `heie_hf.annotation.aspects`), images/, records.jsonl (per
image what was answered), failures.jsonl, summary.json, README.md (the data card) and answers.jsonl (so that nothing is
asked twice).
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from datasets import Dataset

from heie_hf.chat import Answer, Chat, Question, image_part
from heie_hf.prediction.paths import id_file_name

from . import card
from .aspects import REPAIR, answer_schema, conversation, parse_answer, rating_problem, teacher_question
from .costs import Estimate, estimate_aspects
from .output import AnnotationFolder
from .run import Outcome, Report, as_records, chunks_within, first_sizes, summary

#: The most tokens for one aspect; 42 to 57 words are usual.
ASPECT_TOKENS = 160


@dataclass
class Assessment:
    """An image on its way.

    Args:
        row: of the data set.
        scores: in [0, 1], by aspect; those to be assessed.
        texts: by aspect.
        problems: by aspect, why there is no text.
        sent_back: what told a rating at first.
    """

    row: dict
    scores: dict[str, float]
    texts: dict[str, str] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    sent_back: list[str] = field(default_factory=list)


def estimate_distillation(rows: Dataset, columns: dict[str, str]) -> Estimate:
    """Calls and tokens, from the sizes of the first images."""
    return estimate_aspects(first_sizes(rows), len(set(rows["id"])), len(columns))


def distil(
    rows: Dataset,
    output_dir: str | Path,
    vision: Chat,
    columns: dict[str, str],
    shows_ratings: bool = False,
    budget: int | None = None,
    report: Report = lambda key, reason: None,
    source: str = "a data set",
) -> Outcome:
    """Write assessments of images with opinion scores.

    Args:
        rows: of `heie_hf.data.schema.FEATURES`, images decoded.
        output_dir: folder to write.
        vision: client of the teacher.
        columns: aspect to the column with its score, see `heie_hf.annotation.aspects.columns_of`.
        shows_ratings: tell the teacher the scores, as the paper does: its texts then leak the label.
        budget: tokens that this run may cost; it stops at the first 32 images beyond.
        report: called with id (and aspect) and reason of what fails.
        source: name of the data set, for the card.

    Raises:
        ChatError: the server cannot be worked with at all.
        OSError: the folder cannot be written.
    """
    folder = AnnotationFolder(output_dir)
    outcome = Outcome(num_images=len(set(rows["id"])))
    conversations = {aspect: [] for aspect in columns}
    records = []
    for chunk in chunks_within(budget, rows, outcome):
        assessments = [_prepared(row, columns) for row in chunk]
        _assess(assessments, vision, shows_ratings, outcome)
        for assessment in assessments:
            records.append(_record(assessment, vision.model))
            for aspect, item in _conversations(folder, assessment, outcome):
                conversations[aspect].append(item)
    for failure in outcome.failures:
        report(*failure)
    about = {"task": "quality", "source": source, "vision_model": vision.model, "aspects": list(columns)}
    about |= {"hint": "mos" if shows_ratings else "none", **summary(outcome)}
    folder.write_lines("records.jsonl", records)
    folder.write_lines("failures.jsonl", as_records(outcome.failures, "reason"))
    folder.write_text("summary.json", json.dumps(about, indent=1) + "\n")
    folder.write_text("README.md", card.render(about))
    for aspect, items in conversations.items():
        folder.write_text(f"{aspect}.json", json.dumps(items, indent=1) + "\n")
    return outcome


def _prepared(row: dict, columns: dict[str, str]) -> Assessment:
    """With the aspects that this image has a score for."""
    assessment = Assessment(row, {})
    for aspect, column in columns.items():
        if row[column] is None:
            assessment.problems[aspect] = f"has no opinion score ({column}) to take the label from"
        elif aspect == "correspondence" and not row["prompt"]:
            assessment.problems[aspect] = "has no prompt that it could correspond with"
        else:
            assessment.scores[aspect] = row[column]
    return assessment


def _assess(assessments: Sequence[Assessment], vision: Chat, shows_ratings: bool, outcome: Outcome) -> None:
    """All aspects of each image, with one turn to repair texts that tell a rating."""
    asked, questions = [], []
    for assessment in assessments:
        if not assessment.scores:
            continue
        ask = teacher_question(assessment.row["prompt"], assessment.scores, shows_ratings)
        content = [{"type": "text", "text": ask}, image_part(assessment.row["image"])]
        asked.append(assessment)
        questions.append([{"role": "user", "content": content}])
    _ask(asked, questions, vision, outcome)
    flawed, repairs = [], []
    for assessment, messages in zip(asked, questions, strict=True):
        assessment.sent_back = list(_rating_problems(assessment).values())
        if not assessment.sent_back:
            continue
        problems = "; ".join(assessment.sent_back)
        answered = {"role": "assistant", "content": json.dumps(assessment.texts)}
        ask = {"role": "user", "content": REPAIR.format(problems=problems)}
        flawed.append(assessment)
        repairs.append([*messages, answered, ask])
    outcome.num_sent_back += len(flawed)
    _ask(flawed, repairs, vision, outcome)
    for assessment in flawed:
        assessment.problems |= _rating_problems(assessment)


def _ask(assessments: Sequence[Assessment], conversations: list[list[dict]], vision: Chat, outcome: Outcome) -> None:
    """Fills in `texts`, or `problems`. Questions about the same aspects go out together: they have one parser."""
    groups = {}
    for assessment, messages in zip(assessments, conversations, strict=True):
        aspects = tuple(assessment.scores)
        group = groups.setdefault(aspects, ([], []))
        group[0].append(assessment)
        group[1].append(messages)
    for aspects, (members, asked) in groups.items():
        options = {"temperature": 0.0, "max_tokens": ASPECT_TOKENS * len(aspects)}
        options["response_format"] = answer_schema(aspects)
        questions = [Question(messages, options) for messages in asked]
        parse = partial(parse_answer, aspects=aspects)
        answers = vision.ask(questions, parse, progress=None)
        outcome.costs.add(answers)
        for assessment, answer in zip(members, answers, strict=True):
            _take(assessment, answer)


def _take(assessment: Assessment, answer: Answer) -> None:
    assessment.texts = answer.value or {}
    if answer.error:
        for aspect in assessment.scores:
            assessment.problems[aspect] = answer.error


def _rating_problems(assessment: Assessment) -> dict[str, str]:
    """By aspect."""
    problems = {}
    for aspect, text in assessment.texts.items():
        problem = rating_problem(text)
        if problem:
            problems[aspect] = problem
    return problems


def _conversations(folder: AnnotationFolder, assessment: Assessment, outcome: Outcome) -> Iterator[tuple[str, dict]]:
    """Aspect and item of each good text; the others become failures."""
    row = assessment.row
    for aspect, problem in assessment.problems.items():
        outcome.failures.append((f"{row['id']}#{aspect}", problem))
    image = f"images/{id_file_name(row['id'])}.png"
    good = [aspect for aspect in assessment.texts if aspect not in assessment.problems]
    if good:
        folder.write_picture(image, row["image"].convert("RGB"))
    for aspect in good:
        outcome.num_texts += 1
        text, score = assessment.texts[aspect], assessment.scores[aspect]
        yield aspect, conversation(row["id"], image, row["prompt"], aspect, text, score)


def _record(assessment: Assessment, model: str) -> dict:
    return {
        "id": assessment.row["id"],
        "scores": assessment.scores,
        "texts": assessment.texts,
        "sent_back": assessment.sent_back,
        "problems": assessment.problems,
        "vision_model": model,
    }
