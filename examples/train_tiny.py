"""Train the embedded default, heie_hf/checkpoints/heie-tiny, from scratch on drawn scenes: `make train-tiny`.

Five stages, each picked up where it was killed: draw the scenes, train the vision tower to name parts and defects,
train everything with HEIETrainer, evaluate on scenes never seen, export. About 50 minutes on two CPU cores.
Seeds of the scenes: 1 for training, 2 for a look during development, 1000 and above for held-out figures.
"""

import argparse
import io
import json
import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the data loaders fork

import numpy as np
import torch
from accelerate import PartialState
from datasets import Dataset, Features, Value
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional
from tqdm import tqdm
from transformers import InternVLVisionConfig, InternVLVisionModel, Trainer, TrainingArguments, set_seed

from heie_hf.data.schema import FEATURES
from heie_hf.data.synthetic import DEFECTS, PARTS, draw_scene, issues_in
from heie_hf.data.synthetic.export import scene_id, to_row
from heie_hf.data.tokenizer import train_tokenizer
from heie_hf.metrics import heatmap_metrics, score_metrics
from heie_hf.metrics.text import issue_metrics
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.processing.image_processing_heie import HEIEImageProcessor
from heie_hf.processing.processing_heie import HEIEProcessor
from heie_hf.trainer import HEIEDataCollator, HEIETrainer, HEIETrainingArguments

TRAIN_SEED, DEV_SEED, TEST_SEED = 1, 2, 1000
BATCH = 16
CELL = 14  # pixels of a vision patch
SIDE = 8  # of them per image patch and side
NOTICE = "This model was trained on drawn synthetic scenes only; it shows how HEIE works and is not for judging photographs."
IMAGE_PROCESSOR = HEIEImageProcessor(
    size={"height": CELL * SIDE, "width": CELL * SIDE}, max_patches=6, heatmap_size={"height": 32, "width": 32}
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
}
# Reference texts alone would teach it to read the score from the text, and its own text is never as good.
TEXT_MIX = {"none": 0.4, "reference": 0.36, "swapped": 0.24}
VISION_FROZEN, VISION_RATE = 0.6, 0.3  # share of the joint steps; learning rate of the tower after that, relative


# ---- the scenes -----------------------------------------------------------------------------------------------------

NUM_PARTS, NUM_DEFECTS = len(PARTS) - 1, len(DEFECTS) - 1
LABEL_BITS = np.uint64(1) << np.arange(NUM_PARTS + NUM_DEFECTS, dtype=np.uint64)
PART_BITS = np.append(np.uint64(0), LABEL_BITS[:NUM_PARTS])  # nothing for the background
DEFECT_BITS = np.append(np.uint64(0), LABEL_BITS[NUM_PARTS:])


def look(labels: np.ndarray, columns: int, rows: int, samples: int = 7) -> np.ndarray:
    """(H, W) bit sets to (rows * columns, 8, 8): what is seen at any of samples^2 points of each cell."""
    height, width = labels.shape
    y = ((np.arange(rows * SIDE * samples) + 0.5) * height / (rows * SIDE * samples)).astype(int)
    x = ((np.arange(columns * SIDE * samples) + 0.5) * width / (columns * SIDE * samples)).astype(int)
    points = labels[y[:, None], x].reshape(rows, SIDE, samples, columns, SIDE, samples)
    cells = np.bitwise_or.reduce(np.bitwise_or.reduce(points, axis=5), axis=2)  # (rows, 8, columns, 8)
    return cells.swapaxes(1, 2).reshape(-1, SIDE, SIDE)


def draw_rows(seed: int, indices: list[int]):
    """Rows of the common schema, images uncompressed, and `cells`: parts and defects seen, cut as the image is."""
    for index in indices:
        scene = draw_scene(seed, index)
        labels = PART_BITS[scene.parts] | DEFECT_BITS[scene.defect_map]
        grid = IMAGE_PROCESSOR.get_patch_grid(*labels.shape)
        cells = np.concatenate([look(labels, *grid), look(labels, 1, 1)])  # (N + 1, 8, 8)
        image = io.BytesIO()
        scene.image.save(image, "BMP")  # read back four times in training
        row = to_row(scene, scene_id(seed, index)) | {"image": {"bytes": image.getvalue(), "path": None}}
        yield row | {"cells": cells.tobytes()}


