"""Train the embedded default, heie_hf/checkpoints/heie-tiny, from scratch on drawn scenes: `make train-tiny`.

Train the vision tower to name parts and defects, in three rounds; around the resting tower, train the language model
to write, then everything; train everything, the tower too; export; evaluate on scenes never seen. Each stage draws its
own scenes first, but the heads see those of the text; the folder scenes/ may be emptied between two stages. Run again
after an interruption: it goes on where it stopped.
On a busy machine two processes of one thread are faster than one of two:
    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 examples/train_tiny.py
Trains on the train split of the synthetic benchmark and the 144,000 scenes that follow it in the same seed, and is
evaluated on the test split (docs/benchmark.md).
"""

import argparse
import json
import os
from pathlib import Path

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the data loaders fork

import torch
from accelerate import PartialState
from datasets import Dataset
from safetensors.torch import load_file
from tqdm import tqdm
from transformers import Trainer, TrainingArguments, set_seed

from heie_hf.data.synthetic import SPLITS, draw_scene, issues_in
from heie_hf.metrics import heatmap_metrics, score_metrics
from heie_hf.metrics.text import issue_metrics
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.processing.processing_heie import HEIEProcessor
from heie_hf.recipes.heie_tiny import ImageScoreCollator, PartsAndDefects, collate_cells, new_model, scenes
from heie_hf.training.collator import DEFAULT_TEXT_SOURCE
from heie_hf.training.trainer import HEIETrainer, HEIETrainingArguments

TRAIN, TEST = SPLITS["train"], SPLITS["test"]
BATCH = 16  # images, in all processes together
# The tower rests until the heads know what it sees, and then learns at a smaller rate than they do.
TOWER_RESTS, TOWER_RATE = 0.5, 0.4


def arguments(cls: type, folder: Path, **settings) -> TrainingArguments:
    common = {
        "output_dir": str(folder),
        "per_device_train_batch_size": BATCH // PartialState(cpu=True).num_processes,
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
    """Train from the last complete checkpoint, if there is one, to the end."""
    complete = sorted(folder.glob("checkpoint-*/trainer_state.json"), key=os.path.getmtime)
    trainer.train(resume_from_checkpoint=str(complete[-1].parent) if complete else None)
    trainer.save_model(str(folder / "unnamed"))
    if trainer.is_world_process_zero():
        (folder / "unnamed").rename(folder / "final")
    trainer.accelerator.wait_for_everyone()  # the next stage reads it


def train_vision(rows: Dataset, model: PartsAndDefects, folder: Path, steps: int, seed: int) -> None:
    set_seed(seed)
    settings = {"learning_rate": 2e-3, "weight_decay": 0.05, "adam_beta2": 0.98, "remove_unused_columns": False}
    args = arguments(TrainingArguments, folder, max_steps=steps, seed=seed, **settings)
    # A scene is shown as often as it has defects, one without any once.
    shown = [index for index, defects in enumerate(rows["defects"]) for _ in defects or [None]]
    rows = rows.select_columns(["cells", "tiles"]).select(shown)
    finish(Trainer(model, args, collate_cells, train_dataset=rows), folder)


def train_jointly(
    rows: Dataset,
    model: HEIEForImplausibility,
    processor: HEIEProcessor,
    folder: Path,
    text_source: dict | str = DEFAULT_TEXT_SOURCE,
    **settings,
) -> None:
    """One phase of the joint training; the tower takes part if its gradients are on."""
    rate = settings["learning_rate"]
    groups = [{"params": [], "lr": rate}, {"params": [], "lr": rate * TOWER_RATE}]
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            groups[name.startswith("model.vision_tower.")]["params"].append(parameter)
    trainer = HEIETrainer(
        model,
        arguments(HEIETrainingArguments, folder, **settings),
        ImageScoreCollator(processor, text_source, settings["seed"]),
        train_dataset=rows.remove_columns(["cells", "tiles"]),
        optimizers=(torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.05), None),
    )
    finish(trainer, folder)


