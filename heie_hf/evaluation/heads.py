"""Fuser and scorer on their own: they turn stored maps and states into heatmaps and scores without the network."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from peft.utils import ModulesToSaveWrapper
from safetensors import safe_open
from safetensors.torch import save

from heie_hf.files import whole_file
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.fusion_heie import HeatmapFuser
from heie_hf.modeling.scorer_heie import VerisimilitudeScorer

from .kept_files import EvaluationError, parse_object, reading
from .store import Shard

FILE = "heads.safetensors"


def save_heads(model, folder: Path) -> None:
    """Write fuser and scorer beside the predictions, with the model's config in the file's metadata."""
    tensors = {}
    for head_name in ("fuser", "scorer"):
        head = _trained(getattr(model, head_name))
        for name, tensor in head.state_dict().items():
            tensors[f"{head_name}.{name}"] = tensor.cpu().contiguous()
    metadata = {"config": model.config.to_json_string()}
    with whole_file(folder / FILE) as draft:
        draft.write_bytes(save(tensors, metadata))


def _trained(head: torch.nn.Module) -> torch.nn.Module:
    """With an adapter loaded, peft keeps the trained copy beside the original."""
    if isinstance(head, ModulesToSaveWrapper):
        return head.modules_to_save[head.active_adapter]
    return head


@dataclass(frozen=True)
class Heads:
    """What follows the network in the model.

    Args:
        own_fusion: whether the fusion is the one that the model itself has.
        notice: what the weights know, None if the model's config says nothing of it.
    """

    fuser: HeatmapFuser
    scorer: VerisimilitudeScorer
    own_fusion: bool
    notice: str | None

    @classmethod
    def load(cls, folder: Path, fusion: str | None = None) -> "Heads":
        """The heads of the predictions in a folder, on the CPU, with another fusion if one is named (Table 5).

        Raises:
            EvaluationError: `fusion` is "learned", but the model has no such weight.
            DamagedFileError: the file cannot be read.
        """
        path = folder / FILE
        with reading(path, "remove it and run again"), safe_open(path, "pt") as stored:
            config = HEIEConfig.from_dict(parse_object(stored.metadata()["config"]))
            fuser_tensors = _tensors_of("fuser.", stored)
            scorer = _scorer(config, _tensors_of("scorer.", stored))
        fusion = fusion or config.fusion
        fuser = HeatmapFuser(fusion, config.uncertainty)
        if fusion == "learned":
            if not fuser_tensors:
                raise EvaluationError(
                    f"the model has no learned fusion weight: it was trained with fusion {config.fusion!r}"
                )
            fuser.load_state_dict(fuser_tensors)
        return cls(fuser, scorer, fusion == config.fusion, config.training_data_notice)

    @torch.inference_mode()
    def fuse(self, shard: Shard) -> list[np.ndarray]:
        """The fused heatmap of each image, (rows * h, columns * w) float32 in [0, 1]."""
        logits = torch.from_numpy(shard.logits).float()  # (P, h, w)
        log_deviation = torch.from_numpy(shard.log_deviation).float()
        fused = self.fuser(logits, log_deviation, shard.num_patches, shard.patch_grid.tolist())
        return [maps.fused.numpy() for maps in fused]

    @torch.inference_mode()
    def score(self, score_state: np.ndarray, heatmap: np.ndarray) -> dict[str, float]:
        """score, token_score and map_score of one image, from its (D,) state and a heatmap as `fuse` gives it."""
        dtype = self.scorer.token_output.weight.dtype
        states = torch.from_numpy(score_state)[None].to(dtype)  # (1, D)
        score, token_score, map_score = self.scorer(states, [torch.from_numpy(heatmap)])
        return {"score": score.item(), "token_score": token_score.item(), "map_score": map_score.item()}


def _tensors_of(prefix: str, stored: safe_open) -> dict[str, torch.Tensor]:
    tensors = {}
    for name in stored.keys():
        if name.startswith(prefix):
            tensors[name.removeprefix(prefix)] = stored.get_tensor(name)
    return tensors


def _scorer(config: HEIEConfig, tensors: dict[str, torch.Tensor]) -> VerisimilitudeScorer:
    hidden_weight = tensors["token_hidden.0.weight"]  # (hidden, D)
    text_size = hidden_weight.shape[1]
    scorer = VerisimilitudeScorer(config.scorer_config, text_size, config.score_source, config.calibration)
    scorer.to(hidden_weight.dtype).load_state_dict(tensors)
    return scorer.eval()
