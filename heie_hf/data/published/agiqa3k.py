"""AGIQA-3K (TCSVT 2023): 2,982 images of six generators with mean opinion scores of quality and alignment.

Files: data.csv, and the images anywhere below the root.
"""

import csv
from functools import partial
from pathlib import Path

from heie_hf.data.fields import (
    Entries,
    checked_split,
    image_cell,
    image_index,
    required,
    the_image,
    training_groups,
    unit_score,
)

HOME = "https://github.com/lcysyzxdxc/AGIQA-3k-Database"
SPLITS = ("train", "test")
TRAIN_SHARE = 4 / 5  # the usual ratio; no list was published
SCALES = {"score": ("mos_quality", 0.0, 5.0), "alignment_score": ("mos_align", 0.0, 5.0)}
WHERE = f"Download data.csv from {HOME}, and the images from the links there, into one folder."


def sources(root: Path, split: str = "train") -> dict:
    required(root / "data.csv", WHERE)
    return {"root": root, "split": checked_split(split, SPLITS)}


def entries(root: Path, split: str) -> Entries:
    records = read_csv(root / "data.csv", ["name", "prompt", "mos_quality", "mos_align"])
    index = image_index(root)
    prompts = [record["prompt"] for record in records]
    training = training_groups(prompts, TRAIN_SHARE)
    for record in records:
        is_training = record["prompt"] in training
        if is_training == (split == "train"):
            yield record["name"], partial(mos_row, record, index, SCALES)


def read_csv(path: Path, columns: list[str]) -> list[dict[str, str]]:
    """Raises ValueError when a column is missing."""
    with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        reader = csv.DictReader(file)
        missing = set(columns) - set(reader.fieldnames or [])
        if missing:
            raise ValueError(f"{path} has no column {', '.join(sorted(missing))}")
        return list(reader)


def mos_row(record: dict[str, str], index: dict[str, list[Path]], scales: dict[str, tuple]) -> dict:
    """A row from a record with `name`, `prompt` and the opinion scores that `scales` names."""
    name = record["name"]
    image, _ = image_cell(the_image(index, name))
    row = {"id": Path(name).stem, "image": image, "prompt": record["prompt"] or None}
    for column, (opinion, low, high) in scales.items():
        row[column] = unit_score(record[opinion], opinion, low, high)
    return row