def train(folder: Path, options: argparse.Namespace) -> Path:
    """All stages; returns the folder of the trained model.

    Each has scenes of its own (text and heads share theirs): what the heads learnt to trust on scenes that the tower
    knows by heart would not hold on others, and neither would the scores of scenes that they know themselves.
    """
    rounds = [folder / f"vision-{number}" for number in range(len(options.vision_steps))]
    text, heads, joint = folder / "text", folder / "heads", folder / "joint"
    if (joint / "final").exists():
        return joint / "final"
    for number, (stage, steps) in enumerate(zip(rounds, options.vision_steps)):
        if not (stage / "final").exists():
            seer = load_tower(rounds[number - 1]) if number else new_tower(options.seed)
            train_vision(draw(options, number), seer, stage, steps, options.seed + number)
    num_heads = round(options.joint_steps * TOWER_RESTS)
    if not (heads / "final").exists():
        rows = draw(options, len(rounds))
        if not (text / "final").exists():
            train_text(rows, load_tower(rounds[-1]), text, options)
        model, processor = load(text / "final")
        model.model.vision_tower.requires_grad_(False)
        floor = {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr_rate": 0.3}}
        settings = {"max_steps": num_heads, "seed": options.seed + 1, "learning_rate": 2e-3}
        train_jointly(rows, model, processor, heads, **settings, **floor)
    model, processor = load(heads / "final")
    model.config.focal_gamma = 0.0  # with more, what it is unsure of comes out too strong
    settings = {"max_steps": options.joint_steps - num_heads, "seed": options.seed + 2, "learning_rate": 1e-3}
    train_jointly(draw(options, len(rounds) + 1), model, processor, joint, **settings)
    return joint / "final"


def train_text(rows: Dataset, seer: PartsAndDefects, folder: Path, options: argparse.Namespace) -> None:
    """The reference texts alone. Beside the larger gradients of heatmap and score the language model learns the words
    of a sentence, but not which of them go together ("Nothing looks wrong", "Everything looks plausible")."""
    set_seed(options.seed)
    model, processor = new_model(rows, seer.tower)
    model.model.vision_tower.requires_grad_(False)
    settings = {"max_steps": options.text_steps, "seed": options.seed, "learning_rate": 2e-3}
    unasked = {"heatmap": 0.0, "laplace": 0.0, "score": 0.0}
    train_jointly(rows, model, processor, folder, "reference", loss_weights=unasked, **settings)


def draw(options: argparse.Namespace, stage: int) -> Dataset:
    """The scenes of a stage; no other stage has them."""
    with PartialState().main_process_first():
        folder, first = options.output_dir / "scenes", stage * options.num_scenes
        return scenes(TRAIN.seed, options.num_scenes, folder, first)


def new_tower(seed: int) -> PartsAndDefects:
    set_seed(seed)
    return PartsAndDefects()


def load_tower(stage: Path) -> PartsAndDefects:
    seer = PartsAndDefects()
    seer.load_state_dict(load_file(stage / "final" / "model.safetensors"))
    return seer


def load(folder: Path) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    model = HEIEForImplausibility.from_pretrained(folder, attn_implementation="eager")
    return model, HEIEProcessor.from_pretrained(folder)


def export(model: HEIEForImplausibility, processor: HEIEProcessor, folder: Path) -> None:
    """Half the bytes as float16 tensors; the config says float32, so `from_pretrained` computes in that."""
    model.save_pretrained(folder, state_dict={name: value.half() for name, value in model.state_dict().items()})
    processor.save_pretrained(folder)


@torch.no_grad()
def evaluate(model: HEIEForImplausibility, processor: HEIEProcessor, seed: int, count: int, own_text: bool) -> dict:
    """Metrics on the first scenes of a seed, with the model's own text or without any. Never with given text."""
    maps, scores, issues, planted = [], [], [], []
    for start in tqdm(range(0, count, 10), desc=f"evaluate, {'own' if own_text else 'no'} text"):
        batch = [draw_scene(seed, index) for index in range(start, min(start + 10, count))]
        inputs = processor(images=[scene.image for scene in batch], return_tensors="pt")
        outputs = model.generate(**inputs, return_dict_in_generate=True) if own_text else model.assess(**inputs)
        results = processor.post_process(outputs, target_sizes=[scene.heatmap.shape for scene in batch])
        maps += [(result["predicted_heatmap"], scene.heatmap) for result, scene in zip(results, batch)]
        scores += [(result["score"], scene.score) for result, scene in zip(results, batch)]
        issues += [issues_in(result["analysis"]) for result in results]
        planted += [{defect.kind for defect in scene.defects} for scene in batch]
    figures = heatmap_metrics(*zip(*maps)) | score_metrics(*zip(*scores))
    del figures["per_image"]
    return figures | (issue_metrics(issues, planted) if own_text else {})


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, default="runs/heie-tiny", help="scenes (22 GB a stage) too")
    parser.add_argument("--export-dir", type=Path, default="heie_hf/checkpoints/heie-tiny")
    parser.add_argument("--num-scenes", type=int, default=TRAIN.num_images, help="of each stage")
    parser.add_argument("--vision-steps", type=int, nargs="+", default=[12000, 8000, 12000], help=f"of {BATCH} images")
    parser.add_argument("--text-steps", type=int, default=400, help="of reference texts alone")
    parser.add_argument("--joint-steps", type=int, default=5000, help=f"the tower rests in {TOWER_RESTS:.0%}% of them")
    parser.add_argument("--num-test-scenes", type=int, default=TEST.num_images)
    parser.add_argument("--test-seed", type=int, default=TEST.seed)
    parser.add_argument("--seed", type=int, default=0)
    return parser.parse_args()


def main() -> None:
    options, process = read_options(), PartialState(cpu=True)
    trained = train(options.output_dir, options)
    if process.is_main_process:
        export(*load(trained), options.export_dir)
        model, processor = load(options.export_dir)
        for own_text in (True, False):
            figures = evaluate(model.eval(), processor, options.test_seed, options.num_test_scenes, own_text)
            print(json.dumps({"text": "own" if own_text else "none", "seed": options.test_seed} | figures), flush=True)


if __name__ == "__main__":
    main()
