"""The adaptive hierarchical implausibility mapper (Eq. 1): a heatmap per patch, from map token and features."""

import math

import torch
from torch import nn


class Attention(nn.Module):
    """Multi-head attention over a handful of queries; explicit softmax, exact in every dtype and on every device."""

    def __init__(self, hidden_size: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.q_proj = nn.Linear(hidden_size, hidden_size)
        self.k_proj = nn.Linear(hidden_size, hidden_size)
        self.v_proj = nn.Linear(hidden_size, hidden_size)
        self.o_proj = nn.Linear(hidden_size, hidden_size)

    def _split(self, states: torch.Tensor) -> torch.Tensor:
        batch, length, dim = states.shape
        return states.view(batch, length, self.num_heads, dim // self.num_heads).transpose(1, 2)  # (b, heads, n, d)

    def forward(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        query, key, value = (
            self._split(project(states))
            for project, states in ((self.q_proj, query), (self.k_proj, key), (self.v_proj, value))
        )
        weights = (query @ key.transpose(2, 3)) * query.shape[-1] ** -0.5
        weights = weights.softmax(dim=-1, dtype=torch.float32).to(value.dtype)
        return self.o_proj((weights @ value).transpose(1, 2).flatten(2))  # (b, n, dim)


class TwoWayBlock(nn.Module):
    """One layer of Eq. 1: tokens attend to themselves and to the features, then the features to the tokens.

    The literal equation has no residuals; with residuals, norms and positions as in SAM's two-way block a map can
    vary over its patch at all.
    """

    def __init__(self, config):
        super().__init__()
        dim, eps = config.hidden_size, config.layer_norm_eps
        self.self_attention = Attention(dim, config.num_attention_heads)
        self.token_to_feature = Attention(dim, config.num_attention_heads)
        self.feature_to_token = Attention(dim, config.num_attention_heads)
        self.mlp = nn.Sequential(
            nn.Linear(dim, config.intermediate_size), nn.GELU(), nn.Linear(config.intermediate_size, dim)
        )
        self.norm_self = nn.LayerNorm(dim, eps=eps)
        self.norm_token = nn.LayerNorm(dim, eps=eps)
        self.norm_mlp = nn.LayerNorm(dim, eps=eps)
        self.norm_feature = nn.LayerNorm(dim, eps=eps)

    def forward(
        self, tokens: torch.Tensor, features: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        keys = features + positions
        tokens = self.norm_self(tokens + self.self_attention(tokens, tokens, tokens))
        tokens = self.norm_token(tokens + self.token_to_feature(tokens, keys, features))  # C_T
        tokens = self.norm_mlp(tokens + self.mlp(tokens))  # T'
        features = self.norm_feature(features + self.feature_to_token(keys, tokens, tokens))  # C_F
        return tokens, features


class LayerNorm2d(nn.LayerNorm):
    """LayerNorm over the channels of (b, c, h, w)."""

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        return super().forward(states.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class MapOutput(nn.Conv2d):
    """The last layer: heatmap logit and log s per cell. A class of its own because its bias is initialised."""


def sincos_positions(side: int, dim: int, like: torch.Tensor) -> torch.Tensor:
    """Fixed 2-D sine-cosine positions of a side x side grid, row by row: (side * side, dim)."""
    rates = torch.exp(torch.arange(dim // 4, device=like.device) * (-math.log(10_000.0) / (dim // 4)))
    angles = torch.arange(side, device=like.device)[:, None] * rates  # (side, dim / 4)
    axis = torch.cat([angles.sin(), angles.cos()], dim=-1)  # (side, dim / 2)
    rows, columns = axis[:, None].expand(-1, side, -1), axis[None].expand(side, -1, -1)
    return torch.cat([rows, columns], dim=-1).flatten(0, 1).to(like.dtype)


class ImplausibilityMapper(nn.Module):
    """Map token states and vision features to a heatmap and its log-deviation, patch by patch.

    Args:
        config: an `HEIEMapperConfig`.
        text_size: width of the language model's states.
        vision_size: width of the vision tower's states.
    """

    def __init__(self, config, text_size: int, vision_size: int):
        super().__init__()
        dim = config.hidden_size
        self.num_queries = config.num_queries
        self.min_log_deviation = config.min_log_deviation
        self.token_proj = nn.Linear(text_size, config.num_queries * dim)
        self.feature_norm = nn.LayerNorm(vision_size, eps=config.layer_norm_eps)
        self.feature_proj = nn.Linear(vision_size, dim)
        self.layers = nn.ModuleList([TwoWayBlock(config) for _ in range(config.num_hidden_layers)])
        self.upsample = nn.Sequential()
        for _ in range(int(math.log2(config.upsample_factor))):
            self.upsample.extend([nn.ConvTranspose2d(dim, dim // 2, 2, stride=2), LayerNorm2d(dim // 2), nn.GELU()])
            dim //= 2
        self.output = MapOutput(dim, 2, 3, padding=1)

    def forward(self, map_states: torch.Tensor, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(P, text_size) states and (P, side², vision_size) features -> heatmap logits and log s, each (P, h, w)."""
        tokens = self.token_proj(map_states).unflatten(-1, (self.num_queries, -1))  # (P, queries, dim)
        features = self.feature_proj(self.feature_norm(features))  # (P, side², dim)
        side = math.isqrt(features.shape[1])
        positions = sincos_positions(side, features.shape[-1], features)
        for layer in self.layers:
            tokens, features = layer(tokens, features, positions)
        grid = features.transpose(1, 2).unflatten(-1, (side, side))  # (P, dim, side, side)
        logits, log_deviation = self.output(self.upsample(grid)).float().unbind(dim=1)  # 2 x (P, h, w)
        bound = self.min_log_deviation
        return logits, bound + nn.functional.softplus(log_deviation - bound)
