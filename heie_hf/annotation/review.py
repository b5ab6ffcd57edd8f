"""People check annotated texts: sheets with verdict buttons go out, and what they call wrong is left out.

Works on a folder that `annotate` has written, without any server. records.jsonl keeps every text: reviewing again with
other verdicts, or annotating again, brings back what was left out.
"""

import json
import math
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from heie_hf.data.folder import read_lines
from heie_hf.metrics.human import Form, Ratings, export_sheets, import_ratings
from heie_hf.prediction.paths import id_file_name
from heie_hf.processing.explanation_heie import parse
from heie_hf.processing.image_files_heie import read_image

from . import card
from .output import AnnotationFolder

WRONG, RIGHT = 0, 1
VERDICT = Form(
    "Does the text describe the picture rightly, name what is wrong with it at the outlined places, and nothing else?",
    {"right": RIGHT, "wrong": WRONG, "unsure": math.nan},
    "nominal",
)


def write_sheets(folder: str | Path, raters: Sequence[str], num_texts: int, seed: int = 0) -> int:
    """Pages and tables of `heie_hf.metrics.human.export_sheets` in `folder/sheets`; returns the number of texts.

    Args:
        folder: written by `annotate`.
        raters: names, which become file names.
        num_texts: at most so many, drawn by chance, the same for every rater.

    Raises:
        FileNotFoundError: the folder holds no annotation.
        ValueError: a record is damaged, or a rater's name is no good.
    """
    folder = Path(folder)
    records = [record for record in _records(folder) if record["line"]]
    if len(records) > num_texts:
        records = random.Random(seed).sample(records, num_texts)
    rows = [_sheet_row(folder, record) for record in records]
    export_sheets(rows, folder / "sheets", raters, VERDICT)
    return len(rows)


def apply_verdicts(folder: str | Path, sheets: Sequence[str | Path]) -> dict:
    """Leave out of annotations.jsonl what at least as many people call wrong as right.

    dropped.jsonl lists those texts, with who called them wrong and their comments; the data card tells the number.

    Args:
        folder: written by `annotate`.
        sheets: filled in, one CSV per rater.

    Returns:
        raters, judged (texts with a verdict), agreement (Krippendorff's alpha; None if undefined), dropped, kept.

    Raises:
        FileNotFoundError: the folder holds no annotation, or a sheet is missing.
        ValueError: a sheet cannot be used, or judges a text that the folder has not.
    """
    folder = Path(folder)
    ratings = import_ratings(sheets, VERDICT)
    records = list(_records(folder))
    items = {_item(record) for record in records}
    strangers = set(ratings.ids) - items
    if strangers:
        raise ValueError(f"the sheets judge {min(strangers)!r}, but {folder} has no such text")
    about = json.loads((folder / "summary.json").read_text(encoding="utf-8"))
    verdicts = _against(ratings)
    kept, dropped = [], []
    for record in records:
        if not record["line"]:
            continue
        verdict = verdicts.get(_item(record))
        if verdict is None:
            kept.append(record["line"])
        else:
            dropped.append({"id": record["id"], "sample": record["sample"], **verdict})
    is_judged = (~np.isnan(ratings.values)).any(axis=0)
    review = {
        "raters": ratings.raters,
        "judged": int(is_judged.sum()),
        "agreement": None if math.isnan(ratings.alpha) else round(ratings.alpha, 3),
        "dropped": len(dropped),
        "kept": len(kept),
    }
    output = AnnotationFolder(folder)
    output.write_lines("dropped.jsonl", dropped)
    output.write_text("README.md", card.render(about, review))
    output.write_lines("annotations.jsonl", kept)
    return review


def _records(folder: Path) -> Iterator[dict]:
    path = folder / "records.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing: `heie annotate` writes it, annotate first")
    for place, record in read_lines(path):
        if isinstance(record, ValueError) or "line" not in record:
            raise ValueError(f"{place}: is no explanation that people could judge here")
        yield record


def _item(record: dict) -> str:
    return f"{record['id']}#{record['sample']}"


def _sheet_row(folder: Path, record: dict) -> dict:
    answer = parse(record["line"]["conversations"][1]["value"])
    background = f"First, in free form:\n{record['free_form']}"
    if record["sent_back"]:
        background += f"\n\nSent back once: {'; '.join(record['sent_back'])}"
    name = id_file_name(record["id"])
    row = {
        "id": _item(record),
        "text": f"{answer.description}\n\n{answer.regions}\n\n{answer.analysis}",
        "background": background,
        "image": read_image(folder / "images" / f"{name}.png"),
    }
    if record["regions"]:
        row["overlay"] = read_image(folder / "visual_prompts" / f"{name}.png")
    return row


def _against(ratings: Ratings) -> dict[str, dict]:
    """By item that is to be dropped: who called it wrong, and their comments."""
    dropped = {}
    for column, item in enumerate(ratings.ids):
        verdicts = ratings.values[:, column]
        raters, comments = [], {}
        for rater, verdict in zip(ratings.raters, verdicts, strict=True):
            if verdict != WRONG:
                continue
            raters.append(rater)
            if (rater, item) in ratings.comments:
                comments[rater] = ratings.comments[rater, item]
        num_right = np.count_nonzero(verdicts == RIGHT)
        if raters and len(raters) >= num_right:
            dropped[item] = {"raters": raters, "comments": comments}
    return dropped