def scenes(seed: int, count: int, folder: Path) -> Dataset:
    """Drawn once, by one process per core, and kept on disk."""
    return Dataset.from_generator(
        draw_rows,
        features=Features(FEATURES | {"cells": Value("binary")}),
        gen_kwargs={"seed": seed, "indices": list(range(count))},
        num_proc=os.cpu_count(),
        cache_dir=str(folder),
        fingerprint=scene_id(seed, count),  # found again after a change of this file too
    )


# ---- the vision tower -----------------------------------------------------------------------------------------------


class PartsAndDefects(nn.Module):
    """The vision tower with a linear head: which parts and which defects does each 14-pixel cell show?"""

    def __init__(self):
        super().__init__()
        # Eager attention: the backward pass of SDPA takes twice as long on a CPU.
        config = InternVLVisionConfig(**VISION, layer_scale_init_value=1.0, attn_implementation="eager")
        self.tower = InternVLVisionModel(config)
        for embedding in (self.tower.embeddings.cls_token, self.tower.embeddings.position_embeddings):
            nn.init.trunc_normal_(embedding, std=0.02)  # InternVL's zeros are meant for pretrained weights
        self.head = nn.Sequential(
            nn.LayerNorm(VISION["hidden_size"]), nn.Linear(VISION["hidden_size"], len(LABEL_BITS))
        )
        weight = torch.cat([torch.ones(NUM_PARTS), torch.full((NUM_DEFECTS,), 3.0)])
        self.register_buffer("weight", weight, persistent=False)  # defects are small and rare

    def forward(self, pixel_values: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        """(P, 3, 112, 112), (P, 64, labels) -> loss and logits."""
        logits = self.head(self.tower(pixel_values).last_hidden_state[:, 1:]).float()
        loss = functional.binary_cross_entropy_with_logits(logits, labels, self.weight, pos_weight=self.weight)
        return {"loss": loss, "logits": logits}


def collate_cells(rows: list[dict]) -> dict[str, torch.Tensor]:
    cells = np.concatenate([np.frombuffer(row["cells"], np.uint64).reshape(-1, SIDE**2, 1) for row in rows])
    labels = torch.from_numpy((cells & LABEL_BITS != 0).astype(np.float32))
    images = IMAGE_PROCESSOR([row["image"] for row in rows], return_tensors="pt")
    return {"pixel_values": images["pixel_values"], "labels": labels}


def arguments(cls: type, folder: Path, steps: int, **settings) -> TrainingArguments:
    common = {
        "output_dir": str(folder),
        "max_steps": steps,
        "per_device_train_batch_size": BATCH // PartialState().num_processes,
        "lr_scheduler_type": "cosine",
        "warmup_steps": 0.05,
        "bf16": True,
        "use_cpu": True,
        "dataloader_num_workers": 1,
        "logging_steps": 50,
        "save_steps": 200,
        "save_total_limit": 2,
        "report_to": "none",
    }
    return cls(**common | settings)


def finish(trainer: Trainer, folder: Path) -> None:
    """Train from the last complete checkpoint, if any, to the end."""
    complete = sorted(folder.glob("checkpoint-*/trainer_state.json"), key=os.path.getmtime)
    trainer.train(resume_from_checkpoint=str(complete[-1].parent) if complete else None)
    trainer.save_model(str(folder / "final"))


def train_vision(rows: Dataset, folder: Path, steps: int, seed: int) -> None:
    set_seed(seed)
    settings = {"learning_rate": 2e-3, "weight_decay": 0.05, "adam_beta2": 0.98, "remove_unused_columns": False}
    args = arguments(TrainingArguments, folder, steps, seed=seed, **settings)
    rows = rows.select_columns(["image", "cells"])
    finish(Trainer(PartsAndDefects(), args, collate_cells, train_dataset=rows), folder)


# ---- everything -----------------------------------------------------------------------------------------------------


def new_model(rows: Dataset, vision: Path, seed: int) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    """The whole model around the trained tower, and a processor with a vocabulary of the scenes' texts."""
    set_seed(seed)
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
        training_data_notice=NOTICE,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="eager",
        **processor.model_token_config(),
    )
    model = HEIEForImplausibility(config)
    weights = load_file(vision / "final" / "model.safetensors")
    tower = {name.removeprefix("tower."): value for name, value in weights.items() if name.startswith("tower.")}
    model.model.vision_tower.load_state_dict(tower)
    return model, processor


