"""`results.jsonl` in the output folder: a line for each finished image, by which an interrupted run goes on."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from heie_hf.files import disk_errors_name, whole_file

from .paths import as_text, picture_paths

NAME = "results.jsonl"


class ResultsFile:
    """A line is added when an image is done, pictures first: what has a line has its pictures.

    Args:
        folder: of the results.
        records: those of earlier runs that stay.
    """

    def __init__(self, folder: Path, records: Iterable[dict[str, Any]] = ()):
        self.path = folder / NAME
        lines = [_line(record) for record in records]
        with whole_file(self.path) as draft:
            draft.write_text("".join(lines), encoding="utf-8")

    def add(self, record: dict[str, Any]) -> None:
        """Write a line, whole or not at all.

        Raises:
            OSError: if it cannot be written.
        """
        size = self.path.stat().st_size
        with disk_errors_name(self.path):
            try:
                with self.path.open("a", encoding="utf-8") as file:
                    file.write(_line(record))
            except OSError:
                os.truncate(self.path, size)
                raise


def finished_images(folder: Path, names: dict[str, str]) -> dict[str, dict[str, Any]]:
    """The records of the images that an earlier run finished: those whose line and whose pictures are there.

    Args:
        folder: of the results; need not have a `results.jsonl`.
        names: path of each image, and the name of its pictures.
    """
    records = _read(folder / NAME)
    finished = {}
    for path, name in names.items():
        record = records.get(as_text(path), {})
        pictures = picture_paths(folder, name)
        missing = [kind for kind, picture in pictures.items() if not picture.is_file()]
        renamed = [kind for kind, picture in pictures.items() if record.get(kind) != as_text(picture)]
        if not missing and not renamed:
            finished[path] = record
    return finished


def _read(path: Path) -> dict[str, dict[str, Any]]:
    """By image; what is no record is left out, such as a line that a killed run began."""
    records = {}
    if not path.is_file():
        return records
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict) and isinstance(record.get("image"), str):
            records[record["image"]] = record
    return records


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, allow_nan=False) + "\n"
