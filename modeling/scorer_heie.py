"""The verisimilitude scorer: one score from the [SCORE] token, one from the heatmap, calibrated (Table 6)."""

import torch
from torch import nn
from torch.nn import functional


def max_pool(maps: torch.Tensor, size: int) -> torch.Tensor:
    """`adaptive_max_pool2d` of (1, H, W) to (1, size, size); exporters know it only as plain windows."""
    height, width = maps.shape[-2:]
    if height % size or width % size:
        return functional.adaptive_max_pool2d(maps, size)
    window = (height // size, width // size)
    return functional.max_pool2d(maps[None], window, window)[0]


class VerisimilitudeScorer(nn.Module):
    """S_token = FFN(state), S_map = conv + FFN(heatmap), S = Calib(S_token, S_map); all in [0, 1], 1 = plausible.

    Args:
        config: an `HEIEScorerConfig`.
        text_size: width of the language model's states.
        score_source: "calibrated", "token" or "map".
        calibration: "weighted" (one learned weight) or "dynamic" (a weight chosen from both hidden states).
    """

    def __init__(self, config, text_size: int, score_source: str, calibration: str):
        super().__init__()
        dim, channels = config.hidden_size, config.num_channels
        self.map_size = config.map_size
        self.score_source = score_source
        self.token_hidden = nn.Sequential(nn.Linear(text_size, dim), nn.GELU())
        self.token_output = nn.Linear(dim, 1)
        self.map_hidden = nn.Sequential(
            nn.Conv2d(2, channels, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1),
            nn.GELU(),
            nn.AdaptiveAvgPool2d(4),
            nn.Flatten(),
            nn.Linear(32 * channels, dim),
            nn.GELU(),
        )
        self.map_output = nn.Linear(dim, 1)
        self.weighted = score_source == "calibrated" and calibration == "weighted"
        if self.weighted:
            self.token_logit = nn.Parameter(torch.zeros(1))  # FSDP cannot shard a scalar
        elif score_source == "calibrated":
            self.gate = nn.Linear(2 * dim, 1)

    def pool(self, heatmaps: list[torch.Tensor]) -> torch.Tensor:
        """Maps of any size -> (B, 2, map_size, map_size): mean, and maximum so that a small defect is not lost."""
        pools = (functional.adaptive_avg_pool2d, max_pool)
        return torch.stack([torch.cat([pool(heatmap[None], self.map_size) for pool in pools]) for heatmap in heatmaps])

    def token_weight(self, token_hidden: torch.Tensor, map_hidden: torch.Tensor) -> torch.Tensor:
        if self.weighted:
            return self.token_logit.float().sigmoid()
        return self.gate(torch.cat([token_hidden, map_hidden], dim=-1)).float().sigmoid().squeeze(-1)

    def forward(
        self, score_state: torch.Tensor, heatmaps: list[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(B, text_size) states and B fused heatmaps -> score, token score, map score, each (B,)."""
        token_hidden = self.token_hidden(score_state)  # (B, dim)
        map_hidden = self.map_hidden(self.pool(heatmaps).to(score_state.dtype))  # (B, dim)
        token_score = self.token_output(token_hidden).float().sigmoid().squeeze(-1)
        map_score = self.map_output(map_hidden).float().sigmoid().squeeze(-1)
        if self.score_source != "calibrated":
            return {"token": token_score, "map": map_score}[self.score_source], token_score, map_score
        weight = self.token_weight(token_hidden, map_hidden)
        return weight * token_score + (1 - weight) * map_score, token_score, map_score
