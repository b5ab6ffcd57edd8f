"""What an annotation writes: a folder in the layout of Expl-AIGI-Eval, and beside it how every text came about.

annotations.jsonl   a line per text, as published; `heie_hf.data.load(FOLDER)` reads it
defects.jsonl       per text the problems with their box, mask and line
images/ artifact_map/ masks/    the pictures that both name
visual_prompts/     what the vision model was shown, for audit
records.jsonl       per text the answers of every stage, verdict and models
excluded.jsonl failures.jsonl   images that were left out, and why
README.md           the data card
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from heie_hf.files import whole_file
from heie_hf.prediction.regions import Region
from heie_hf.processing.explanation_heie import render
from heie_hf.processing.processing_heie import INSTRUCTIONS

from .stages import Annotation


class AnnotationFolder:
    """Writes the pictures of an image as soon as it is done, and all lists at the end."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def write_pictures(self, row: dict, annotation: Annotation) -> None:
        """Image and heatmap of a row, and what stages 1 drew and found on it; those that are there are kept."""
        name = file_name(row["id"])
        pictures = {
            f"images/{name}.png": row["image"].convert("RGB"),
            f"artifact_map/{name}.png": row["heatmap"].convert("L"),
            f"visual_prompts/{name}.png": annotation.visual_prompt.image,
        }
        for number, region in enumerate(annotation.visual_prompt.regions, 1):
            pictures[f"masks/{name}-{number}.png"] = _whole_mask(region, row["image"].size)
        for place, picture in pictures.items():
            path = self.folder / place
            if not path.exists():
                with whole_file(path) as draft:
                    picture.save(draft, format="PNG")

    def write_lines(self, name: str, records: Iterable[dict]) -> None:
        lines = [json.dumps(record, allow_nan=False) + "\n" for record in records]
        with whole_file(self.folder / name) as draft:
            draft.write_text("".join(lines), encoding="utf-8")

    def write_text(self, name: str, text: str) -> None:
        with whole_file(self.folder / name) as draft:
            draft.write_text(text, encoding="utf-8")


def file_name(identity: str) -> str:
    """A name for the files of an image: its id where that can be one, otherwise as much of it as can, and a hash."""
    safe = re.sub(r"[^\w.-]", "_", identity)[:100]
    if safe == identity and not safe.startswith("."):
        return safe
    digest = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{safe.lstrip('.')}-{digest}"


def published_line(row: dict, annotation: Annotation, index: int) -> dict:
    """A line of annotations.jsonl, with one of the published wordings of the task in turn."""
    name = file_name(row["id"])
    instruction = INSTRUCTIONS[index % len(INSTRUCTIONS)]
    answer = render(annotation.formatted.explanation)
    return {
        "id": row["id"],
        "image": f"./images/{name}.png",
        "heatmap": f"./artifact_map/{name}.png",
        "score": row["score"],
        "conversations": [{"from": "human", "value": f"<image>\n{instruction}"}, {"from": "gpt", "value": answer}],
    }


def defects(row: dict, annotation: Annotation) -> list[dict]:
    """The problems of a text, in the order of its lines: a line without a region has neither box nor mask."""
    name = file_name(row["id"])
    problems = []
    if not annotation.visual_prompt.regions:
        return problems
    formatted = annotation.formatted
    for line, number in zip(formatted.explanation.analysis.splitlines(), formatted.regions, strict=True):
        problem = {"kind": None, "part": line.partition(":")[0].strip(), "text": line}
        problem |= {"box": None, "severity": None, "mask": None}
        if number is not None:
            region = annotation.visual_prompt.regions[number - 1]
            problem |= {"box": list(region.box), "severity": region.heat, "mask": f"./masks/{name}-{number}.png"}
        problems.append(problem)
    return problems


def record(annotation: Annotation, models: dict[str, str]) -> dict:
    """A line of records.jsonl: what each stage gave."""
    regions = []
    for region in annotation.visual_prompt.regions:
        regions.append({"box": list(region.box), "area": region.area, "heat": region.heat})
    return {
        "id": annotation.key,
        "sample": annotation.sample,
        "regions": regions,
        "free_form": annotation.free_text,
        "format": annotation.raw_format,
        "problem": annotation.problem,
        **models,
    }


def _whole_mask(region: Region, size: tuple[int, int]) -> Image.Image:
    """The region as an L image of the whole picture."""
    width, height = size
    mask = np.zeros((height, width), dtype=np.uint8)
    x0, y0, x1, y1 = region.box
    mask[y0:y1, x0:x1][region.mask] = 255
    return Image.fromarray(mask)
