"""The training of the baselines: as many seconds as they are given, over all its interruptions."""

import json
import math
import os
from functools import partial
from pathlib import Path
from time import monotonic

import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import broadcast
from datasets import Dataset
from PIL import Image
from torch.optim.lr_scheduler import LambdaLR
from transformers import Trainer, TrainerCallback, TrainingArguments, set_seed
from transformers.trainer_callback import ExportableState

from benchmarks.baselines.models import MODELS, Baseline, to_pixels
from heie_hf.recipes.heie_tiny import WRITING

BATCH = 16  # images, in all processes together


class TimeBudget(TrainerCallback, ExportableState):
    """Stops the training when its seconds are spent, and saves a checkpoint each time a tenth of them is.

    `spent` is stored with the checkpoints: a resumed training has what was left there. All processes go by the clock
    of the first, so that they stop at the same step and have the same learning rate.
    """

    def __init__(self, seconds: float, warm_up: float = 0.05):
        self.seconds, self.warm_up, self.spent = seconds, warm_up, 0.0

    def state(self) -> dict:
        return {"args": {}, "attributes": {"spent": self.spent}}

    def rate(self) -> float:
        """Share of the learning rate now: up in the `warm_up` share of the time, then down to 0 as a cosine."""
        share = min(self.spent / self.seconds, 1.0)
        return min(share / self.warm_up, (1 + math.cos(math.pi * share)) / 2)

    def on_train_begin(self, args, state, control, **kwargs):
        # Not by restore_callback_states_from_checkpoint: that makes another object than the one the schedule asks.
        self.spent = state.stateful_callbacks[type(self).__name__]["attributes"]["spent"]
        self.start = monotonic() - self.spent

    def on_step_end(self, args, state, control, **kwargs):
        before = self.spent
        self.spent = broadcast(torch.tensor(monotonic() - self.start, dtype=torch.float64)).item()
        control.should_save = int(10 * self.spent / self.seconds) > int(10 * before / self.seconds)
        control.should_training_stop = self.spent >= self.seconds


def collate(rows: list[dict], map_side: int) -> dict[str, torch.Tensor]:
    """Images with their targets; half of those without writing, which would be wrong in a mirror, are mirrored."""
    pixels, heatmaps = [], []
    for row in rows:
        small = row["heatmap"].resize((map_side, map_side), Image.Resampling.BOX)
        pair = to_pixels(row["image"]), torch.from_numpy(np.array(small)) / 255
        if torch.rand(()) < 0.5 and not (np.frombuffer(row["cells"], np.uint64) & WRITING).any():
            pair = [values.flip(-1) for values in pair]
        pixels.append(pair[0])
        heatmaps.append(pair[1])
    scores = torch.tensor([row["score"] for row in rows])
    return {"pixel_values": torch.stack(pixels), "heatmap": torch.stack(heatmaps), "score": scores}


def new_trainer(model: Baseline, rows: Dataset, folder: Path, seed: int, budget: TimeBudget) -> Trainer:
    arguments = TrainingArguments(
        str(folder),
        per_device_train_batch_size=BATCH // PartialState().num_processes,
        max_steps=10**6,  # the budget ends it
        save_strategy="no",  # the budget saves
        save_total_limit=2,
        seed=seed,
        bf16=True,
        use_cpu=True,
        dataloader_num_workers=1,
        ddp_find_unused_parameters=False,
        remove_unused_columns=False,
        logging_steps=50,
        disable_tqdm=True,
        report_to="none",
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=0.05)
    return Trainer(
        model,
        arguments,
        partial(collate, map_side=model.map_side),
        train_dataset=rows.select_columns(["image", "heatmap", "score", "cells"]),
        callbacks=[budget],
        optimizers=(optimizer, LambdaLR(optimizer, lambda step: budget.rate())),
    )


def train(name: str, seed: int, rows: Dataset, folder: Path, seconds: float) -> None:
    """Train from the last complete checkpoint, if there is one; folder/model is there only when the time is spent."""
    set_seed(seed)
    model, budget = MODELS[name](), TimeBudget(seconds)
    trainer = new_trainer(model, rows, folder / "checkpoints", seed, budget)
    complete = sorted(folder.glob("checkpoints/checkpoint-*/trainer_state.json"), key=os.path.getmtime)
    trainer.train(resume_from_checkpoint=str(complete[-1].parent) if complete else None)
    trainer.save_model(str(folder / "unnamed"))
    if trainer.is_world_process_zero():
        done = {"training_seconds": budget.spent, "training_images": trainer.state.global_step * BATCH}
        done["parameters"] = sum(parameter.numel() for parameter in model.parameters())
        (folder / "unnamed" / "training.json").write_text(json.dumps(done))
        (folder / "unnamed").rename(folder / "model")
