"""From the maps of single patches to one heatmap of the image (Eq. 2 and 3, Table 5)."""

from dataclasses import dataclass

import torch
from torch import nn


def join_patches(maps: torch.Tensor, columns: int, rows: int) -> torch.Tensor:
    """Eq. 2: (rows * columns, h, w), row by row -> (rows * h, columns * w)."""
    height, width = maps.shape[-2:]
    grid = maps.view(rows, columns, height, width).transpose(1, 2)  # (rows, h, columns, w)
    return grid.reshape(rows * height, columns * width)


def resize_map(heatmap: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Bilinear, (h, w) -> size."""
    return nn.functional.interpolate(heatmap[None, None], size=size, mode="bilinear", align_corners=False)[0, 0]


def to_patch_order(num_patches: list[int], device: torch.device | None = None) -> torch.Tensor:
    """Index (P,) from the order of the map tokens (global first) to that of the patches (thumbnail last)."""
    order, start = [], 0
    for count in num_patches:
        order += [*range(start + 1, start + count), start]
        start += count
    return torch.tensor(order, device=device)


@dataclass
class FusedHeatmap:
    """Maps of one image, each (rows * h, columns * w): heatmaps in [0, 1] and the fused map's Laplace deviation."""

    fused: torch.Tensor
    local_map: torch.Tensor
    global_map: torch.Tensor
    deviation: torch.Tensor


class HeatmapFuser(nn.Module):
    """Joins the local maps, enlarges the global one to the same canvas and averages the two.

    `fusion`: uncertainty (weights e^-s, normalised; Eq. 3), learned (one weight), fixed (a half each), local, global.
    `uncertainty`: "pixel", or "map" for the mean of log s over each patch.
    """

    def __init__(self, fusion: str, uncertainty: str):
        super().__init__()
        self.fusion = fusion
        self.uncertainty = uncertainty
        if fusion == "learned":
            self.local_logit = nn.Parameter(torch.zeros(1))  # FSDP cannot shard a scalar

    def local_weight(self, local_deviation: torch.Tensor, global_deviation: torch.Tensor) -> torch.Tensor | float:
        """Weight of the local map, in [0, 1]; the global one has the rest."""
        if self.fusion == "uncertainty":  # e^-s_l / (e^-s_l + e^-s_g)
            return torch.sigmoid(global_deviation - local_deviation)
        if self.fusion == "learned":
            return self.local_logit.float().sigmoid()
        return {"fixed": 0.5, "local": 1.0, "global": 0.0}[self.fusion]

    def fuse(self, heatmap: torch.Tensor, deviation: torch.Tensor, columns: int, rows: int) -> FusedHeatmap:
        """(N + 1, h, w) maps of one image, thumbnail last."""
        local_map, local_deviation = (join_patches(maps[:-1], columns, rows) for maps in (heatmap, deviation))
        size = tuple(local_map.shape)
        global_map, global_deviation = (resize_map(maps[-1], size) for maps in (heatmap, deviation))
        weight = self.local_weight(local_deviation, global_deviation)
        return FusedHeatmap(
            fused=weight * local_map + (1 - weight) * global_map,
            local_map=local_map,
            global_map=global_map,
            deviation=weight * local_deviation + (1 - weight) * global_deviation,
        )

    def forward(
        self, logits: torch.Tensor, log_deviation: torch.Tensor, num_patches: list[int], patch_grid: list[list[int]]
    ) -> list[FusedHeatmap]:
        """(P, h, w) heatmap logits and log s of a batch -> the fused maps of its B images."""
        if self.uncertainty == "map":
            log_deviation = log_deviation.mean(dim=(1, 2), keepdim=True).expand_as(log_deviation)
        maps = zip(logits.sigmoid().split(num_patches), log_deviation.exp().split(num_patches), strict=True)
        return [self.fuse(*pair, *grid) for pair, grid in zip(maps, patch_grid, strict=True)]
