"""What HEIE's forward pass and its decoding return."""

from dataclasses import dataclass

import torch
from transformers.generation import GenerateDecoderOnlyOutput
from transformers.models.internvl.modeling_internvl import InternVLCausalLMOutputWithPast, InternVLModelOutputWithPast
from transformers.utils import ModelOutput


@dataclass
class HEIEAssessment(ModelOutput):
    """What HEIE sees in B images. Maps are lists of B float32 tensors (rows * h, columns * w).

    Args:
        heatmap: fused heatmap H in [0, 1], 0 = plausible.
        local_heatmap: H_l, the joined maps of the patches.
        global_heatmap: H_g, the thumbnail's map on the same canvas.
        uncertainty: Laplace deviation s > 0 of the fused heatmap, in units of the heatmap.
        score: (B,) float32 in [0, 1], 1 = plausible.
        token_score: (B,) S_token, read from the [SCORE] token.
        map_score: (B,) S_map, read from the fused heatmap.
        patch_logits: (P, h, w) float32 heatmap logits of the single patches, thumbnail last per image.
        patch_log_deviation: (P, h, w) float32 log s of the single patches.
        score_states: (B, D) states of the [SCORE] tokens, as the scorer reads them.
    """

    heatmap: list[torch.Tensor] | None = None
    local_heatmap: list[torch.Tensor] | None = None
    global_heatmap: list[torch.Tensor] | None = None
    uncertainty: list[torch.Tensor] | None = None
    score: torch.Tensor | None = None
    token_score: torch.Tensor | None = None
    map_score: torch.Tensor | None = None
    patch_logits: torch.Tensor | None = None
    patch_log_deviation: torch.Tensor | None = None
    score_states: torch.Tensor | None = None


@dataclass
class HEIEOutput(HEIEAssessment, InternVLModelOutputWithPast, InternVLCausalLMOutputWithPast):
    """Output of the forward pass: InternVL's, then the assessment and the components of `loss`.

    It extends the class that the backbone returns, so all fields of that fit, whatever this Transformers names them:
    the cache is `past_key_values`, from 5.24 `cache`.

    Args:
        loss: weighted sum of the component losses that labels were given for.
        logits: (B, L, vocabulary).
        lm_loss, heatmap_loss, laplace_loss, score_loss: the components, each a sum over a count, unweighted.
        last_hidden_state: (B, L, D), after the final norm.
    """

    lm_loss: torch.Tensor | None = None
    heatmap_loss: torch.Tensor | None = None
    laplace_loss: torch.Tensor | None = None
    score_loss: torch.Tensor | None = None


@dataclass
class HEIEGenerateOutput(HEIEAssessment, GenerateDecoderOnlyOutput):
    """Output of `generate(return_dict_in_generate=True)`: `sequences` (B, L), prompt included, and the assessment."""
