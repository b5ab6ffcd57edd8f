"""From images with heatmaps to a data set with explanations, in the three stages of Expl-AIGI-Eval."""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from datasets import Dataset
from tqdm import tqdm

from heie_hf.chat import Chat

from . import card
from .costs import Estimate, estimate
from .output import AnnotationFolder, defects, published_line, record
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
        num_images: that were asked for.
        num_texts: that were written.
        excluded: id and category of the images that the sensitive filter left out.
        failures: id and reason of images, or texts, that could not be annotated.
        is_over_budget: whether it stopped because the tokens were used up.
        costs: requests and tokens of this run.
    """

    num_images: int = 0
    num_texts: int = 0
    excluded: list[tuple[str, str]] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    is_over_budget: bool = False
    costs: Costs = field(default_factory=Costs)


def estimate_costs(rows: Dataset, num_samples: int) -> Estimate:
    """Calls and tokens of an annotation, from the sizes of the first images."""
    sizes = [row["image"].size for row in islice(rows, SAMPLED)]
    return estimate(sizes, len(rows), num_samples)


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
    more budget, and it goes on.

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
    stages = Stages(vision, text)
    outcome = Outcome(num_images=len(rows), costs=stages.costs)
    models = {"vision_model": vision.model, "text_model": text.model}
    lines, problems, records = [], [], []
    with tqdm(total=len(rows), desc="annotate", unit="image", disable=None) as bar:
        for chunk in _chunks(rows):
            if budget is not None and stages.costs.tokens >= budget:
                outcome.is_over_budget = True
                break
            for row, annotation in _annotate_chunk(chunk, stages, num_samples, outcome):
                records.append(record(annotation, models))
                if annotation.problem:
                    outcome.failures.append((f"{annotation.key}#{annotation.sample}", annotation.problem))
                    continue
                folder.write_pictures(row, annotation)
                lines.append(published_line(row, annotation, len(lines)))
                problems.append({"id": row["id"], "defects": defects(row, annotation)})
            bar.update(len(chunk))
            bar.set_postfix(tokens=f"{stages.costs.tokens:,}", failed=len(outcome.failures))
    for failure in outcome.failures:
        report(*failure)
    outcome.num_texts = len(lines)
    folder.write_lines("defects.jsonl", problems)
    folder.write_lines("records.jsonl", records)
    folder.write_lines("excluded.jsonl", _as_records(outcome.excluded, "category"))
    folder.write_lines("failures.jsonl", _as_records(outcome.failures, "reason"))
    folder.write_text("README.md", card.render(outcome, models, num_samples, source))
    folder.write_lines("annotations.jsonl", lines)
    return outcome


def _chunks(rows: Dataset) -> Iterator[list[dict]]:
    rows = iter(rows)
    while chunk := list(islice(rows, CHUNK)):
        yield chunk


def _annotate_chunk(
    chunk: list[dict], stages: Stages, num_samples: int, outcome: Outcome
) -> Iterator[tuple[dict, Annotation]]:
    """All stages for a few rows; gives each row with each of its texts."""
    usable = []
    for row in chunk:
        if row["heatmap"] is None:
            outcome.failures.append((row["id"], "has no heatmap to show where its defects are"))
        else:
            usable.append(row)
    harmless = []
    for row, verdict in zip(usable, stages.filter([row["image"] for row in usable]), strict=True):
        if verdict.error:
            outcome.failures.append((row["id"], f"sensitive filter: {verdict.error}"))
        elif verdict.value != "none":
            outcome.excluded.append((row["id"], verdict.value))
        else:
            harmless.append(row)
    pairs = []
    for row in harmless:
        drawn = draw_contours(row["image"], row["heatmap"])
        for sample in range(num_samples):
            pairs.append((row, Annotation(row["id"], sample, drawn)))
    annotations = [annotation for _, annotation in pairs]
    stages.write_freely(annotations, num_samples)
    stages.bring_into_form([annotation for annotation in annotations if annotation.problem is None])
    yield from pairs


def _as_records(entries: Iterable[tuple[str, str]], name: str) -> list[dict]:
    return [{"id": identity, name: reason} for identity, reason in entries]


def summary(outcome: Outcome) -> dict:
    """For people and programs: counts and costs, without the lists."""
    return {
        "images": outcome.num_images,
        "texts": outcome.num_texts,
        "excluded": len(outcome.excluded),
        "failed": len(outcome.failures),
        "over_budget": outcome.is_over_budget,
        "excluded_by_category": dict(Counter(category for _, category in outcome.excluded)),
        **dataclasses.asdict(outcome.costs),
    }
