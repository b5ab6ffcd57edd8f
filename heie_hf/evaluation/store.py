"""What the network said, on disk: one file per batch, written whole or not at all, so that a killed run goes on."""

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from heie_hf.files import whole_file

from .kept_files import DamagedFileError, EvaluationError, parse_object, reading, save_json

ARRAYS = ("logits", "log_deviation", "patch_grid", "score_states")


@dataclass(frozen=True)
class Shard:
    """The predictions for B images with P = sum of (N_i + 1) patches, before fusion.

    Args:
        records: per image `key`, `score`, `token_score`, `map_score`, the text written and its likelihood.
        failures: `key` and `reason` of the batch's images that have no prediction.
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

    @classmethod
    def of_failures(cls, failures: list[dict]) -> "Shard":
        """A batch without any prediction."""
        no_maps = np.zeros((0, 1, 1), np.float32)
        no_grids = np.zeros((0, 2), np.int64)
        no_states = np.zeros((0, 1), np.float32)
        return cls([], failures, no_maps, no_maps, no_grids, no_states)

    @property
    def num_patches(self) -> list[int]:
        """N_i + 1 of each image."""
        local_patches = self.patch_grid.prod(axis=1)  # (B,)
        return (local_patches + 1).tolist()


def read_shard(path: Path) -> Shard:
    """Raises DamagedFileError."""
    with reading(path, "remove it and run again"), np.load(path, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in ARRAYS}
        return Shard(*_lists(stored), **arrays)


def _lists(stored) -> tuple[list[dict], list[dict]]:
    """Records and failures of an open shard."""
    lists = parse_object(stored["lists"].tobytes())
    return lists["records"], lists["failures"]


@dataclass
class Index:
    """What the shards of a folder hold, without their arrays.

    Args:
        shard_of: key of every image that has a prediction -> its file.
        reasons: key of images that had none -> why.
        damaged: files that cannot be read, in words; what they held counts as missing.
    """

    shard_of: dict[str, Path] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)
    damaged: list[str] = field(default_factory=list)

    def add(self, path: Path) -> None:
        """Raises DamagedFileError, and has nothing of the file then."""
        with reading(path, "its images are predicted again"), np.load(path, allow_pickle=False) as stored:
            records, failures = _lists(stored)
            keys = [record["key"] for record in records]
            reasons = [(failure["key"], failure["reason"]) for failure in failures]
        for key in keys:
            self.shard_of[key] = path
        self.reasons.update(reasons)


class PredictionStore:
    """A folder of shards. `run.json` says what model, data and text they are of, and no others may be added."""

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)

    def claim(self, run: dict) -> None:
        """Make the folder, or make sure that it is of the same run.

        Raises:
            EvaluationError: it holds predictions of another model, data set or kind of text; names the difference.
            DamagedFileError: its run.json cannot be read.
        """
        path = self.folder / "run.json"
        if not path.exists():
            save_json(run, path)
        with reading(path, f"remove {self.folder} or choose another folder"):
            stored = parse_object(path.read_bytes())
        differences = []
        for name, value in run.items():
            before = stored.get(name)
            if before != value:
                differences.append(f"{name} was {before!r}, is {value!r}")
        if differences:
            raise EvaluationError(
                f"{self.folder} holds predictions of another run ({'; '.join(differences)}); "
                "remove it or choose another folder"
            )

    @cached_property
    def index(self) -> Index:
        """What there is, as it is when first asked for."""
        index = Index()
        for path in sorted(self.folder.glob("*.npz")):
            try:
                index.add(path)
            except DamagedFileError as error:
                index.damaged.append(str(error))
        return index

    @property
    def shard_of(self) -> dict[str, Path]:
        """Key of every image that has a prediction -> its file."""
        return self.index.shard_of

    def failures(self, keys: Iterable[str]) -> list[tuple[str, str]]:
        """Key and reason of those images that were tried and have no prediction."""
        failed = []
        for key in keys:
            reason = self.index.reasons.get(key)
            if reason and key not in self.shard_of:
                failed.append((key, reason))
        return failed

    def write(self, shard: Shard) -> None:
        """Add a shard; the same images give the same file name."""
        entries = [*shard.records, *shard.failures]
        keys = "\n".join(entry["key"] for entry in entries)
        digest = hashlib.sha256(keys.encode()).hexdigest()
        lists = {"records": shard.records, "failures": shard.failures}
        code = json.dumps(lists, allow_nan=False).encode()
        arrays = {"lists": np.frombuffer(code, np.uint8)}
        for name in ARRAYS:
            arrays[name] = getattr(shard, name)
        with whole_file(self.folder / f"{digest[:24]}.npz") as draft, draft.open("wb") as file:
            np.savez_compressed(file, **arrays)
