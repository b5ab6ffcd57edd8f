"""What an annotation writes: a folder in the layout of Expl-AIGI-Eval, and beside it how every text came about.

annotations.jsonl   a line per text, as published, and its `defects`: box, mask and line of each problem;
                    `heie_hf.data.load(FOLDER)` reads it
images/ artifact_map/ misalignment_map/ masks/    the pictures that it names
visual_prompts/     what the vision model was shown, for audit
records.jsonl       per text the answers of every stage, models, and its line of annotations.jsonl
excluded.jsonl failures.jsonl   images that were left out, and why
dropped.jsonl sheets/           texts that people called wrong (`heie_hf.annotation.review`), and their pages
summary.json README.md          counts and costs; the data card
answers.jsonl       what the servers said, so that nothing is asked twice
"""

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from heie_hf.data.folder import SCORES
from heie_hf.files import whole_file
from heie_hf.prediction.paths import id_file_name
from heie_hf.prediction.regions import Region
from heie_hf.processing.explanation_heie import render
from heie_hf.processing.processing_heie import INSTRUCTIONS

from .stages import Annotation
from .visual_prompt import VisualPrompt


class AnnotationFolder:
    """Writes the pictures of an image as soon as it is done, and all lists at the end.

    Raises:
        OSError: a file cannot be written.
    """

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def write_pictures(self, row: dict, visual_prompt: VisualPrompt) -> None:
        """Image and heatmaps of a row, and what stage 1 drew and found on it."""
        name = id_file_name(row["id"])
        pictures = {
            f"images/{name}.png": row["image"].convert("RGB"),
            f"artifact_map/{name}.png": row["heatmap"].convert("L"),
            f"visual_prompts/{name}.png": visual_prompt.image,
        }
        if row["misalignment_heatmap"] is not None:
            pictures[f"misalignment_map/{name}.png"] = row["misalignment_heatmap"].convert("L")
        for number, region in enumerate(visual_prompt.regions, 1):
            pictures[f"masks/{name}-{number}.png"] = _whole_mask(region, row["image"].size)
        for place, picture in pictures.items():
            self.write_picture(place, picture)

    def write_picture(self, name: str, picture: Image.Image) -> None:
        with whole_file(self.folder / name) as draft:
            picture.save(draft, format="PNG")

    def write_lines(self, name: str, records: Iterable[dict]) -> None:
        with whole_file(self.folder / name) as draft, draft.open("w", encoding="utf-8") as file:
            for record in records:
                file.write(json.dumps(record, allow_nan=False) + "\n")

    def write_text(self, name: str, text: str) -> None:
        with whole_file(self.folder / name) as draft:
            draft.write_text(text, encoding="utf-8")


def published_line(row: dict, annotation: Annotation, index: int) -> dict:
    """A line of annotations.jsonl, with one of the published wordings of the task in turn.

    What else the source knows of the image stays: the other scores, the prompt and where it does not fit it, facts.
    """
    name = id_file_name(row["id"])
    instruction = INSTRUCTIONS[index % len(INSTRUCTIONS)]
    answer = render(annotation.formatted.explanation)
    line = {"id": row["id"], "image": f"./images/{name}.png", "heatmap": f"./artifact_map/{name}.png"}
    if row["misalignment_heatmap"] is not None:
        line["misalignment_heatmap"] = f"./misalignment_map/{name}.png"
    for column in (*SCORES, "prompt", "facts", "pair"):
        if row[column] is not None:
            line[column] = row[column]
    human = {"from": "human", "value": f"<image>\n{instruction}"}
    line["conversations"] = [human, {"from": "gpt", "value": answer}]
    line["defects"] = _defects(name, annotation)
    return line


def _defects(name: str, annotation: Annotation) -> list[dict]:
    """The problems of a text, in the order of its lines: a line without a region has neither box nor mask."""
    problems = []
    regions = annotation.visual_prompt.regions
    if not regions:
        return problems
    formatted = annotation.formatted
    lines = formatted.explanation.analysis.splitlines()
    for line, number in zip(lines, formatted.regions, strict=True):
        part = line.partition(":")[0].strip(" -*\t")
        problem = {"kind": None, "part": part, "text": line, "box": None, "severity": None, "mask": None}
        if number is not None:
            region = regions[number - 1]
            problem["box"] = list(region.box)
            problem["severity"] = region.heat
            problem["mask"] = f"./masks/{name}-{number}.png"
        problems.append(problem)
    return problems


def record(annotation: Annotation, models: dict[str, str], line: dict | None) -> dict:
    """A line of records.jsonl: what each stage gave; `line` is None for a text that failed."""
    regions = []
    for region in annotation.visual_prompt.regions:
        regions.append({"box": list(region.box), "area": region.area, "heat": region.heat})
    return {
        "id": annotation.key,
        "sample": annotation.sample,
        "regions": regions,
        "free_form": annotation.free_text,
        "format": annotation.raw_format,
        "sent_back": annotation.sent_back,
        "problem": annotation.problem,
        **models,
        "line": line,
    }


def _whole_mask(region: Region, size: tuple[int, int]) -> Image.Image:
    """The region as an L image of the whole picture."""
    width, height = size
    mask = np.zeros((height, width), dtype=np.uint8)
    x0, y0, x1, y1 = region.box
    mask[y0:y1, x0:x1][region.mask] = 255
    return Image.fromarray(mask)
