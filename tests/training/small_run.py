"""Training runs of a tiny model that sees texts of all sources. As a script: a run that is killed, or one on two.

python small_run.py MODEL OUTPUT --kill-in-save 6
torchrun --standalone --nproc-per-node 2 small_run.py MODEL OUTPUT
"""

import argparse
import json
import os
import signal
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import AutoProcessor

from heie_hf import HEIEForImplausibility, HEIETrainer, HEIETrainingArguments
from heie_hf.processing.explanation_heie import SECTIONS

SIZES = [(112, 112), (150, 60), (60, 150), (168, 112)]  # width, height: grids 2x2, 3x1 (or 2x1), 1x3, 3x2
ALL_SOURCES = {"generated": 0.5, "reference": 0.2, "none": 0.1, "swapped": 0.2}
SETTINGS = {
    "text_source": ALL_SOURCES,
    "generated_text_steps": 2,
    "num_overlays": 0,
    "max_steps": 6,
    "save_steps": 3,
    "per_device_train_batch_size": 2,
    "per_device_eval_batch_size": 2,
    "learning_rate": 1e-2,
    "logging_steps": 1,
    "seed": 10,  # rows that are shown generated text come in step 4 and, on two processes, in step 6
    "report_to": "none",
    "use_cpu": True,
    "disable_tqdm": True,
}


def make_rows(count: int = 8) -> list[dict]:
    """Rows of the common schema; one lacks the text, one the heatmap, one the score, one has nothing wrong."""
    random = np.random.default_rng(0)
    rows = []
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        row = {"id": f"row-{index}", "score": float(random.random())}
        row["image"] = Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        heatmap = random.integers(0, 256, (height, width), dtype=np.uint8)
        heatmap[: height // 2] = 0
        row["heatmap"] = Image.fromarray(heatmap if index != 4 else heatmap * 0)
        row |= {"description": "A dog.", "regions": f"the leg {index}", "analysis": f"Fault number {index}."}
        rows.append(row)
    rows[1] |= dict.fromkeys(SECTIONS)
    rows[2]["heatmap"] = None
    rows[3]["score"] = None
    return rows


class KilledTrainer(HEIETrainer):
    """Is killed while it saves the checkpoint of a step, when the weights are on disk and other files are not."""

    step_of_death: int | None = None

    def _save_rng_state(self, output_dir: str) -> None:
        if self.state.global_step == self.step_of_death:
            os.kill(os.getpid(), signal.SIGKILL)
        super()._save_rng_state(output_dir)


def make_trainer(model: Path, output: Path, **settings) -> HEIETrainer:
    return KilledTrainer(
        HEIEForImplausibility.from_pretrained(model),
        HEIETrainingArguments(str(output), **SETTINGS | settings),
        train_dataset=make_rows(),
        eval_dataset=make_rows(5),
        processing_class=AutoProcessor.from_pretrained(model),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--kill-in-save", type=int)
    options = parser.parse_args()
    if options.kill_in_save:
        trainer = make_trainer(options.model, options.output)
        trainer.step_of_death = options.kill_in_save
        trainer.train()
    # On two: one image per step and process, so that step 5 is within the second epoch of four steps.
    settings = {"per_device_train_batch_size": 1, "max_steps": 8, "save_steps": 5, "dataloader_num_workers": 1}
    trainer = make_trainer(options.model, options.output / "whole", **settings)
    trainer.train()
    trainer.save_model()
    metrics = trainer.evaluate()
    trainer = make_trainer(options.model, options.output / "resumed", **settings)
    trainer.train(resume_from_checkpoint=str(options.output / "whole" / "checkpoint-5"))
    trainer.save_model()
    if trainer.is_world_process_zero():
        (options.output / "metrics.json").write_text(json.dumps(metrics))
    trainer.accelerator.wait_for_everyone()
    os._exit(0)  # to take a model under DDP down after its gloo group can deadlock in torch (2.13)


if __name__ == "__main__":
    main()
