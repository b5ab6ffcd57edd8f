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
from heie_hf.text_sources import TextSource
from heie_hf.training import HEIETrainer, HEIETrainingArguments

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
    args = arguments(
        TrainingArguments,
        folder,
        max_steps=steps,
        seed=seed,
        learning_rate=2e-3,
        weight_decay=0.05,
        adam_beta2=0.98,
        remove_unused_columns=False,
    )
    shown = []
    for index, defects in enumerate(rows["defects"]):
        times = max(1, len(defects))  # a scene is shown as often as it has defects, one without any once
        shown += [index] * times
    rows = rows.select_columns(["cells", "tiles"]).select(shown)
    trainer = Trainer(model, args, collate_cells, train_dataset=rows)
    finish(trainer, folder)


def train_jointly(
    rows: Dataset,
    model: HEIEForImplausibility,
    processor: HEIEProcessor,
    folder: Path,
    text_source: dict | str | None = None,
    **settings,
) -> None:
    """One phase of the joint training; the tower takes part if its gradients are on."""
    rate = settings["learning_rate"]
    heads = {"params": [], "lr": rate}
    tower = {"params": [], "lr": rate * TOWER_RATE}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = tower if name.startswith("model.vision_tower.") else heads
            group["params"].append(parameter)
    optimizer = torch.optim.AdamW([heads, tower], betas=(0.9, 0.98), weight_decay=0.05)
    trainer = HEIETrainer(
        model,
        arguments(HEIETrainingArguments, folder, **settings),
        ImageScoreCollator(processor, text_source),
        train_dataset=rows.remove_columns(["cells", "tiles"]),
        optimizers=(optimizer, None),
    )
    finish(trainer, folder)


def train(folder: Path, options: argparse.Namespace) -> Path:
    """All stages; returns the folder of the trained model.

    Each has scenes of its own (text and heads share theirs): what the heads learnt to trust on scenes that the tower
    knows by heart would not hold on others, and neither would the scores of scenes that they know themselves.
    """
    rounds = [folder / f"vision-{number}" for number in range(len(options.vision_steps))]
    text, heads, joint = folder / "text", folder / "heads", folder / "joint"
    if is_done(joint):
        return joint / "final"
    for number, steps in enumerate(options.vision_steps):
        if not is_done(rounds[number]):
            seer = load_tower(rounds[number - 1]) if number else new_tower(options.seed)
            train_vision(draw(options, number), seer, rounds[number], steps, options.seed + number)
    if not is_done(heads):
        rows = draw(options, len(rounds))
        if not is_done(text):
            train_text(rows, load_tower(rounds[-1]), text, options)
        train_heads(rows, text, heads, options)
    train_all(draw(options, len(rounds) + 1), heads, joint, options)
    return joint / "final"


def is_done(stage: Path) -> bool:
    return (stage / "final").exists()


def train_text(rows: Dataset, seer: PartsAndDefects, folder: Path, options: argparse.Namespace) -> None:
    """The reference texts alone. Beside the larger gradients of heatmap and score the language model learns the words
    of a sentence, but not which of them go together ("Nothing looks wrong", "Everything looks plausible")."""
    set_seed(options.seed)
    model, processor = new_model(rows, seer.tower)
    model.model.vision_tower.requires_grad_(False)
    train_jointly(
        rows,
        model,
        processor,
        folder,
        TextSource.REFERENCE,
        loss_weights={"heatmap": 0.0, "laplace": 0.0, "score": 0.0},
        max_steps=options.text_steps,
        seed=options.seed,
        learning_rate=2e-3,
    )


def train_heads(rows: Dataset, before: Path, folder: Path, options: argparse.Namespace) -> None:
    """Heads and language model; the tower rests."""
    model, processor = load(before / "final")
    model.model.vision_tower.requires_grad_(False)
    train_jointly(
        rows,
        model,
        processor,
        folder,
        max_steps=num_head_steps(options),
        seed=options.seed + 1,
        learning_rate=2e-3,
        lr_scheduler_type="cosine_with_min_lr",
        lr_scheduler_kwargs={"min_lr_rate": 0.3},
    )


def train_all(rows: Dataset, before: Path, folder: Path, options: argparse.Namespace) -> None:
    """Everything, the tower too."""
    model, processor = load(before / "final")
    model.config.focal_gamma = 0.0  # with more, what it is unsure of comes out too strong
    train_jointly(
        rows,
        model,
        processor,
        folder,
        max_steps=options.joint_steps - num_head_steps(options),
        seed=options.seed + 2,
        learning_rate=1e-3,
    )


def num_head_steps(options: argparse.Namespace) -> int:
    return round(options.joint_steps * TOWER_RESTS)


def draw(options: argparse.Namespace, stage: int) -> Dataset:
    """The scenes of a stage; no other stage has them."""
    with PartialState().main_process_first():
        first = stage * options.num_scenes
        return scenes(TRAIN.seed, options.num_scenes, options.output_dir / "scenes", first)


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
    halves = {name: tensor.half() for name, tensor in model.state_dict().items()}
    model.save_pretrained(folder, state_dict=halves)
    processor.save_pretrained(folder)


@torch.no_grad()
def evaluate(
    model: HEIEForImplausibility, processor: HEIEProcessor, seed: int, count: int, text: TextSource
) -> dict[str, float]:
    """Metrics on the first scenes of a seed, with generated text or none. Never with the reference text."""
    heatmaps, targets = [], []
    scores, true_scores = [], []
    issues, planted = [], []
    for start in tqdm(range(0, count, 10), desc=f"evaluate, {text} text"):
        batch = [draw_scene(seed, index) for index in range(start, min(start + 10, count))]
        inputs = processor(images=[scene.image for scene in batch], return_tensors="pt")
        if text == TextSource.GENERATED:
            outputs = model.generate(**inputs, return_dict_in_generate=True)
        else:
            outputs = model.assess(**inputs)
        sizes = [scene.heatmap.shape for scene in batch]
        results = processor.post_process(outputs, target_sizes=sizes)
        for scene, result in zip(batch, results):
            heatmaps.append(result["predicted_heatmap"])
            targets.append(scene.heatmap)
            scores.append(result["score"])
            true_scores.append(scene.score)
            issues.append(issues_in(result["analysis"]))
            planted.append({defect.kind for defect in scene.defects})
    figures = heatmap_metrics(heatmaps, targets) | score_metrics(scores, true_scores)
    del figures["per_image"]
    if text == TextSource.GENERATED:
        figures |= issue_metrics(issues, planted)
    return figures


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
    options = read_options()
    process = PartialState(cpu=True)
    trained = train(options.output_dir, options)
    if process.is_main_process:
        export(*load(trained), options.export_dir)
        model, processor = load(options.export_dir)
        for text in (TextSource.GENERATED, TextSource.NONE):
            figures = evaluate(model.eval(), processor, options.test_seed, options.num_test_scenes, text)
            print(json.dumps({"text": text, "seed": options.test_seed} | figures), flush=True)


if __name__ == "__main__":
    main()
