"""Data sets for other tools: tasks for Label Studio, a table for spreadsheets.

Formats of Label Studio as documented at labelstud.io/guide/export and /guide/predictions: boxes in percent of the
image, masks as its own run-length code.
"""

import csv
import itertools
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from heie_hf.files import whole_file
from heie_hf.metrics.human import no_formula
from heie_hf.processing.explanation_heie import SECTIONS

from .paths import id_file_name, save_png

LABEL = "Implausible"
CONFIG = f"""\
<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="box" toName="image"><Label value="{LABEL}" background="red"/></RectangleLabels>
  <BrushLabels name="brush" toName="image"><Label value="{LABEL}" background="red"/></BrushLabels>
  <TextArea name="description" toName="image" editable="true" maxSubmissions="1"/>
  <TextArea name="regions" toName="image" editable="true" maxSubmissions="1"/>
  <TextArea name="analysis" toName="image" editable="true" maxSubmissions="1"/>
</View>
"""
COLUMNS = ("id", "image", "score", *SECTIONS, "prompt")
#: Bits of a run's length, by class; a run is at most as long as the last one can tell.
RUN_BITS = (3, 4, 8, 16)


def export_label_studio(rows: Iterable[dict], folder: Path, image_prefix: str = "") -> None:
    """tasks.json, config.xml (the labelling interface) and images/ in `folder`.

    Each task has an image, and as its prediction the boxes and masks of the defects and the three sections, to be put
    right by people.

    Args:
        rows: of `heie_hf.data.schema.FEATURES`, decoded.
        image_prefix: goes before images/NAME.png: the address at which Label Studio finds `folder`, such as
            "/data/local-files/?d=export/".

    Raises:
        OSError: the folder cannot be written.
    """
    tasks = []
    for row in rows:
        place = f"images/{id_file_name(row['id'])}.png"
        save_png(row["image"].convert("RGB"), folder / place)
        data = {"image": image_prefix + place, "id": row["id"], "score": row["score"]}
        prediction = {"model_version": "heie-hf", "result": label_studio_result(row)}
        tasks.append({"data": data, "predictions": [prediction]})
    _write(folder / "tasks.json", json.dumps(tasks, indent=1, allow_nan=False))
    _write(folder / "config.xml", CONFIG)


def label_studio_result(row: dict) -> list[dict]:
    """Boxes, masks and texts of a row as Label Studio's annotations."""
    size = {"original_width": row["image"].width, "original_height": row["image"].height, "image_rotation": 0}
    results = []

    def add(kind: str, name: str, value: dict) -> None:
        number = len(results) + 1
        results.append({"id": f"r{number}", "type": kind, "from_name": name, "to_name": "image", "value": value})

    for defect in row["defects"] or []:
        if defect["box"] is not None:
            add("rectanglelabels", "box", {**_percent(defect["box"], row["image"]), "rectanglelabels": [LABEL]})
            results[-1] |= size
        if defect["mask"] is not None:
            code = brush_code(np.asarray(defect["mask"].convert("L")) > 127)
            add("brushlabels", "brush", {"format": "rle", "rle": code, "brushlabels": [LABEL]})
            results[-1] |= size
    for section in SECTIONS:
        if row[section]:
            add("textarea", section, {"text": [row[section]]})
    return results


def _percent(box: list[float], image: Image.Image) -> dict[str, float]:
    x0, y0, x1, y1 = box
    across, down = 100 / image.width, 100 / image.height
    return {
        "x": x0 * across,
        "y": y0 * down,
        "width": (x1 - x0) * across,
        "height": (y1 - y0) * down,
        "rotation": 0,
    }


def brush_code(mask: np.ndarray) -> list[int]:
    """(H, W) bool as Label Studio's brush code: bytes of a bit stream.

    Number of values (32 bits), word size - 1 (5 bits), four sizes - 1 (4 bits each), then runs: 1, class of size (2
    bits), length - 1 in so many bits, value (8 bits). The values are the pixels row by row, each four times (RGBA).
    """
    flat = mask.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    edges = [0, *changes.tolist(), len(flat)]
    bits = [f"{4 * len(flat):032b}", f"{7:05b}"]
    bits += [f"{size - 1:04b}" for size in RUN_BITS]
    longest = 1 << RUN_BITS[-1]
    for start, end in itertools.pairwise(edges):
        value = 255 if flat[start] else 0
        length = 4 * (end - start)
        while length:
            part = min(length, longest)
            bits.append(_run(part, value))
            length -= part
    stream = "".join(bits)
    stream += "0" * (-len(stream) % 8)
    return list(int(stream, 2).to_bytes(len(stream) // 8))


def _run(length: int, value: int) -> str:
    """In the smallest size that can tell the length."""
    for number, size in enumerate(RUN_BITS):
        if length <= 1 << size:
            return f"1{number:02b}{length - 1:0{size}b}{value:08b}"
    raise ValueError(f"a run of {length} is too long")


def export_csv(rows: Iterable[dict], folder: Path, image_prefix: str = "") -> None:
    """rows.csv and images/ in `folder`: a line per row, with the number of its defects.

    Cells that a spreadsheet would take for formulas have an apostrophe before them.

    Arguments and errors as in `export_label_studio`.
    """
    with whole_file(folder / "rows.csv") as draft, draft.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*COLUMNS, "num_defects"])
        for row in rows:
            place = f"images/{id_file_name(row['id'])}.png"
            save_png(row["image"].convert("RGB"), folder / place)
            values = row | {"image": image_prefix + place}
            cells = []
            for column in COLUMNS:
                value = values[column]
                cells.append(no_formula(value) if isinstance(value, str) else value)
            table.writerow([*cells, None if row["defects"] is None else len(row["defects"])])


def _write(path: Path, text: str) -> None:
    with whole_file(path) as draft:
        draft.write_text(text, encoding="utf-8")


Export = Callable[[Iterable[dict], Path, str], None]
#: By name, as the command takes them.
EXPORTS: dict[str, Export] = {"label-studio": export_label_studio, "csv": export_csv}
