"""Stored maps of evaluated images, and ways to fuse the local with the global one."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from heie_hf.evaluation import read_data
from heie_hf.evaluation.data import open_heatmap
from heie_hf.evaluation.measure import PARAMETERS
from heie_hf.evaluation.store import PredictionStore, read_shard
from heie_hf.metrics.bootstrap import compare, interval, mean_of
from heie_hf.metrics.heatmap import image_metrics
from heie_hf.modeling.fusion_heie import join_patches, resize_map
from heie_hf.processing.image_processing_heie import area_means

FIGURES = ("cc", "kld", "mse")
PAPER = "e^-s (the paper's)"


@dataclass(frozen=True)
class Maps:
    """One image on the model's canvas, (rows * h, columns * w) each: two heatmaps, their deviations, the target."""

    local_map: np.ndarray
    global_map: np.ndarray
    local_deviation: np.ndarray
    global_deviation: np.ndarray
    target: np.ndarray
    whole_target: np.ndarray  # (H, W), as the data has it


def read_maps(data: str, results: Path) -> Iterator[Maps]:
    """The maps of all images of a data set that have a prediction in a result's folder and a target."""
    rows = read_data(data)
    (folder,) = (results / "predictions").iterdir()
    store = PredictionStore(folder)
    row_of = {key: index for index, key in enumerate(rows.keys)}
    for path in sorted(set(store.shard_of.values())):
        shard = read_shard(path)
        heatmaps = torch.from_numpy(shard.logits).float().sigmoid().split(shard.num_patches)
        deviations = torch.from_numpy(shard.log_deviation).float().exp().split(shard.num_patches)
        for record, grid, *maps in zip(shard.records, shard.patch_grid, heatmaps, deviations, strict=True):
            target = open_heatmap(rows.rows[row_of[record["key"]]]["heatmap"])
            if target is not None:
                (local_map, global_map), (local_s, global_s) = (_join(each, grid.tolist()) for each in maps)
                canvas = area_means(target, *local_map.shape)
                yield Maps(local_map, global_map, local_s, global_s, canvas, target)


def _join(maps: torch.Tensor, grid: list[int]) -> tuple[np.ndarray, np.ndarray]:
    local = join_patches(maps[:-1], *grid)
    return local.numpy(), resize_map(maps[-1], tuple(local.shape)).numpy()


def paper_weight(maps: Maps) -> np.ndarray:
    """Of the local map: e^-s_l / (e^-s_l + e^-s_g)."""
    return 1 / (1 + np.exp(maps.local_deviation - maps.global_deviation))


def power_weight(maps: Maps, power: float, scale: float = 1.0) -> np.ndarray:
    """Of the local map: 1 / s^power, `scale` corrects the local deviation."""
    ratio = (scale * maps.local_deviation / maps.global_deviation) ** power
    return 1 / (1 + ratio)


def average(maps: Maps, weight) -> np.ndarray:
    return weight * maps.local_map + (1 - weight) * maps.global_map


def logit_average(maps: Maps, weight) -> np.ndarray:
    """The weighted mean of the logits."""
    clipped = (np.clip(heatmap, 1e-6, 1 - 1e-6) for heatmap in (maps.local_map, maps.global_map))
    local, other = (np.log(p / (1 - p)) for p in clipped)
    return 1 / (1 + np.exp(-(weight * local + (1 - weight) * other)))


def fusions(dev: list[Maps]) -> dict:
    """Name -> function from maps to the fused heatmap. What is fitted is fitted on the dev scenes."""
    scale, learned = calibration_of(dev), best_weight(dev)
    return {
        "global only": lambda maps: maps.global_map,
        "local only": lambda maps: maps.local_map,
        "a half each": lambda maps: average(maps, 0.5),
        f"one weight, fitted on dev ({learned:.2f} local)": lambda maps: average(maps, learned),
        PAPER: lambda maps: average(maps, paper_weight(maps)),
        "1/s": lambda maps: average(maps, power_weight(maps, 1)),
        "1/s²": lambda maps: average(maps, power_weight(maps, 2)),
        "1/s², s calibrated on dev": lambda maps: average(maps, power_weight(maps, 2, scale)),
        "e^-s, mean of logits": lambda maps: logit_average(maps, paper_weight(maps)),
        "1/s², mean of logits": lambda maps: logit_average(maps, power_weight(maps, 2)),
    }


def calibration_of(dev: list[Maps]) -> float:
    """What the local deviation must be multiplied with to be as honest as the global one, on average."""

    def honesty(name: str) -> float:  # mean of sqrt(2) |error| / s: 1 for a true Laplace deviation
        ratios = [
            math.sqrt(2) * np.abs(getattr(maps, f"{name}_map") - maps.target) / getattr(maps, f"{name}_deviation")
            for maps in dev
        ]
        return float(np.mean([ratio.mean() for ratio in ratios]))

    return honesty("local") / honesty("global")


def best_weight(dev: list[Maps]) -> float:
    """The fixed weight of the local map with the least squared error."""
    gaps = np.concatenate([(maps.local_map - maps.global_map).ravel() for maps in dev])
    errors = np.concatenate([(maps.target - maps.global_map).ravel() for maps in dev])
    return float(np.clip((gaps * errors).sum() / (gaps**2).sum(), 0, 1))


def fusion_table(test: list[Maps], dev: list[Maps]) -> dict:
    """Name -> figure -> value, interval, and the difference to the paper's formula."""
    found = {
        name: [image_metrics(fuse(maps).astype(np.float32), maps.whole_target, **PARAMETERS) for maps in test]
        for name, fuse in fusions(dev).items()
    }
    statistics = {
        name: {figure: mean_of([image[figure] for image in images]) for figure in FIGURES}
        for name, images in found.items()
    }
    table = {}
    for name, figures in statistics.items():
        table[name] = {}
        for figure, statistic in figures.items():
            bounds, gap = interval(statistic), compare(statistic, statistics[PAPER][figure])
            numbers = {"value": bounds.value, "interval": [bounds.low, bounds.high]}
            table[name][figure] = numbers | {"difference_interval": [gap.low, gap.high]}
    return table
