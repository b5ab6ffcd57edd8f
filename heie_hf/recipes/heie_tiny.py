"""What the embedded default is made of and trained on; `examples/train_tiny.py` trains it, stage by stage."""

import io
import os
from pathlib import Path

import numpy as np
import torch
from datasets import Dataset, Features, Value
from torch import nn
from torch.nn import functional
from transformers import InternVLVisionConfig, InternVLVisionModel

from heie_hf.data.schema import FEATURES
from heie_hf.data.synthetic import DEFECTS, PARTS, Scene, draw_scene
from heie_hf.data.synthetic.export import scene_id, to_row
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.mapper_heie import sincos_positions
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.processing.image_processing_heie import HEIEImageProcessor
from heie_hf.processing.processing_heie import HEIEProcessor
from heie_hf.recipes.tokenizer import train_tokenizer
from heie_hf.training.collator import Draw, HEIEDataCollator

CELL = 14  # pixels of a vision patch
SIDE = 8  # of them per image patch and side
# The pipeline shows it once.
NOTICE = "This model was trained on drawn synthetic scenes only: it shows how HEIE works, it cannot judge photographs."
IMAGE_PROCESSOR = HEIEImageProcessor(
    size={"height": CELL * SIDE, "width": CELL * SIDE}, max_patches=4, heatmap_size={"height": 32, "width": 32}
)
VISION = {
    "hidden_size": 160,
    "num_hidden_layers": 6,
    "num_attention_heads": 5,
    "intermediate_size": 640,
    "image_size": [CELL * SIDE, CELL * SIDE],
    "patch_size": [CELL, CELL],
}
TEXT = {
    "model_type": "qwen2",
    "hidden_size": 192,
    "num_hidden_layers": 4,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "intermediate_size": 512,
    "max_position_embeddings": 1024,
    "tie_word_embeddings": True,
    "initializer_range": 0.06,  # Qwen2's 0.02 is meant for wider models: this one learns faster from larger values
}

NUM_PARTS, NUM_DEFECTS = len(PARTS) - 1, len(DEFECTS) - 1
NUM_LABELS = NUM_PARTS + NUM_DEFECTS + 4
LABEL_BITS = np.uint64(1) << np.arange(NUM_LABELS, dtype=np.uint64)
PART_BITS = np.append(np.uint64(0), LABEL_BITS[:NUM_PARTS])  # nothing for the background
DEFECT_BITS = np.append(np.uint64(0), LABEL_BITS[NUM_PARTS:-4])
# From the left, from the right. A shadow is wrong where two sides do not match; the tower finds that relation only if
# it is told the sides.
LIGHT_BITS, SHADOW_BITS = LABEL_BITS[-4:-2], LABEL_BITS[-2:]
WRITING = PART_BITS[PARTS.index("sign board")] | PART_BITS[PARTS.index("letter")]
MEAN, STD = (
    torch.tensor(value).view(3, 1, 1) * 255 for value in (IMAGE_PROCESSOR.image_mean, IMAGE_PROCESSOR.image_std)
)


def look(labels: np.ndarray, columns: int, rows: int, samples: int = 7) -> np.ndarray:
    """(H, W) bit sets to (rows * columns, 8, 8): what is seen at any of samples^2 points of each cell."""
    height, width = labels.shape
    y = ((np.arange(rows * SIDE * samples) + 0.5) * height / (rows * SIDE * samples)).astype(int)
    x = ((np.arange(columns * SIDE * samples) + 0.5) * width / (columns * SIDE * samples)).astype(int)
    points = labels[y[:, None], x].reshape(rows, SIDE, samples, columns, SIDE, samples)
    cells = np.bitwise_or.reduce(np.bitwise_or.reduce(points, axis=5), axis=2)  # (rows, 8, columns, 8)
    return cells.swapaxes(1, 2).reshape(-1, SIDE, SIDE)


def side_bits(scene: Scene) -> np.ndarray:
    """(H, W) bit sets: the side of the light everywhere, and on each shadow the side that it speaks for."""
    bits = np.zeros(scene.parts.shape, np.uint64)
    if scene.light_side:
        right = scene.light_side > 0
        wrong = scene.defect_map == DEFECTS.index("wrong shadow")
        bits[scene.parts == PARTS.index("shadow")] = SHADOW_BITS[int(right)]
        bits[wrong] = SHADOW_BITS[int(not right)]
        bits |= LIGHT_BITS[int(right)]
    return bits


def draw_rows(seed: int, indices: list[int]):
    """Rows of the common schema with the image's patches (uint8, as the model sees them) and what their cells show."""
    for index in indices:
        scene = draw_scene(seed, index)
        labels = PART_BITS[scene.parts] | DEFECT_BITS[scene.defect_map] | side_bits(scene)
        grid = IMAGE_PROCESSOR.get_patch_grid(*labels.shape)
        cells = np.concatenate([look(labels, *grid), look(labels, 1, 1)])  # (N + 1, 8, 8)
        tiles = IMAGE_PROCESSOR(scene.image, do_rescale=False, do_normalize=False, return_tensors="np")["pixel_values"]
        image = io.BytesIO()
        scene.image.save(image, "BMP")  # read back many times in training
        row = to_row(scene, scene_id(seed, index)) | {"image": {"bytes": image.getvalue(), "path": None}}
        yield row | {"cells": cells.tobytes(), "tiles": tiles.astype(np.uint8).tobytes()}


