"""From shards to one row of figures per image. No network: other fusions and given heatmaps need no new inference."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm import tqdm

from heie_hf.metrics import image_metrics
from heie_hf.metrics.heatmap import RICHHF_EPS
from heie_hf.processing.image_files_heie import ImageFileError
from heie_hf.processing.image_processing_heie import area_means

from .data import EvaluationData, open_heatmap
from .heads import Heads
from .kept_files import DamagedFileError
from .samples import UNKNOWN, finite
from .store import PredictionStore, read_shard
from .text_truth import text_figures
from .twins import flawed_twins, twin_figures

HeatmapSource = Literal["predicted", "reference"]

#: Parameters of `heie_hf.metrics.image_metrics`, as the published code of RichHF has them.
PARAMETERS = {"size": None, "eps": RICHHF_EPS, "threshold": 0.0, "normalize": None}


@dataclass
class Measured:
    """What came out of measuring some images.

    Args:
        samples: one dict per image, with the columns of `samples.SCHEMA`.
        failures: key and reason of the images whose heatmap cannot be read.
        damage: why a shard cannot be read. Raised in a worker process, an error would lose its plain message.
    """

    samples: list[dict] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    damage: DamagedFileError | None = None


def measure(
    data: EvaluationData,
    store: PredictionStore,
    *,
    fusion: str | None = None,
    heatmap: HeatmapSource = "predicted",
    num_workers: int = 2,
) -> Measured:
    """The figures of every predicted image, in the order of the rows.

    Args:
        fusion: how local and global maps become one (Table 5); None is as the model does.
        heatmap: "reference" feeds the scorer with the data set's heatmap (Table 7); images without one get no score.

    Raises:
        DamagedFileError: a shard or the heads cannot be read.
        EvaluationError: the model has no such fusion.
    """
    rows_of_shards: dict[Path, dict[str, int]] = {}
    for row_number, key in enumerate(data.keys):
        if key in store.shard_of:
            rows_of_shard = rows_of_shards.setdefault(store.shard_of[key], {})
            rows_of_shard[key] = row_number
    heads = Heads.load(store.folder, fusion)
    shards = ShardMeasurements(data.rows, list(rows_of_shards.items()), heads, heatmap, flawed_twins(data))
    loader = DataLoader(shards, batch_size=None, num_workers=num_workers, collate_fn=_unchanged)
    num_images = sum(map(len, rows_of_shards.values()))
    measured = Measured()
    with tqdm(total=num_images, desc=f"{data.label}: metrics", unit="image", disable=None) as progress:
        for of_shard in loader:
            if of_shard.damage:
                raise of_shard.damage
            measured.samples += of_shard.samples
            measured.failures += of_shard.failures
            progress.update(len(of_shard.samples) + len(of_shard.failures))
    measured.samples.sort(key=lambda sample: sample["row"])
    return measured


def _unchanged(measured: Measured) -> Measured:
    return measured


@dataclass(frozen=True)
class ShardMeasurements(torch.utils.data.Dataset):
    """The figures of one shard's images after the other, in the worker processes of a DataLoader.

    Args:
        shards: their files, and of each the keys to measure with the numbers of their rows.
        flawed_twins: see `twins.flawed_twins`.
    """

    rows: Dataset
    shards: list[tuple[Path, dict[str, int]]]
    heads: Heads
    heatmap: HeatmapSource
    flawed_twins: dict[int, int]

    def __len__(self) -> int:
        return len(self.shards)

    def __getitem__(self, number: int) -> Measured:
        path, row_numbers = self.shards[number]
        try:
            shard = read_shard(path)
        except DamagedFileError as error:
            return Measured(damage=error)
        heatmaps = self.heads.fuse(shard)
        measured = Measured()
        for position, record in enumerate(shard.records):
            key = record["key"]
            if key not in row_numbers:
                continue
            row_number = row_numbers[key]
            place = {"row": row_number, "shard": path.name, "position": position}
            state = shard.score_states[position]
            try:
                figures = self._figures(self.rows[row_number], record, heatmaps[position], state)
                if row_number in self.flawed_twins:
                    flawed = self.rows[self.flawed_twins[row_number]]
                    figures |= twin_figures(flawed, heatmaps[position])
            except ImageFileError as error:
                measured.failures.append((key, f"its heatmap: {error}"))
            else:
                measured.samples.append(UNKNOWN | record | place | figures)
        return measured

    def _figures(self, row: dict, record: dict, heatmap: np.ndarray, state: np.ndarray) -> dict:
        """What is not in the image's record, or not as it is there. Raises ImageFileError."""
        target = open_heatmap(row["heatmap"])
        figures = {"target_score": row["score"]}
        if self.heatmap == "reference":
            figures |= self._scores_given(target, state, heatmap.shape)
        elif not self.heads.own_fusion:
            figures |= self._scores(state, heatmap)
        if target is not None:
            figures |= _heatmap_figures(heatmap, target)
        return figures | text_figures(row, record)

    def _scores_given(self, target: np.ndarray | None, state: np.ndarray, shape: tuple[int, int]) -> dict:
        """The scores of an image from its true heatmap (H, W), None where there is none."""
        if target is None:
            return dict.fromkeys(("score", "token_score", "map_score"))
        return self._scores(state, area_means(target, *shape))  # on the model's canvas, as in training

    def _scores(self, state: np.ndarray, heatmap: np.ndarray) -> dict[str, float | None]:
        scores = self.heads.score(state, heatmap)
        # The token's score reads no heatmap; that of the inference has no rounding of its own.
        return {"score": finite(scores["score"]), "map_score": finite(scores["map_score"])}


def _heatmap_figures(heatmap: np.ndarray, target: np.ndarray) -> dict[str, float | None]:
    figures = image_metrics(heatmap, target, **PARAMETERS)
    return {name: finite(value) for name, value in figures.items()}


def fused_maps(store: PredictionStore, samples: list[dict], fusion: str | None) -> Iterator[np.ndarray]:
    """The fused heatmaps of some samples, read again from their shards."""
    heads = Heads.load(store.folder, fusion)
    name, heatmaps = None, []
    for sample in samples:
        if sample["shard"] != name:  # neighbours are often of one shard
            name = sample["shard"]
            heatmaps = heads.fuse(read_shard(store.folder / name))
        yield heatmaps[sample["position"]]
