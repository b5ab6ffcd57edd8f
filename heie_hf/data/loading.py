"""`load`: every data set by its name, in one schema, bad rows listed.

A data set is a module with two functions. `sources(root, split, **options)` finds the files (FileNotFoundError: what
to download). `entries(**sources)` goes through them and gives, for every row, its place and a function that makes it;
a ValueError from that function is the reason why the row is left out.
"""

import errno
import json
import logging
import os
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType

import datasets
import pyarrow
from datasets import Dataset, IterableDataset
from datasets.exceptions import DatasetGenerationError
from datasets.fingerprint import Hasher

from .fields import files_below
from .schema import FEATURES

FILE_SETS = ("richhf18k", "expl_aigi_eval", "abhuman", "agiqa3k", "aigciqa2023", "aigciqa20k", "folder")
NAMES = (*FILE_SETS, "synthetic")

logger = logging.getLogger("heie_hf.data")

BadRowReport = Callable[[str, str], None]


class BadRowError(ValueError):
    """A row that cannot be used, for those who want none left out."""


def log_bad_row(place: str, reason: str) -> None:
    """A warning in the log."""
    logger.warning("%s: %s", place, reason)


def raise_bad_row(place: str, reason: str) -> None:
    """For `load(..., on_bad_row=raise_bad_row)`: no data set rather than one with rows left out."""
    raise BadRowError(f"{place}: {reason}")


def load(
    name: str | os.PathLike,
    root: str | os.PathLike | None = None,
    split: str | None = None,
    streaming: bool = False,
    on_bad_row: BadRowReport = log_bad_row,
    **options,
) -> Dataset | IterableDataset:
    """A data set in the schema `FEATURES`.

    Images and heatmaps are decoded once to see that they can be. The rows go into an Arrow file of the `datasets`
    cache, files of images as paths; it is used again until a source file changes. With `streaming` nothing is stored
    and the bad rows come up on the way.

    Args:
        name: one of NAMES, or a folder as `heie synthesize` writes it.
        root: the folder of the data set's files, see docs/datasets.md.
        split: by default the first that the data set has (train).
        streaming: return an `IterableDataset`.
        on_bad_row: called with place and reason of every row that is left out; then their number is logged.
            `raise_bad_row` raises instead.
        options: `images`, `richhf`: where else files are; `num_images`, `seed` of "synthetic".

    Raises:
        FileNotFoundError: a file is missing; says what to download and from where.
        ValueError: unknown name or split, no usable row, or data that must not be used as published.
    """
    if name == "synthetic":
        return _synthetic(streaming, **options)
    if name not in FILE_SETS:
        if not Path(name).exists():
            raise ValueError(f"no data set {os.fspath(name)!r}: there are {', '.join(NAMES)}, or give a folder")
        name, root = "folder", name
    if root is None:
        raise ValueError(f"{name} needs root=, the folder of its files")
    module = _module(name)
    sources = module.sources(Path(root).absolute(), **({"split": split} if split else {}), **options)
    if streaming:
        dataset = IterableDataset.from_generator(partial(_streamed_rows, name, sources, on_bad_row), features=FEATURES)
    else:
        dataset = _stored(name, sources, split or "train", on_bad_row)
    dataset.info.description, dataset.info.homepage = _description(module), module.HOME
    return dataset


def _module(name: str) -> ModuleType:
    """Of a data set of FILE_SETS."""
    return import_module("heie_hf.data.folder" if name == "folder" else f"heie_hf.data.published.{name}")


def _description(module) -> str:
    lines = module.__doc__.splitlines()[:1]
    for column, (source, low, high) in getattr(module, "SCALES", {}).items():
        lines.append(f"{column}: {source}, there from {low:g} to {high:g}")
    return "\n".join(lines)


def _rows(name: str, sources: dict, on_bad_row: BadRowReport) -> Iterator[dict]:
    for place, make_row in _module(name).entries(**sources):
        try:
            row = _fitted(make_row())
        except (ValueError, pyarrow.ArrowTypeError) as error:
            on_bad_row(place, str(error))
        else:
            yield row


