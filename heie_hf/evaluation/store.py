"""What the network said, on disk: one file per batch, written whole or not at all, so that a killed run goes on."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from heie_hf.files import whole_file


class EvaluationError(ValueError):
    """Something that was asked for cannot be evaluated; says what and why."""


@dataclass(frozen=True)
class Shard:
    """The predictions for B images with P = sum of (N_i + 1) patches, before fusion.

    Args:
        records: per image `key`, `score`, `token_score`, `map_score`, the text written and its likelihood.
        failures: `key` and `reason` of the batch's images that cannot be read.
        logits, log_deviation: (P, h, w) heatmap logits and log s of every patch, thumbnails last.
        patch_grid: (B, 2) columns and rows.
        score_states: (B, D) float32, the state at [SCORE].
    """

    records: list[dict]
    failures: list[dict]
    logits: np.ndarray
    log_deviation: np.ndarray
    patch_grid: np.ndarray
    score_states: np.ndarray

    @property
    def num_patches(self) -> list[int]:
        return [int(columns * rows + 1) for columns, rows in self.patch_grid]


ARRAYS = ("logits", "log_deviation", "patch_grid", "score_states")


class PredictionStore:
    """A folder of shards. `run.json` says what model, data and text they are of, and no others may be added."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def claim(self, run: dict) -> None:
        """Make the folder, or make sure that it is of the same run.

        Raises:
            EvaluationError: it holds predictions of another model, data set or kind of text; names the difference.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / "run.json"
        if not path.exists():
            write_whole(path, json.dumps(run, indent=2).encode())
        before = json.loads(path.read_text())
        changed = [name for name in run if before.get(name) != run[name]]
        if changed:
            difference = "; ".join(f"{name} was {before.get(name)!r}, is {run[name]!r}" for name in changed)
            raise EvaluationError(
                f"{self.folder} holds predictions of another run ({difference}); remove it or choose another folder"
            )

    @cached_property
    def _index(self) -> tuple[dict[str, Path], dict[str, str]]:
        shard_of, reasons = {}, {}
        for path in sorted(self.folder.glob("*.npz")):
            with np.load(path) as arrays:
                lists = _lists(arrays)
            shard_of.update((record["key"], path) for record in lists["records"])
            reasons.update((failure["key"], failure["reason"]) for failure in lists["failures"])
        return shard_of, reasons

    @property
    def shard_of(self) -> dict[str, Path]:
        """Key of every image that has a prediction -> its file, as they are when first asked for."""
        return self._index[0]

    def failures(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        """Key and reason of those images that could not be read and have no prediction."""
        shard_of, reasons = self._index
        return [(key, reasons[key]) for key in keys if key in reasons and key not in shard_of]

    def write(self, shard: Shard) -> None:
        """Add a shard; the same images give the same file name."""
        keys = [entry["key"] for entry in [*shard.records, *shard.failures]]
        name = hashlib.sha256("\n".join(keys).encode()).hexdigest()[:24]
        lists = json.dumps({"records": shard.records, "failures": shard.failures})
        arrays = {name: getattr(shard, name) for name in ARRAYS}
        with whole_file(self.folder / f"{name}.npz") as draft, draft.open("wb") as file:
            np.savez_compressed(file, lists=np.frombuffer(lists.encode(), np.uint8), **arrays)


def read_shard(path: Path) -> Shard:
    with np.load(path) as arrays:
        return Shard(**_lists(arrays), **{name: arrays[name] for name in ARRAYS})


def write_whole(path: Path, content: bytes) -> None:
    """A reader never finds half a file."""
    with whole_file(path) as draft:
        draft.write_bytes(content)


def _lists(arrays) -> dict[str, list[dict]]:
    return json.loads(arrays["lists"].tobytes())
