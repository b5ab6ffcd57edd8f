"""One optimiser step of a tiny model and its evaluation, cut into batches as told.

The tests run it in their own process, and as a script on two: by torchrun, or by accelerate launch for FSDP and ZeRO.

    torchrun --nproc-per-node 2 one_step.py MODEL OUTPUT --cuts 4x1 2x2 --eval-rows 5
"""

import argparse
import json
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from accelerate.utils import DistributedType
from PIL import Image
from transformers import AutoProcessor

from heie_hf import HEIEForImplausibility, HEIETrainer, HEIETrainingArguments
from heie_hf.processing.explanation_heie import SECTIONS

SIZES = [(112, 112), (150, 60), (60, 150), (168, 112)]  # width, height: 4, 3 (or 2), 3 and 6 patches
# Most labels are in the first half, so that two processes with four rows each hold very different counts. By the
# default text source and seed, rows 1 and 4 are shown the text of another row, 0 and 5 none.
WITHOUT_TEXT, WITHOUT_HEATMAP, WITHOUT_SCORE = (7,), (4, 5, 7), (3, 4, 5, 6)


def make_rows(count: int = 8) -> list[dict]:
    """Rows of the common schema; texts of different lengths, and some rows lack text, heatmap or score."""
    random = np.random.default_rng(0)
    rows = []
    for index in range(count):
        width, height = SIZES[index % len(SIZES)]
        heatmap = random.integers(0, 256, (height, width), dtype=np.uint8)
        heatmap[:, : width // 2] = 0
        row = {
            "id": f"row-{index}",
            "image": Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8)),
            "heatmap": Image.fromarray(heatmap),
            "score": float(random.random()),
            **{name: f"The {'left hand ' * (index + 1)}is melted." for name in SECTIONS},
        }
        row |= dict.fromkeys(SECTIONS) if index in WITHOUT_TEXT else {}
        row |= {"heatmap": None} if index in WITHOUT_HEATMAP else {}
        row |= {"score": None} if index in WITHOUT_SCORE else {}
        rows.append(row)
    return rows


def make_trainer(model: Path, output: Path, batch: int, accumulation: int, **settings) -> HEIETrainer:
    """A trainer for one plain gradient step over the eight rows in their order.

    Gradients are not clipped: a clipped step has the same length however wrong the scale of the loss is.
    """
    arguments = {
        "max_steps": 1,
        "per_device_train_batch_size": batch,
        "gradient_accumulation_steps": accumulation,
        "per_device_eval_batch_size": 2,
        "train_sampling_strategy": "sequential",
        "optim": "sgd",
        "learning_rate": 1e-2,
        "warmup_steps": 0,
        "max_grad_norm": 0.0,
        "save_strategy": "no",
        "logging_steps": 1,
        "num_overlays": 0,
        "report_to": "none",
        "use_cpu": True,
    }
    arguments = HEIETrainingArguments(str(output), **arguments | settings)
    if os.environ.get("ACCELERATE_USE_FSDP") == "true":
        # Accelerate shards on GPUs only: on a CPU it goes on as DDP without a word, although gloo could do it.
        arguments.distributed_state.distributed_type = DistributedType.MULTI_GPU
    network = HEIEForImplausibility.from_pretrained(model)
    processor = AutoProcessor.from_pretrained(model)
    return HEIETrainer(network, arguments, train_dataset=make_rows(), processing_class=processor)


def train(model: Path, output: Path, cut: str, **settings) -> HEIETrainer:
    """One step with `cut` = BATCHxACCUMULATION; weights and `step.json` go to OUTPUT/CUT."""
    trainer = make_trainer(model, output / cut, *map(int, cut.split("x")), **settings)
    trainer.train()
    trainer.save_model()
    if trainer.is_world_process_zero():
        processes = (trainer.args.world_size, trainer.accelerator.distributed_type)
        step = {"processes": processes, "log": trainer.state.log_history[0]}
        (output / cut / "step.json").write_text(json.dumps(step))
    return trainer


def evaluate(model: Path, output: Path, counts: Sequence[int], **settings) -> HEIETrainer:
    """Measures on the first rows, as many as each of `counts` says; the figures go to OUTPUT/metrics-COUNT.json."""
    trainer = make_trainer(model, output, 1, 1, **settings)
    for count in counts:
        metrics = trainer.evaluate(make_rows(count))
        if trainer.is_world_process_zero():
            (output / f"metrics-{count}.json").write_text(json.dumps(metrics))
    return trainer


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--cuts", nargs="+", default=[])
    parser.add_argument("--eval-rows", nargs="+", type=int, default=[])
    parser.add_argument("--settings", type=json.loads, default={})
    options = parser.parse_args()
    for cut in options.cuts:
        trainer = train(options.model, options.output, cut, **options.settings)
    if options.eval_rows:
        trainer = evaluate(options.model, options.output, options.eval_rows, **options.settings)
    trainer.end()


if __name__ == "__main__":
    main()
