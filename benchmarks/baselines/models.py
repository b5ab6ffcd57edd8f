"""Two models that turn one picture into a heatmap and a score: what HEIE is compared with in baselines.py."""

from abc import ABC, abstractmethod

import numpy as np
import torch
from PIL import Image
from torch import nn
from transformers import SegformerConfig, SegformerForSemanticSegmentation, ViTConfig, ViTModel

from heie_hf.metrics.heatmap import resize
from heie_hf.modeling.losses_heie import quality_focal_loss, score_loss
from heie_hf.modeling.mapper_heie import LayerNorm2d, sincos_positions
from heie_hf.recipes.heie_tiny import MEAN, STD

SIDE = 224  # pixels: the picture is resized to a square
# Those of heie-tiny.
GAMMA, WEIGHT = 0.5, 20.0
# Narrow networks that were not trained before start faster from larger values than the libraries' 0.02. Eager
# attention: the backward pass of SDPA takes twice as long on a CPU.
COMMON = {"initializer_range": 0.06, "attn_implementation": "eager"}
EMPTY = -4.0  # logit of the first heatmaps, almost empty as the targets are


class Baseline(nn.Module, ABC):
    """What the two share: a score from one state of the picture, and the losses.

    Args:
        state_size: of the state that `look` gives.
        map_side: cells of the heatmap in height and width.
    """

    def __init__(self, state_size: int, map_side: int):
        super().__init__()
        self.map_side = map_side
        self.score_head = nn.Sequential(nn.Linear(state_size, 128), nn.GELU(), nn.Linear(128, 1))

    @abstractmethod
    def look(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, 224, 224) -> heatmap logits (B, map_side, map_side) and the state that the score is read from."""

    def forward(
        self, pixel_values: torch.Tensor, heatmap: torch.Tensor | None = None, score: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """`loss` if heatmap (B, map_side, map_side) and score (B,) are given, otherwise both as predicted, in [0, 1].

        Score: 1 = plausible; heatmap: 0 = plausible.
        """
        logits, state = self.look(pixel_values)
        predicted = self.score_head(state).float().sigmoid().squeeze(-1)
        if heatmap is None:
            return {"heatmap": logits.sigmoid(), "score": predicted}
        return {"loss": WEIGHT * (quality_focal_loss(logits, heatmap, GAMMA) + score_loss([predicted], score))}


class SegFormer(Baseline):
    """Transformers' SegFormer, by the defaults of its config b0. The score is read from the mean of the last stage."""

    def __init__(self, **sizes):
        config = SegformerConfig(num_labels=1, **COMMON, **sizes)
        super().__init__(config.hidden_sizes[-1], SIDE // config.strides[0])
        self.network = SegformerForSemanticSegmentation(config)
        nn.init.constant_(self.network.decode_head.classifier.bias, EMPTY)

    def look(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        outputs = self.network(pixel_values, output_hidden_states=True)
        return outputs.logits.squeeze(1), outputs.hidden_states[-1].mean(dim=(2, 3))


class ViT(Baseline):
    """A plain encoder; four cells a patch and side as in HEIE's mapper. The score is read from CLS."""

    def __init__(self, hidden_size: int = 192, num_layers: int = 9, num_heads: int = 3, patch_size: int = 14):
        side, quarter = SIDE // patch_size, hidden_size // 4
        super().__init__(hidden_size, 4 * side)
        config = ViTConfig(
            hidden_size=hidden_size,
            num_hidden_layers=num_layers,
            num_attention_heads=num_heads,
            intermediate_size=4 * hidden_size,
            image_size=SIDE,
            patch_size=patch_size,
            **COMMON,
        )
        self.network = ViTModel(config, add_pooling_layer=False)
        positions = self.network.embeddings.position_embeddings
        positions.data[0, 1:] = sincos_positions(side, hidden_size, like=positions)
        self.upsample = nn.Sequential()
        for width in (hidden_size, hidden_size // 2):
            half = nn.ConvTranspose2d(width, width // 2, 2, stride=2)
            self.upsample.extend([half, LayerNorm2d(width // 2), nn.GELU()])
        self.output = nn.Conv2d(quarter, 1, 3, padding=1)
        nn.init.constant_(self.output.bias, EMPTY)

    def look(self, pixel_values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        states = self.network(pixel_values).last_hidden_state  # (B, 1 + side², hidden)
        side = self.map_side // 4
        grid = states[:, 1:].transpose(1, 2).unflatten(-1, (side, side))  # (B, hidden, side, side)
        return self.output(self.upsample(grid)).squeeze(1), states[:, 0]


def to_pixels(image: Image.Image) -> torch.Tensor:
    """(3, 224, 224), normalised, of an RGB image of any size."""
    square = np.array(image.resize((SIDE, SIDE), Image.Resampling.BILINEAR))
    return (torch.from_numpy(square).permute(2, 0, 1) - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1)


@torch.inference_mode()
def predict(model: Baseline, images: list[Image.Image]) -> list[tuple[np.ndarray, float]]:
    """For each image its heatmap (H, W) in [0, 1], 0 = plausible, of the image's own size, and its score in [0, 1]."""
    outputs = model(torch.stack([to_pixels(image) for image in images]))
    sizes = [(image.height, image.width) for image in images]
    heatmaps = [resize(heatmap, size).clip(0, 1) for heatmap, size in zip(outputs["heatmap"].numpy(), sizes)]
    return list(zip(heatmaps, outputs["score"].tolist()))


MODELS = {"segformer-b0": SegFormer, "vit": ViT}