def scenes(seed: int, count: int, folder: Path, first: int = 0) -> Dataset:
    """`count` scenes of a seed from index `first` on, drawn once by all cores and kept in `folder` (0.6 MB each)."""
    return Dataset.from_generator(
        draw_rows,
        features=Features(FEATURES | {"cells": Value("binary"), "tiles": Value("binary")}),
        gen_kwargs={"seed": seed, "indices": list(range(first, first + count))},
        num_proc=os.cpu_count(),
        cache_dir=str(folder),
        fingerprint=f"{scene_id(seed, first)}-{count}",  # found again after a change of this file too
    )


class PartsAndDefects(nn.Module):
    """The vision tower with a linear head: which parts and which defects does each 14-pixel cell show?"""

    def __init__(self):
        super().__init__()
        # Eager attention: the backward pass of SDPA takes twice as long on a CPU. InternVL's initial values are meant
        # for a tower that has been trained before: a narrow one starts faster from larger ones (Xavier: .05 to .08).
        config = InternVLVisionConfig(
            **VISION, layer_scale_init_value=1.0, initializer_range=0.06, attn_implementation="eager"
        )
        self.tower = InternVLVisionModel(config)
        embeddings = self.tower.embeddings
        nn.init.trunc_normal_(embeddings.cls_token, std=0.02)
        # From small random positions the tower learns rows but no columns: only shadows ask for left and right.
        positions = embeddings.position_embeddings
        positions.data[0, 1:] = sincos_positions(SIDE, VISION["hidden_size"], like=positions)
        self.head = nn.Sequential(nn.LayerNorm(VISION["hidden_size"]), nn.Linear(VISION["hidden_size"], NUM_LABELS))
        weight = torch.full((NUM_LABELS,), 0.5)
        weight[NUM_PARTS : NUM_PARTS + NUM_DEFECTS] = 3.0  # defects are small and rare
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """(P, 3, 112, 112), (P, 64, labels) -> loss and logits."""
        logits = self.head(self.tower(pixel_values).last_hidden_state[:, 1:]).float()
        loss = functional.binary_cross_entropy_with_logits(logits, labels, self.weight, pos_weight=self.weight)
        return {"loss": loss, "logits": logits}


def mirror(cells: np.ndarray) -> np.ndarray:
    """(n, 8, 8) bit sets of the mirrored patches: left is right, in place and in meaning."""
    sides = np.bitwise_or.reduce(np.concatenate([LIGHT_BITS, SHADOW_BITS]))
    mirrored = cells & ~sides
    for left, right in (LIGHT_BITS, SHADOW_BITS):
        mirrored |= np.where(cells & left, right, np.uint64(0)) | np.where(cells & right, left, np.uint64(0))
    return mirrored[..., ::-1]


def collate_cells(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Rows to `pixel_values` (P, 3, 112, 112) and `labels` (P, 64, labels), 0 or 1; half the patches mirrored."""
    cells = np.concatenate([np.frombuffer(row["cells"], np.uint64).reshape(-1, SIDE, SIDE) for row in rows])
    shape = (-1, 3, CELL * SIDE, CELL * SIDE)
    tiles = np.concatenate([np.frombuffer(row["tiles"], np.uint8).reshape(shape) for row in rows])
    chosen = (torch.rand(len(cells)).numpy() < 0.5) & ~(cells & WRITING).any(axis=(1, 2))
    cells[chosen], tiles[chosen] = mirror(cells[chosen]), tiles[chosen][..., ::-1]
    labels = (cells.reshape(-1, SIDE**2, 1) & LABEL_BITS != 0).astype(np.float32)
    return {"pixel_values": (torch.from_numpy(tiles) - MEAN) / STD, "labels": torch.from_numpy(labels)}


class ImageScoreCollator(HEIEDataCollator):
    """Rows that show the reference text do not teach the score: it would be read from a text that is always right, and
    the model's own is not."""

    def targets(self, rows: list[dict], draws: list[Draw]) -> list[dict]:
        targets = super().targets(rows, draws)
        return [
            target | {"score": None} if draw.source == "reference" else target for target, draw in zip(targets, draws)
        ]


def new_model(rows: Dataset, tower: InternVLVisionModel) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    """The whole model around a trained tower, and a processor with a vocabulary of the scenes' texts."""
    texts = rows.select(range(min(len(rows), 5000))).select_columns(["description", "regions", "analysis"])
    sections = [list(texts[name]) for name in texts.column_names]
    tokenizer = train_tokenizer(sum(sections, []), vocab_size=700, max_patches=IMAGE_PROCESSOR.max_patches)
    processor = HEIEProcessor(IMAGE_PROCESSOR, tokenizer, image_seq_length=(SIDE // 2) ** 2)
    longest = [max(map(len, tokenizer(section)["input_ids"])) for section in sections]
    config = HEIEConfig(
        text_config=TEXT | {"vocab_size": len(tokenizer)},
        vision_config=VISION,
        mapper_config={"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256},
        scorer_config={"hidden_size": 128},
        tie_word_embeddings=True,
        image_seq_length=(SIDE // 2) ** 2,
        section_max_tokens=[length + 8 for length in longest],
        focal_gamma=0.5,  # the paper's 2 hardly asks for the faint parts of a soft map
        loss_weights={"heatmap": 20.0, "laplace": 0.02, "score": 20.0},
        training_data_notice=NOTICE,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
        **processor.model_token_config(),
    )
    model = HEIEForImplausibility(config)
    model.model.vision_tower.load_state_dict(tower.state_dict())
    return model, processor
