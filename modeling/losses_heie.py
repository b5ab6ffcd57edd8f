"""The four losses. Each is a sum over a count, so that batches, accumulation steps and processes add up exactly.

`count` is the number of labelled items over the whole optimiser step; None counts this batch. NaN labels are unknown.
"""

import math

import torch
from torch.nn import functional


def _mean(losses: torch.Tensor, count: torch.Tensor | int | None) -> torch.Tensor:
    return losses.sum() / (max(losses.numel(), 1) if count is None else count)


def lm_loss(logits: torch.Tensor, labels: torch.Tensor, count: torch.Tensor | int | None = None) -> torch.Tensor:
    """Next-token cross-entropy: (B, L, vocabulary) logits, (B, L) labels with -100 = not asked."""
    labels = labels[:, 1:]
    asked = labels != -100
    losses = functional.cross_entropy(logits[:, :-1][asked].float(), labels[asked], reduction="none")
    return _mean(losses, count)


def quality_focal_loss(
    logits: torch.Tensor, target: torch.Tensor, gamma: float, count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """|y - p|^gamma * BCE(p, y), the focal loss where y is 0 or 1, defined for soft y in [0, 1] too. Any shape."""
    known = ~target.isnan()
    logits, target = logits[known].float(), target[known].float()
    cross_entropy = functional.binary_cross_entropy_with_logits(logits, target, reduction="none")
    error = (target - logits.sigmoid()).abs().clamp(min=1e-6)  # below gamma = 1 the slope at an error of 0 is infinite
    return _mean(error.pow(gamma) * cross_entropy, count)


def laplace_nll(
    mean: torch.Tensor, log_deviation: torch.Tensor, target: torch.Tensor, count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Eq. 3: sqrt(2) / s * |H - H_gt| + log s. Any shape; below zero where s is small and the map right."""
    known = ~target.isnan()
    mean, log_deviation, target = mean[known].float(), log_deviation[known].float(), target[known].float()
    return _mean(math.sqrt(2) * (-log_deviation).exp() * (mean - target).abs() + log_deviation, count)


def score_loss(
    scores: list[torch.Tensor], target: torch.Tensor, count: torch.Tensor | int | None = None
) -> torch.Tensor:
    """Squared error of the calibrated score and of its two parts, averaged over the three. (B,) each, in [0, 1]."""
    known = ~target.isnan()
    errors = [(score[known].float() - target[known].float()).pow(2) for score in scores]
    return _mean(torch.stack(errors).mean(dim=0), count)