def _fitted(row: dict) -> dict:
    """All columns, in the types of the schema. Raises ArrowInvalid (a ValueError) or ArrowTypeError if that fails."""
    batch = pyarrow.RecordBatch.from_pylist([row], FEATURES.arrow_schema)
    return batch.to_pylist()[0]


def _streamed_rows(name: str, sources: dict, on_bad_row: BadRowReport) -> Iterator[dict]:
    bad, num_good = [], 0

    def report(place: str, reason: str) -> None:
        bad.append(place)
        on_bad_row(place, reason)

    for row in _rows(name, sources, report):
        num_good += 1
        yield row
    _log_count(name, len(bad), num_good)


def _listed_rows(name: str, sources: dict, list_file: Path) -> Iterator[dict]:
    bad, row = [], None

    def report(place: str, reason: str) -> None:
        bad.append([place, reason])

    for row in _rows(name, sources, report):
        yield row
    if row is None:  # `datasets` cannot store nothing
        first = ", the first for this reason: {}: {}".format(*bad[0]) if bad else ""
        raise ValueError(f"{name}: none of {len(bad)} rows can be used{first}")
    lines = [json.dumps(entry) + "\n" for entry in bad]
    list_file.write_text("".join(lines))


def _stored(name: str, sources: dict, split: str, on_bad_row: BadRowReport) -> Dataset:
    """The rows in an Arrow file, beside it the list of the bad ones; found again by the state of the sources."""
    from heie_hf import __version__

    places = {name: str(source) for name, source in sources.items()}
    key = Hasher.hash([__version__, str(FEATURES), name, places, _state(sources)])
    folder = Path(datasets.config.HF_DATASETS_CACHE) / "heie_hf" / key
    list_file = folder / "bad_rows.jsonl"
    try:
        dataset = Dataset.from_generator(
            partial(_listed_rows, name, sources, list_file),
            features=FEATURES,
            cache_dir=str(folder),
            fingerprint=key,
            split=datasets.NamedSplit(split),
        )
    except DatasetGenerationError as error:
        raise _about_the_cache(error.__cause__) from None
    except OSError as error:
        raise _about_the_cache(error) from error
    bad = [json.loads(line) for line in list_file.read_text().splitlines()]
    for place, reason in bad:
        on_bad_row(place, reason)
    _log_count(name, len(bad), len(dataset))
    return dataset


def _about_the_cache(error: BaseException) -> BaseException:
    """The error itself; where it is about writing the cache, one that says where that is and how to move it."""
    cache = Path(datasets.config.HF_DATASETS_CACHE)
    if not isinstance(error, OSError):
        return error
    is_in_cache = error.filename is not None and Path(os.fsdecode(error.filename)).is_relative_to(cache)
    if not is_in_cache and error.errno != errno.ENOSPC:
        return error
    reason = os.strerror(error.errno) if error.errno else str(error)
    return OSError(
        error.errno, f"{reason}: the cache of `datasets` ({cache}); set HF_HOME to a folder with room for it"
    )


def _log_count(name: str, num_bad: int, num_good: int) -> None:
    if num_bad:
        logger.warning("%s: %d of %d rows left out", name, num_bad, num_bad + num_good)


def _state(sources: dict) -> list[tuple[str, int, int]]:
    """Size and time of every source file: what the stored rows were made from."""
    files = []
    for path in sources.values():
        if not isinstance(path, Path):
            continue
        for file in files_below(path) if path.is_dir() else [path]:
            status = file.lstat()  # a dangling link is the row's concern
            files.append((str(file), status.st_size, status.st_mtime_ns))
    return files


def _synthetic(streaming: bool, num_images: int = 1000, seed: int = 0) -> Dataset | IterableDataset:
    from .synthetic import load as draw_all

    if not streaming:
        return draw_all(num_images, seed)
    return IterableDataset.from_generator(partial(_scenes, num_images, seed), features=FEATURES)


def _scenes(num_images: int, seed: int) -> Iterator[dict]:
    from .synthetic import draw_scene
    from .synthetic.export import scene_id, to_row

    for index in range(num_images):
        yield _fitted(to_row(draw_scene(seed, index), scene_id(seed, index)))