def train_jointly(rows: Dataset, model: HEIEForImplausibility, processor: HEIEProcessor, folder: Path, **settings):
    """One phase of the joint training; the tower learns at VISION_RATE, or rests where its gradients are off."""
    rate = settings.pop("learning_rate")
    tower = set(model.model.vision_tower.parameters())
    groups = [
        {"params": [parameter for parameter in model.parameters() if parameter not in tower], "lr": rate},
        {"params": [parameter for parameter in tower if parameter.requires_grad], "lr": rate * VISION_RATE},
    ]
    trainer = HEIETrainer(
        model,
        arguments(HEIETrainingArguments, folder, **settings),
        HEIEDataCollator(processor, TEXT_MIX, settings["seed"]),
        train_dataset=rows.remove_columns("cells"),
        optimizers=(torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05), None),
    )
    finish(trainer, folder)


# ---- evaluation and export ------------------------------------------------------------------------------------------


@torch.no_grad()
def evaluate(
    model: HEIEForImplausibility, processor: HEIEProcessor, seed: int, count: int, own_text: bool = True
) -> dict:
    """Metrics on the first scenes of a seed, with the model's own text or without any. Never with given text."""
    model.eval()
    maps, targets, scores, issues, planted = [], [], [], [], []
    for start in tqdm(range(0, count, 10), desc="evaluate"):
        batch = [draw_scene(seed, index) for index in range(start, min(start + 10, count))]
        inputs = processor(images=[scene.image for scene in batch], return_tensors="pt")
        outputs = model.generate(**inputs, return_dict_in_generate=True) if own_text else model.assess(**inputs)
        results = processor.post_process(outputs, target_sizes=[scene.heatmap.shape for scene in batch])
        maps += [result["predicted_heatmap"] for result in results]
        targets += [scene.heatmap for scene in batch]
        scores += [(result["score"], scene.score) for result, scene in zip(results, batch)]
        issues += [issues_in(result["analysis"]) for result in results]
        planted += [{defect.kind for defect in scene.defects} for scene in batch]
    figures = heatmap_metrics(maps, targets)
    del figures["per_image"]
    figures |= score_metrics(*zip(*scores))
    return figures | (issue_metrics(issues, planted) if own_text else {})


def export(model: HEIEForImplausibility, processor: HEIEProcessor, folder: Path) -> None:
    """Half the bytes as float16 tensors; the config says float32, so `from_pretrained` computes in that."""
    weights = {name: value.half() for name, value in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=weights)
    processor.save_pretrained(folder)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default="train-tiny", help="scenes and checkpoints (12 GB)")
    parser.add_argument("--export-dir", type=Path, default="heie_hf/checkpoints/heie-tiny")
    parser.add_argument("--scenes", type=int, default=20_000)
    parser.add_argument("--vision-steps", type=int, default=2000)
    parser.add_argument("--joint-steps", type=int, default=2400, help="60 %% of them with the vision tower frozen")
    parser.add_argument("--test-scenes", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    opt, process = options(), PartialState(cpu=True)
    vision, heads, joint = (opt.output_dir / name for name in ("vision", "heads", "joint"))
    with process.main_process_first():
        rows = scenes(TRAIN_SEED, opt.scenes, opt.output_dir / "scenes")
    if not (vision / "final").exists():
        train_vision(rows, vision, steps=opt.vision_steps, seed=opt.seed)
    num_heads = round(opt.joint_steps * VISION_FROZEN)
    if not (heads / "final").exists():
        model, processor = new_model(rows, vision, opt.seed)
        model.model.vision_tower.requires_grad_(False)
        floor = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.3}}
        train_jointly(rows, model, processor, heads, steps=num_heads, seed=opt.seed, learning_rate=2e-3, **floor)
    if not (joint / "final").exists():
        model, processor = load(heads / "final")
        steps = opt.joint_steps - num_heads
        train_jointly(rows, model, processor, joint, steps=steps, seed=opt.seed + 1, learning_rate=7e-4)
    if process.is_main_process:
        model, processor = load(joint / "final")
        export(model, processor, opt.export_dir)
        model, processor = load(opt.export_dir)
        for own_text in (True, False):
            figures = evaluate(model, processor, TEST_SEED, opt.test_scenes, own_text)
            print(json.dumps({"text": "own" if own_text else "none", "seed": TEST_SEED} | figures), flush=True)


def load(folder: Path) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    model = HEIEForImplausibility.from_pretrained(folder, attn_implementation="eager")
    return model, HEIEProcessor.from_pretrained(folder)


if __name__ == "__main__":
    main()
