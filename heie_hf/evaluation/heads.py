"""Fuser and scorer on their own: they turn stored maps and states into heatmaps and scores without the network."""

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft.utils import ModulesToSaveWrapper
from safetensors.torch import load_file, save_file

from heie_hf.files import whole_file
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.fusion_heie import HeatmapFuser
from heie_hf.modeling.scorer_heie import VerisimilitudeScorer

from .store import EvaluationError, Shard

FILE = "heads.safetensors"


@contextmanager
def recorded_inputs(model):
    """A dict that, after a pass of the model, holds the inputs of fuser and scorer: logits, log_deviation, states."""
    seen: dict[str, torch.Tensor] = {}
    hooks = [
        model.fuser.register_forward_pre_hook(lambda _, args: seen.update(logits=args[0], log_deviation=args[1])),
        model.scorer.register_forward_pre_hook(lambda _, args: seen.update(states=args[0])),
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def save_heads(model, folder: Path) -> None:
    """Write fuser, scorer and config beside the predictions."""
    heads = {"fuser": _trained(model.fuser), "scorer": _trained(model.scorer)}
    tensors = {f"{name}.{key}": value for name, head in heads.items() for key, value in head.state_dict().items()}
    model.config.save_pretrained(folder)
    with whole_file(folder / FILE) as draft:
        save_file({key: value.cpu().contiguous() for key, value in tensors.items()}, draft)


def _trained(head: torch.nn.Module) -> torch.nn.Module:
    """With an adapter loaded, peft keeps the trained copy beside the original."""
    return head.modules_to_save[head.active_adapter] if isinstance(head, ModulesToSaveWrapper) else head


@dataclass(frozen=True)
class Heads:
    """`own_fusion`: whether the fusion is the one that the model itself has."""

    fuser: HeatmapFuser
    scorer: VerisimilitudeScorer
    own_fusion: bool

    @classmethod
    def load(cls, folder: Path, fusion: str | None = None) -> "Heads":
        """The heads of the predictions in a folder, on the CPU, with another fusion if one is named (Table 5).

        Raises:
            EvaluationError: `fusion` is "learned", but the model has no such weight.
        """
        config = HEIEConfig.from_pretrained(folder)
        tensors = load_file(folder / FILE)
        fusion = fusion or config.fusion
        if fusion == "learned" and "fuser.local_logit" not in tensors:
            raise EvaluationError(
                f"the model has no learned fusion weight: it was trained with fusion {config.fusion!r}"
            )
        text_size = tensors["scorer.token_hidden.0.weight"].shape[1]
        fuser = HeatmapFuser(fusion, config.uncertainty)
        scorer = VerisimilitudeScorer(config.scorer_config, text_size, config.score_source, config.calibration)
        scorer.to(tensors["scorer.token_hidden.0.weight"].dtype).load_state_dict(_part(tensors, "scorer."))
        if fusion == "learned":
            fuser.load_state_dict(_part(tensors, "fuser."))
        return cls(fuser, scorer.eval(), fusion == config.fusion)

    @torch.inference_mode()
    def fuse(self, shard: Shard) -> list[np.ndarray]:
        """The fused heatmap of each image, (rows * h, columns * w) float32 in [0, 1]."""
        logits, log_deviation = (torch.from_numpy(maps).float() for maps in (shard.logits, shard.log_deviation))
        fused = self.fuser(logits, log_deviation, shard.num_patches, shard.patch_grid.tolist())
        return [maps.fused.numpy() for maps in fused]

    @torch.inference_mode()
    def score(self, score_state: np.ndarray, heatmap: np.ndarray) -> dict[str, float]:
        """score, token_score and map_score of one image, from its (D,) state and a heatmap as `fuse` gives it."""
        state = torch.from_numpy(score_state)[None].to(self.scorer.token_output.weight.dtype)
        scores = self.scorer(state, [torch.from_numpy(heatmap)])
        return dict(zip(("score", "token_score", "map_score"), (float(score) for score in scores)))


def _part(tensors: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
