"""What the embedded default is made of and trained on; `examples/train_tiny.py` trains it, stage by stage."""

import io
import itertools
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
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.processing.image_processing_heie import HEIEImageProcessor
from heie_hf.processing.processing_heie import HEIEProcessor
from heie_hf.recipes.tokenizer import train_tokenizer
from heie_hf.text_sources import TextSource
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

NUM_PARTS = len(PARTS) - 1
NUM_DEFECTS = len(DEFECTS) - 1
NUM_LABELS = NUM_PARTS + NUM_DEFECTS + 4
LABEL_BITS = np.uint64(1) << np.arange(NUM_LABELS, dtype=np.uint64)
PART_BITS = np.append(np.uint64(0), LABEL_BITS[:NUM_PARTS])  # nothing for the background
DEFECT_BITS = np.append(np.uint64(0), LABEL_BITS[NUM_PARTS:-4])
# From the left, from the right. A shadow is wrong where two sides do not match; the tower finds that relation only if
# it is told the sides.
LIGHT_BITS = LABEL_BITS[-4:-2]
SHADOW_BITS = LABEL_BITS[-2:]
WRITING = PART_BITS[PARTS.index("sign board")] | PART_BITS[PARTS.index("letter")]
# of pixels in 0..255
MEAN = 255 * torch.tensor(IMAGE_PROCESSOR.image_mean)
STD = 255 * torch.tensor(IMAGE_PROCESSOR.image_std)


def look(labels: np.ndarray, columns: int, rows: int, samples: int = 7) -> np.ndarray:
    """(H, W) bit sets to (rows * columns, 8, 8): what is seen at any of samples^2 points of each cell."""
    height, width = labels.shape
    y = _points(height, rows * SIDE * samples)
    x = _points(width, columns * SIDE * samples)
    points = labels[y[:, None], x]
    points = points.reshape(rows, SIDE, samples, columns, SIDE, samples)
    cells = np.bitwise_or.reduce(points, axis=5)
    cells = np.bitwise_or.reduce(cells, axis=2)  # (rows, 8, columns, 8)
    return cells.swapaxes(1, 2).reshape(-1, SIDE, SIDE)


def _points(length: int, count: int) -> np.ndarray:
    """(count,): pixels at equal distances along a side of the picture."""
    centers = np.arange(count) + 0.5
    return (centers * length / count).astype(int)


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
        columns, rows = IMAGE_PROCESSOR.get_patch_grid(*labels.shape)
        patches = look(labels, columns, rows)
        thumbnail = look(labels, 1, 1)
        cells = np.concatenate([patches, thumbnail])  # (N + 1, 8, 8)
        inputs = IMAGE_PROCESSOR(scene.image, do_rescale=False, do_normalize=False, return_tensors="np")
        tiles = inputs["pixel_values"].astype(np.uint8)
        image = io.BytesIO()
        scene.image.save(image, "BMP")  # read back many times in training
        row = to_row(scene, scene_id(seed, index))
        row["image"] = {"bytes": image.getvalue(), "path": None}
        row["cells"] = cells.tobytes()
        row["tiles"] = tiles.tobytes()
        yield row


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
        width = VISION["hidden_size"]
        positions.data[0, 1:] = sincos_positions(SIDE, width, like=positions)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, NUM_LABELS))
        weight = torch.full((NUM_LABELS,), 0.5)
        weight[NUM_PARTS : NUM_PARTS + NUM_DEFECTS] = 3.0  # defects are small and rare
        self.register_buffer("weight", weight, persistent=False)

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """(P, 3, 112, 112), (P, 64, labels) -> loss and logits."""
        states = self.tower(pixel_values).last_hidden_state[:, 1:]  # (P, 64, dim), without the class token
        logits = self.head(states).float()
        loss = functional.binary_cross_entropy_with_logits(logits, labels, self.weight, pos_weight=self.weight)
        return {"loss": loss, "logits": logits}


def mirror(cells: np.ndarray) -> np.ndarray:
    """(n, 8, 8) bit sets of the mirrored patches: left is right, in place and in meaning."""
    mirrored = cells.copy()
    for left, right in (LIGHT_BITS, SHADOW_BITS):
        mirrored &= ~(left | right)
        mirrored |= np.where(cells & left, right, np.uint64(0))
        mirrored |= np.where(cells & right, left, np.uint64(0))
    return mirrored[..., ::-1]


def collate_cells(rows: list[dict]) -> dict[str, torch.Tensor]:
    """Rows to `pixel_values` (P, 3, 112, 112) and `labels` (P, 64, labels), 0 or 1; half the patches mirrored."""
    cells = _joined(rows, "cells", np.uint64).reshape(-1, SIDE, SIDE)  # (P, 8, 8)
    tiles = _joined(rows, "tiles", np.uint8).reshape(-1, 3, CELL * SIDE, CELL * SIDE)  # (P, 3, 112, 112)
    has_writing = (cells & WRITING).any(axis=(1, 2))
    chosen = torch.rand(len(cells)).numpy() < 0.5
    chosen &= ~has_writing
    cells[chosen] = mirror(cells[chosen])
    tiles[chosen] = tiles[chosen][..., ::-1]
    labels = cells.reshape(-1, SIDE**2, 1) & LABEL_BITS != 0  # (P, 64, labels)
    pixels = torch.from_numpy(tiles)
    return {
        "pixel_values": (pixels - MEAN.view(3, 1, 1)) / STD.view(3, 1, 1),
        "labels": torch.from_numpy(labels.astype(np.float32)),
    }


def _joined(rows: list[dict], name: str, dtype: type) -> np.ndarray:
    """The bytes of a column, one after the other, as writable numbers."""
    content = bytearray().join(row[name] for row in rows)
    return np.frombuffer(content, dtype)


class ImageScoreCollator(HEIEDataCollator):
    """Rows that show the reference text do not teach the score: it would be read from a text that is always right, and
    the generated one is not."""

    def targets(self, rows: list[dict], draws: list[Draw]) -> list[dict]:
        targets = super().targets(rows, draws)
        for target, draw in zip(targets, draws):
            if draw.source == TextSource.REFERENCE:
                target["score"] = None
        return targets


def new_model(rows: Dataset, tower: InternVLVisionModel) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    """The whole model around a trained tower, and a processor with a vocabulary of the scenes' texts."""
    count = min(len(rows), 5000)
    first = rows.select_columns(list(SECTIONS)).select(range(count))
    sections = [list(first[name]) for name in SECTIONS]
    texts = itertools.chain.from_iterable(sections)
    tokenizer = train_tokenizer(texts, vocab_size=700, max_patches=IMAGE_PROCESSOR.max_patches)
    processor = HEIEProcessor(IMAGE_PROCESSOR, tokenizer, image_seq_length=(SIDE // 2) ** 2)
    max_tokens = []
    for section in sections:
        longest = max(len(ids) for ids in tokenizer(section)["input_ids"])
        max_tokens.append(longest + 8)
    config = HEIEConfig(
        text_config=TEXT | {"vocab_size": len(tokenizer)},
        vision_config=VISION,
        mapper_config={"hidden_size": 128, "num_attention_heads": 4, "intermediate_size": 256},
        scorer_config={"hidden_size": 128},
        tie_word_embeddings=True,
        image_seq_length=(SIDE // 2) ** 2,
        section_max_tokens=max_tokens,
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
