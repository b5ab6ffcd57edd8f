"""The data set of an evaluation: rows with pictures as stored, a key for each, and what could not be read."""

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from io import BytesIO
from pathlib import Path

import numpy as np
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image

from heie_hf.data import load
from heie_hf.processing.image_files_heie import read_image

from .store import EvaluationError

SECTIONS = ("description", "regions", "analysis")


@dataclass(frozen=True)
class EvaluationData:
    """One data set to evaluate on.

    Args:
        label: its name in tables and folders.
        rows: rows of `heie_hf.data.schema.FEATURES`; image and heatmap are kept undecoded.
        source: where it came from (dataset, root, split ...), kept with the results: names, no paths of this machine.
        bad_rows: place and reason of rows that the loader left out.
        path_hash: tells folders of the same name apart; predictions for one are not used for another.
    """

    label: str
    rows: Dataset
    source: dict = field(default_factory=dict)
    bad_rows: list[tuple[str, str]] = field(default_factory=list)
    path_hash: str = ""

    def __post_init__(self):
        rows = self.rows
        for column in ("image", "heatmap"):
            rows = rows.cast_column(column, ImageFeature(decode=False))
        object.__setattr__(self, "rows", rows)

    @cached_property
    def keys(self) -> list[str]:
        """One per row: its id; the second row of an id has "#2" behind it."""
        seen, keys = Counter(), []
        for identity in self.rows["id"]:
            seen[identity] += 1
            keys.append(identity if seen[identity] == 1 else f"{identity}#{seen[identity]}")
        return keys

    @property
    def identity(self) -> dict:
        """What predictions are kept with, and compared with before others are added."""
        return {**self.source, "path_hash": self.path_hash}


def read_data(name: str, root: str | None = None, split: str | None = None, **options) -> EvaluationData:
    """A registered data set or a folder as `heie synthesize` writes it; see `heie_hf.data.load`.

    Raises:
        FileNotFoundError, ValueError: as `load` does.
    """
    bad_rows: list[tuple[str, str]] = []
    rows = load(name, root=root, split=split, on_bad_row=lambda *row: bad_rows.append(row), **options)
    label = "-".join(filter(None, (name if root else Path(name).resolve().stem, split)))
    given = {"dataset": name, "root": root, "split": split, **options}
    source = {key: folder_name(value) for key, value in given.items()}
    paths = [os.path.abspath(value) if is_path(value) else value for value in (root or name, *options.values())]
    path_hash = hashlib.sha256(repr(paths).encode()).hexdigest()[:16]
    parent = os.path.join(os.path.dirname(os.path.abspath(root or name)), "")
    bad_rows = [(row.removeprefix(parent), reason) for row, reason in bad_rows]
    return EvaluationData(label, rows, source, bad_rows, path_hash)


def is_path(value) -> bool:
    return isinstance(value, str) and (os.path.isabs(value) or os.path.exists(value))


def folder_name(value):
    """The last part of a path, so that results do not tell where on a machine they were made; the rest as it is."""
    return Path(value).resolve().name if is_path(value) else value


def read_all(
    names: Sequence[str], roots: Sequence[str] = (), splits: Sequence[str] = (), options: Sequence[str] = ()
) -> list[EvaluationData]:
    """Several data sets, as a command line names them.

    Args:
        roots, splits: none, or one per name, "-" where there is none.
        options: NAME=VALUE for the loader; [DATA SET]:NAME=VALUE for that of one data set only.

    Raises:
        EvaluationError: for another number of roots or splits, or an option without "=".
        FileNotFoundError, ValueError: as `load` does.
    """
    for what, values in (("root", roots), ("split", splits)):
        if values and len(values) != len(names):
            raise EvaluationError(f'{len(names)} data sets, but {len(values)} of --{what}; write "-" for none')
    rows = zip(names, roots or ["-"] * len(names), splits or ["-"] * len(names))
    given = [[None if value == "-" else value for value in row] for row in rows]
    return [read_data(*row, **_options(row[0], options)) for row in given]


def _options(name: str, options: Sequence[str]) -> dict[str, str | int]:
    found = {}
    for option in options:
        key, equals, value = option.partition("=")
        if not equals:
            raise EvaluationError(f"an option is NAME=VALUE, not {option!r}")
        owner, _, key = key.rpartition(":")
        if owner in ("", name):
            found[key] = int(value) if value.isdecimal() else value
    return found


def open_image(cell: dict) -> Image.Image:
    """The upright RGB image of an undecoded cell. Raises ImageFileError."""
    return read_image(cell["path"] if cell["bytes"] is None else BytesIO(cell["bytes"]))


def open_heatmap(cell: dict | None) -> np.ndarray | None:
    """(H, W) float32 in [0, 1] of an undecoded cell, None where there is none. Raises ImageFileError."""
    return None if cell is None else np.asarray(open_image(cell).convert("L"), dtype=np.float32) / 255


def reference_text(row: dict) -> dict[str, str] | None:
    """The sections of a row's text by name, None if it has none of them."""
    sections = {name: row[name] or "" for name in SECTIONS}
    return sections if any(sections.values()) else None
