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
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.processing.image_files_heie import read_image

from .kept_files import EvaluationError


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
        """One per row, all different: its id; the second row of an id has "#2" behind it."""
        keys = []
        taken = set()
        repeats = Counter()
        for row_id in self.rows["id"]:
            key = row_id
            while key in taken:
                repeats[row_id] += 1
                key = f"{row_id}#{repeats[row_id] + 1}"
            taken.add(key)
            keys.append(key)
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
    location = root or name
    parent = os.path.dirname(os.path.abspath(location)).rstrip(os.sep) + os.sep
    bad_rows: list[tuple[str, str]] = []

    def leave_out(place: str, reason: str) -> None:
        bad_rows.append((place.removeprefix(parent), reason))

    rows = load(name, root=root, split=split, on_bad_row=leave_out, **options)
    label = name if root else Path(name).resolve().stem
    if split:
        label = f"{label}-{split}"
    source = {"dataset": name, "root": root, "split": split, **options}
    for key, value in source.items():
        source[key] = folder_name(value)
    path_hash = _path_hash([location, *options.values()])
    return EvaluationData(label, rows, source, bad_rows, path_hash)


def _path_hash(values: list) -> str:
    """Tells where the data are from other places, and does not say where they are."""
    absolute = []
    for value in values:
        absolute.append(os.path.abspath(value) if is_path(value) else value)
    digest = hashlib.sha256(repr(absolute).encode())
    return digest.hexdigest()[:16]


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
    roots = _one_per_name(names, roots, "--root")
    splits = _one_per_name(names, splits, "--split")
    data_sets = []
    for name, root, split in zip(names, roots, splits):
        loader_options = _loader_options(name, options)
        data_sets.append(read_data(name, root, split, **loader_options))
    return data_sets


def _one_per_name(names: Sequence[str], values: Sequence[str], option: str) -> list[str | None]:
    if not values:
        return [None] * len(names)
    if len(values) != len(names):
        raise EvaluationError(f'{len(names)} data sets, but {len(values)} of {option}; write "-" for none')
    return [None if value == "-" else value for value in values]


def _loader_options(name: str, options: Sequence[str]) -> dict[str, str | int]:
    """Those that are for every data set or for this one."""
    parsed: dict[str, str | int] = {}
    for option in options:
        target, equals, value = option.partition("=")
        if not equals:
            raise EvaluationError(f"an option is NAME=VALUE, not {option!r}")
        owner, _, key = target.rpartition(":")
        if owner in ("", name):
            parsed[key] = int(value) if value.isdecimal() else value
    return parsed


def open_image(cell: dict) -> Image.Image:
    """The upright RGB image of an undecoded cell. Raises ImageFileError."""
    content = cell["bytes"]
    return read_image(cell["path"] if content is None else BytesIO(content))


def open_heatmap(cell: dict | None) -> np.ndarray | None:
    """(H, W) float32 in [0, 1] of an undecoded cell, None where there is none. Raises ImageFileError."""
    if cell is None:
        return None
    grey = open_image(cell).convert("L")
    return np.asarray(grey, dtype=np.float32) / 255


def reference_text(row: dict) -> dict[str, str] | None:
    """The sections of a row's text by name, None if it has none of them."""
    sections = {name: row[name] or "" for name in SECTIONS}
    has_text = any(sections.values())
    return sections if has_text else None
