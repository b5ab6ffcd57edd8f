"""From shards to one row of figures per image. No network: other fusions and given heatmaps need no new inference."""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from datasets import Dataset
from torch.utils.data import DataLoader
from tqdm import tqdm

from heie_hf.data.synthetic import DEFECTS, issues_in
from heie_hf.metrics import image_metrics
from heie_hf.metrics.heatmap import RICHHF_EPS
from heie_hf.metrics.text import issue_counts
from heie_hf.processing.image_processing_heie import HEIEImageProcessor

from .data import SECTIONS, EvaluationData, open_heatmap
from .figures import TEXT_FIGURES
from .heads import Heads
from .store import PredictionStore, Shard, read_shard

HeatmapSource = Literal["predicted", "reference"]

#: Parameters of `heie_hf.metrics.image_metrics`, as the published code of RichHF has them.
PARAMETERS = {"size": None, "eps": RICHHF_EPS, "threshold": 0.0, "normalize": None}


class Measurements(torch.utils.data.Dataset):
    """The figures of one shard's images, in the worker processes of a DataLoader."""

    def __init__(self, rows: Dataset, wanted: list[tuple[Path, dict[str, int]]], heads: Heads, heatmap: HeatmapSource):
        """`wanted`: shards, and of each the keys to measure with the numbers of their rows."""
        self.rows, self.wanted, self.heads, self.heatmap = rows, wanted, heads, heatmap

    def __len__(self) -> int:
        return len(self.wanted)

    def __getitem__(self, number: int) -> list[dict]:
        path, row_of = self.wanted[number]
        shard = read_shard(path)
        return [
            {"row": row_of[record["key"]], "shard": path.name, "position": position}
            | self._sample(record, self.rows[row_of[record["key"]]], shard, position, heatmap)
            for position, (record, heatmap) in enumerate(zip(shard.records, self.heads.fuse(shard), strict=True))
            if record["key"] in row_of
        ]

    def _sample(self, record: dict, row: dict, shard: Shard, position: int, heatmap: np.ndarray) -> dict:
        target = open_heatmap(row["heatmap"])
        scores = self._scores(shard.score_states[position], heatmap, target, shard.patch_grid[position])
        return record | scores | _heatmap_figures(heatmap, target) | _labels(row, record)

    def _scores(
        self, state: np.ndarray, heatmap: np.ndarray, target: np.ndarray | None, grid: np.ndarray
    ) -> dict[str, float | None]:
        """The scores that differ from those of the inference, {} where none do."""
        if self.heatmap == "reference":
            if target is None:
                return dict.fromkeys(("score", "token_score", "map_score"))
            heatmap = on_canvas(target, heatmap.shape, grid)
        elif self.heads.own_fusion:
            return {}
        scores = self.heads.score(state, heatmap)
        del scores["token_score"]  # it reads no heatmap; that of the inference has no rounding of its own
        return scores


def on_canvas(target: np.ndarray, shape: tuple[int, int], grid: np.ndarray) -> np.ndarray:
    """A target heatmap (H, W) on the model's canvas, `shape` cells for columns and rows of patches, as in training."""
    columns, rows = grid.tolist()
    cells = {"height": shape[0] // rows, "width": shape[1] // columns}
    processor = HEIEImageProcessor(heatmap_size=cells)
    return processor.join_heatmap(processor.cut_heatmap(target, (columns, rows)), (columns, rows))


def measure(
    data: EvaluationData,
    store: PredictionStore,
    *,
    fusion: str | None = None,
    heatmap: HeatmapSource = "predicted",
    num_workers: int = 2,
) -> list[dict]:
    """One dict per predicted image, in the order of the rows: scores, labels, heatmap metrics and texts.

    What is unknown is None.

    Args:
        fusion: how local and global maps become one (Table 5); None is as the model does.
        heatmap: "reference" feeds the scorer with the data set's heatmap (Table 7); images without one get no score.
    """
    wanted: dict[Path, dict[str, int]] = {}
    for index, key in enumerate(data.keys):
        if key in store.shard_of:
            wanted.setdefault(store.shard_of[key], {})[key] = index
    measurements = Measurements(data.rows, list(wanted.items()), Heads.load(store.folder, fusion), heatmap)
    loader = DataLoader(measurements, batch_size=None, num_workers=num_workers, collate_fn=list)
    samples = []
    with tqdm(total=sum(map(len, wanted.values())), desc=f"{data.label}: metrics", unit="image", disable=None) as bar:
        for group in loader:
            samples += group
            bar.update(len(group))
    return [dict(COLUMNS) | sample for sample in sorted(samples, key=lambda sample: sample["row"])]


HEATMAP_FIGURES = ("gt_sum", "mse", "kld", "cc", "sim", "nss", "auc_judd")
COLUMNS = dict.fromkeys(
    (
        *("key", "row", "score", "token_score", "map_score", "target_score", *HEATMAP_FIGURES, *SECTIONS),
        *("issues_named", "issues_there", "hits", "false_alarms", "misses", *TEXT_FIGURES),
        *("nll_reference", "num_tokens_reference", "nll_generated", "num_tokens_generated", "shard", "position"),
    )
)


def _heatmap_figures(heatmap: np.ndarray, target: np.ndarray | None) -> dict[str, float | None]:
    if target is None:
        return {}
    figures = image_metrics(heatmap, target, **PARAMETERS)
    return {name: None if np.isnan(value) else value for name, value in figures.items()}


def _labels(row: dict, record: dict) -> dict:
    """The row's score, and the issues that the text names against those that are there."""
    labels = {"target_score": row["score"]}
    kinds = {defect["kind"] for defect in row["defects"] or []}
    if row["defects"] is None or not kinds <= set(DEFECTS) or not any(record[name] for name in SECTIONS):
        return labels
    named = issues_in(record["analysis"])
    counts = zip(("hits", "false_alarms", "misses"), issue_counts(named, kinds))
    return labels | {"issues_named": sorted(named), "issues_there": sorted(kinds)} | dict(counts)


def fused_maps(store: PredictionStore, samples: list[dict], fusion: str | None) -> Iterator[np.ndarray]:
    """The fused heatmaps of some samples, read again from their shards."""
    heads = Heads.load(store.folder, fusion)
    for sample in samples:
        yield heads.fuse(read_shard(store.folder / sample["shard"]))[sample["position"]]
