"""Train the embedded default, heie_hf/checkpoints/heie-tiny, from scratch on drawn scenes: `make train-tiny`.

Five stages, each picked up where it was killed: draw the scenes, train the vision tower to name parts and defects,
train everything with HEIETrainer, evaluate on scenes never seen, export. About 40 minutes on two CPU cores.
Seeds of the scenes: 1 for training, 2 for a look during development, 1000 and above for held-out figures.
"""

import argparse
import io
import json
import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the data loader forks

import numpy as np
import torch
from datasets import Dataset, Features, Image, Value
from PIL import Image as PIL_Image
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from transformers import InternVLVisionConfig, InternVLVisionModel, Trainer, TrainerCallback, TrainingArguments

from heie_hf import metrics
from heie_hf.data.synthetic import DEFECTS, PARTS, draw_scene, issues_in
from heie_hf.data.tokenizer import train_tokenizer
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.processing.image_processing_heie import HEIEImageProcessor
from heie_hf.processing.processing_heie import HEIEProcessor
from heie_hf.trainer import HEIEDataCollator, HEIETrainer, HEIETrainingArguments

TRAIN_SEED, TEST_SEED = 1, 1000
PATCH, CELLS, HEATMAP_CELLS, MAX_PATCHES = 112, 8, 32, 6
SAMPLES = 7  # label pixels looked at per cell and side
LABELS = [("part", name) for name in PARTS[1:]] + [("defect", name) for name in DEFECTS[1:]]
NOTICE = (
    "This model was trained on drawn synthetic scenes only: it shows how HEIE works and is not for judging photographs."
)
IMAGE_PROCESSOR = HEIEImageProcessor(
    size={"height": PATCH, "width": PATCH},
    max_patches=MAX_PATCHES,
    heatmap_size={"height": HEATMAP_CELLS, "width": HEATMAP_CELLS},
)
ROW = Features(
    {name: Value("string") for name in ("id", "description", "regions", "analysis")}
    | {"image": Image(), "heatmap": Image(), "score": Value("float32"), "cells": Value("binary")}
)


# ---- the scenes -------------------------------------------------------------------------------------------------


def label_cells(scene, grid: tuple[int, int]) -> np.ndarray:
    """(N + 1, 8, 8) uint64, bit k: LABELS[k] is seen in that 14-pixel cell. Cut as the image is, thumbnail last."""
    one = np.uint64(1)
    bits = (one << scene.parts.astype(np.uint64)) | (one << (scene.defect_map + len(PARTS) - 1).astype(np.uint64))
    bits = np.where(scene.parts > 0, bits, bits & ~one)

    def look(columns: int, rows: int) -> np.ndarray:
        height, width = bits.shape
        y = ((np.arange(rows * CELLS * SAMPLES) + 0.5) * height / (rows * CELLS * SAMPLES)).astype(int)
        x = ((np.arange(columns * CELLS * SAMPLES) + 0.5) * width / (columns * CELLS * SAMPLES)).astype(int)
        seen = bits[y[:, None], x].reshape(rows * CELLS, SAMPLES, columns * CELLS, SAMPLES)
        seen = np.bitwise_or.reduce(np.bitwise_or.reduce(seen, axis=3), axis=1)  # (rows * 8, columns * 8)
        return seen.reshape(rows, CELLS, columns, CELLS).swapaxes(1, 2).reshape(-1, CELLS, CELLS)

    return np.concatenate([look(*grid), look(1, 1)])
