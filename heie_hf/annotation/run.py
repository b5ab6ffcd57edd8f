"""From images with heatmaps to a data set with explanations, in the three stages of Expl-AIGI-Eval."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import islice
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from heie_hf.chat import Chat

from . import card
from .costs import Estimate, estimate
from .output import AnnotationFolder, published_line, record
from .stages import Annotation, Costs, Stages
from .visual_prompt import draw_contours

#: Images whose questions are under way together.
CHUNK = 32
#: Images whose sizes an estimate is made from.
SAMPLED = 20

Report = Callable[[str, str], None]


@dataclass
class Outcome:
    """What came of an annotation.

    Args:
        num_images: that were asked for, each counted once.
        num_texts: that were written.
        num_sent_back: texts that did not fit at first.
        excluded: id and category of the images that the sensitive filter left out.
        failures: id and reason of images, or texts, that could not be annotated.
        is_over_budget: whether it stopped because the tokens were used up.
        costs: requests and tokens.
    """

    num_images: int = 0
    num_texts: int = 0
    num_sent_back: int = 0
    excluded: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    is_over_budget: bool = False
    costs: Costs = field(default_factory=Costs)


def estimate_costs(rows: Dataset, num_samples: int) -> Estimate:
    """Calls and tokens of an annotation, from the sizes of the first images."""
    return estimate(first_sizes(rows), len(set(rows["id"])), num_samples)


def first_sizes(rows: Dataset) -> list[tuple[int, int]]:
    """Width and height of the images that an estimate is made from."""
    return [row["image"].size for row in islice(rows, SAMPLED)]


def annotate(
    rows: Dataset,
    output_dir: str | Path,
    vision: Chat,
    text: Chat,
    num_samples: int = 1,
    budget: int | None = None,
    report: Report = lambda key, reason: None,
    source: str = "a data set",
) -> Outcome:
    """Write explanations for images with heatmaps.

    What was answered before is not asked again, if both clients have a `cache`: run it again after a kill, or with
    more budget, and it goes on. An image that has several rows (Expl-AIGI-Eval's train split has one per text) is
    annotated once.

    Args:
        rows: of `heie_hf.data.schema.FEATURES`, images and heatmaps decoded.
        output_dir: folder to write, see `heie_hf.annotation.output`.
        vision: client of the model that looks at pictures.
        text: client of the model that brings texts into form.
        num_samples: texts per image; the paper has several for training images, one for others.
        budget: tokens that this run may cost; it stops at the first 32 images beyond.
        report: called with id and reason of each image or text that fails.
        source: name of the data set, for the card.

    Raises:
        ChatError: a server cannot be worked with at all.
        OSError: the folder cannot be written.
    """
    folder = AnnotationFolder(output_dir)
    outcome = Outcome(num_images=len(set(rows["id"])))
    stages = Stages(vision, text, outcome.costs)
    models = {"vision_model": vision.model, "text_model": text.model}
    records = []
    for chunk in chunks_within(budget, rows, outcome):
        for row, annotations in _annotate_chunk(chunk, stages, num_samples, outcome):
            records += _write(folder, row, annotations, models, outcome)
    for failure in outcome.failures:
        report(*failure)
    folder.write_lines("records.jsonl", records)
    folder.write_lines("excluded.jsonl", as_records(outcome.excluded, "category"))
    folder.write_lines("failures.jsonl", as_records(outcome.failures, "reason"))
    folder.write_lines("dropped.jsonl", [])  # people's verdicts are applied to what is there, not to what comes
    about = {"task": "implausibility", "source": source, **models, "samples": num_samples, **summary(outcome)}
    folder.write_text("summary.json", json.dumps(about, indent=1) + "\n")
    folder.write_text("README.md", card.render(about))
    folder.write_lines("annotations.jsonl", (record["line"] for record in records if record["line"]))
    return outcome


def chunks_within(budget: int | None, rows: Dataset, outcome: Outcome) -> Iterator[list[dict]]:
    """The images in chunks, with a progress bar that shows the costs; ends early where the budget is used up."""
    images = _first_rows(rows, outcome)
    num_done = 0
    with tqdm(total=outcome.num_images, desc="annotate", unit="image", disable=None) as bar:
        while chunk := list(islice(images, CHUNK)):
            if budget is not None and outcome.costs.tokens >= budget:
                outcome.is_over_budget = True
                break
            yield chunk
            num_done += len(chunk)
            expected = round(outcome.costs.all_tokens * outcome.num_images / num_done)
            bar.update(len(chunk))
            bar.set_postfix(tokens=f"{outcome.costs.tokens:,}", expected_in_all=f"{expected:,}")


def _first_rows(rows: Dataset, outcome: Outcome) -> Iterator[dict]:
    """The first row of each image; other images under an id that was there already are failures."""
    pictures = {}
    for row in rows:
        identity = row["id"]
        picture = sha256(row["image"].tobytes())
        if row["heatmap"] is not None:
            picture.update(row["heatmap"].tobytes())
        if identity not in pictures:
            pictures[identity] = picture.digest()
            yield row
        elif pictures[identity] != picture.digest():
            outcome.failures.append((identity, "another image, or heatmap, has this id too: only the first counts"))


def _annotate_chunk(
    chunk: list[dict], stages: Stages, num_samples: int, outcome: Outcome
) -> Iterator[tuple[dict, list[Annotation]]]:
    """All stages for a few rows; gives each row that is fit for it with its texts."""
    texts, in_a_row = [], []
    for row in _harmless(chunk, stages, outcome):
        drawn = draw_contours(row["image"], row["heatmap"])
        annotations = []
        for sample in range(num_samples):
            annotations.append(Annotation(row["id"], sample, drawn))
        texts.append((row, annotations))
        in_a_row += annotations
    stages.write_freely(in_a_row, num_samples)
    written = [annotation for annotation in in_a_row if annotation.problem is None]
    stages.bring_into_form(written)
    yield from texts


def _harmless(chunk: list[dict], stages: Stages, outcome: Outcome) -> list[dict]:
    """The rows that have a heatmap and pass the sensitive filter."""
    usable = []
    for row in chunk:
        if row["heatmap"] is None:
            outcome.failures.append((row["id"], "has no heatmap to show where its defects are"))
        else:
            usable.append(row)
    images = [row["image"] for row in usable]
    verdicts = stages.filter(images)
    harmless = []
    for row, verdict in zip(usable, verdicts, strict=True):
        if verdict.error:
            outcome.failures.append((row["id"], f"sensitive filter: {verdict.error}"))
        elif verdict.value != "none":
            outcome.excluded.append((row["id"], verdict.value))
        else:
            harmless.append(row)
    return harmless


def _write(
    folder: AnnotationFolder, row: dict, annotations: list[Annotation], models: dict[str, str], outcome: Outcome
) -> Iterator[dict]:
    """Writes the pictures of a row; gives the record of each of its texts."""
    folder.write_pictures(row, annotations[0].visual_prompt)
    for annotation in annotations:
        outcome.num_sent_back += bool(annotation.sent_back)
        line = None
        if annotation.problem:
            outcome.failures.append((f"{annotation.key}#{annotation.sample}", annotation.problem))
        else:
            line = published_line(row, annotation, outcome.num_texts)
            outcome.num_texts += 1
        yield record(annotation, models, line)


def as_records(entries: list[tuple[str, str]], name: str) -> list[dict]:
    return [{"id": identity, name: reason} for identity, reason in entries]


def summary(outcome: Outcome) -> dict:
    """For people and programs: counts and costs, without the lists."""
    categories = Counter(category for _, category in outcome.excluded)
    return {
        "images": outcome.num_images,
        "texts": outcome.num_texts,
        "sent_back": outcome.num_sent_back,
        "excluded": len(outcome.excluded),
        "failed": len(outcome.failures),
        "over_budget": outcome.is_over_budget,
        "excluded_by_category": dict(categories),
        **asdict(outcome.costs),
    }
