"""A folder with JSON lines: what `heie synthesize` writes, and the layout of Expl-AIGI-Eval.

Each line has `image` and may have `id`, `heatmap`, `misalignment_heatmap` (paths from the folder), `score` and the
other scores, `prompt`, `pair`, and the text: `conversations` with a "gpt" turn, or `description`, `regions`,
`analysis`.
`defects.jsonl` beside it, if there, has lines of `id` and `defects`, whose `mask` is a path from the folder, too;
`facts.jsonl` has lines of `id` and `facts`.
"""

import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from heie_hf.processing.explanation_heie import SECTIONS, Explanation, parse

from .fields import Entries, Size, explanation_cells, fail, heatmap_cell, image_cell, required, unit_score
from .schema import FEATURES

HOME = "https://github.com/yfthu/HEIE"
WHERE = "`heie synthesize --num-images N --output-dir FOLDER` writes such a folder."
SCORES = ("score", "aesthetics_score", "alignment_score", "overall_score")
HEATMAPS = ("heatmap", "misalignment_heatmap")
DEFECT = FEATURES["defects"].feature
TEXTS = ("image", *HEATMAPS, "prompt", "pair", *SECTIONS)
LISTS = ("conversations", "defects")
#: Columns that may stand in files of their own beside the lines, <name>.jsonl with `id` and the column.
BESIDE = ("defects", "facts")


def sources(root: Path, split: str = "annotations") -> dict:
    """`root` is a folder with <split>.jsonl, or the JSON lines file itself."""
    lines = required(root / f"{split}.jsonl" if root.is_dir() else root, WHERE)
    # the folder too: a changed picture must not be overlooked
    return {"lines": lines, "folder": lines.parent}


def entries(lines: Path, folder: Path) -> Entries:
    by_id: dict[str, dict] = {}
    for name in BESIDE:
        path = folder / f"{name}.jsonl"
        if not path.exists():
            continue
        for place, record in read_lines(path):
            if isinstance(record, ValueError):
                yield place, partial(fail, record)
            else:
                cells = by_id.setdefault(str(record.get("id")), {})
                cells[name] = record.get(name)
    for place, record in read_lines(lines):
        if isinstance(record, ValueError):
            yield place, partial(fail, record)
        else:
            cells = by_id.get(str(record.get("id")), {})
            yield place, partial(make_row, cells | record, folder)


def read_lines(path: Path) -> Iterator[tuple[str, dict | ValueError]]:
    """Place and content of each line that is not blank; a ValueError where it is no JSON object."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield f"{path}:{number}", _json_object(line)


def _json_object(line: bytes) -> dict | ValueError:
    try:
        record = json.loads(line)
    except ValueError as error:  # also of bytes that are not UTF-8
        return ValueError(f"is not JSON: {error}")
    except RecursionError:
        return ValueError("is not JSON that can be read: nested too deeply")
    if not isinstance(record, dict):
        return ValueError("is not a JSON object")
    return record


def make_row(record: dict, folder: Path) -> dict:
    """A row from one line. Raises ValueError with the reason why there can be none."""
    _check_types(record)
    if not record.get("image"):
        raise ValueError("names no image")
    path = folder / record["image"]
    row = {"id": str(record.get("id", path.stem)), "prompt": record.get("prompt"), "pair": record.get("pair")}
    row |= text_cells(record)
    row["image"], size = _of(record["image"], image_cell, path)
    for name in HEATMAPS:
        heatmap = record.get(name)
        if heatmap is not None:
            row[name] = _of(heatmap, heatmap_cell, folder / heatmap, size)
    for name in SCORES:
        score = record.get(name)
        if score is not None:
            row[name] = unit_score(score, name)
    row["facts"] = record.get("facts")
    if record.get("defects") is not None:
        row["defects"] = [_defect(defect, folder, size) for defect in record["defects"]]
    return row


def _defect(record: dict, folder: Path, size: Size) -> dict:
    """The fields of the schema; the mask is a path from the folder."""
    defect = {name: record.get(name) for name in DEFECT}
    if defect["mask"] is not None:
        defect["mask"] = _of(str(defect["mask"]), heatmap_cell, folder / str(defect["mask"]), size)
    return defect


def _check_types(record: dict) -> None:
    for name in TEXTS:
        if not isinstance(record.get(name), str | None):
            raise ValueError(f"{name} is not a text")
    for name in LISTS:
        items = record.get(name)
        if items is not None and not _is_list_of_objects(items):
            raise ValueError(f"{name} is not a list of objects")
    if not isinstance(record.get("facts"), dict | None):
        raise ValueError("facts is not an object")


def _is_list_of_objects(items: object) -> bool:
    return isinstance(items, list) and all(isinstance(item, dict) for item in items)


def _of(name: str, read: Callable, *arguments) -> object:
    """What `read` gives; its reasons do not tell which of a row's files is meant."""
    try:
        return read(*arguments)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from error


def text_cells(record: dict) -> dict[str, str | None]:
    """The sections of a line, from its "gpt" turn or from keys of their own; None where there are none.

    Raises:
        ValueError: the turn has none of the sections.
    """
    for turn in record.get("conversations") or []:
        if turn.get("from") != "gpt":
            continue
        explanation = parse(str(turn.get("value")))
        if not explanation:
            raise ValueError("the answer has none of the sections of an explanation")
        return explanation_cells(explanation)
    sections = {section: record.get(section) for section in SECTIONS}
    return explanation_cells(Explanation(**sections))
