"""Which texts must a model see in training, so that its score holds with its own text and without any?

    python benchmarks/text_source.py --model runs/heie-tiny/heads/final --output-dir runs/text-source

Trains the same model with each mix of `text_source`, evaluates each with the reference text, its own text and no text
on scenes it has never seen, and writes the table into docs/text_source.md. Every training and every cell is kept in
the output folder: run it again after an interruption, and it goes on. Without --model, the embedded model's shape with
random weights is trained, which takes far more steps.
"""

import argparse
import json
from pathlib import Path

import torch
from datasets import Dataset
from transformers import set_seed
from transformers.trainer_utils import get_last_checkpoint

from heie_hf import HEIEConfig, HEIEForImplausibility, HEIEProcessor, HEIETrainer, HEIETrainingArguments
from heie_hf.checkpoints import default_checkpoint
from heie_hf.collator import DEFAULT_TEXT_SOURCE
from heie_hf.data import synthetic
from heie_hf.evaluation import EvaluatedModel, EvaluationData, evaluate, fingerprint

MIXES = {
    "reference": {"reference": 1.0},
    "reference, none": {"reference": 0.6, "none": 0.4},
    "reference, none, swapped (default)": DEFAULT_TEXT_SOURCE,
    "reference, none, own": {"reference": 0.36, "none": 0.4, "own": 0.24},
}
TEXTS = {"reference": "given text", "generated": "own text", "none": "no text"}
FIGURES = {"plcc": "Score: PLCC", "cc": "Heatmap: CC"}
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a HEIE checkpoint to go on from")
    parser.add_argument("--docs", type=Path, default="docs/text_source.md", help="where the table goes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--own-text-steps", type=int, default=50)
    parser.add_argument("--freeze-vision", action="store_true", help="the vision tower does not learn: faster")
    parser.add_argument("--num-train", type=int, default=2000)
    parser.add_argument("--num-test", type=int, default=500)
    parser.add_argument("--train-seed", type=int, default=3)
    parser.add_argument("--test-seed", type=int, default=1000)
    return parser.parse_args(arguments)


def load_model(folder: Path | None) -> HEIEForImplausibility:
    """The checkpoint to start from; None gives random weights. Eager attention is the faster one on a CPU."""
    set_seed(0)
    if folder is None:
        return HEIEForImplausibility(HEIEConfig.from_pretrained(default_checkpoint(), attn_implementation="eager"))
    return HEIEForImplausibility.from_pretrained(folder, attn_implementation="eager")


def train(mix: dict[str, float], rows: Dataset, folder: Path, options: argparse.Namespace) -> Path:
    """The folder of a model trained with this mix, made unless it is there."""
    final, checkpoints = folder / "model", folder / "checkpoints"
    if final.exists():
        return final
    model = load_model(options.model)
    model.model.vision_tower.requires_grad_(not options.freeze_vision)
    arguments = HEIETrainingArguments(
        str(checkpoints),
        text_source=mix,
        own_text_steps=options.own_text_steps,
        max_steps=options.steps,
        per_device_train_batch_size=options.batch_size,
        learning_rate=options.learning_rate,
        lr_scheduler_type="cosine",
        loss_weights={"heatmap": 20.0, "score": 10.0},
        bf16=True,
        use_cpu=not torch.cuda.is_available(),
        logging_steps=25,
        save_steps=100,
        save_total_limit=1,
        report_to="none",
    )
    processor = HEIEProcessor.from_pretrained(options.model or default_checkpoint())
    trainer = HEIETrainer(model, arguments, train_dataset=rows, processing_class=processor)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.exists() else None)
    trainer.save_model(str(folder / "unnamed"))
    (folder / "unnamed").rename(final)
    return final


def measure(model: Path, text: str, rows: Dataset, folder: Path) -> dict:
    """metrics.json of one cell, made unless it is there."""
    path = folder / text / "metrics.json"
    if not path.exists():
        data = EvaluationData("scenes", rows, {"dataset": "synthetic"})
        loaded = EvaluatedModel(
            folder.name,
            lambda: (HEIEForImplausibility.from_pretrained(model).eval(), HEIEProcessor.from_pretrained(model)),
            fingerprint(str(model)),
        )
        evaluate(data, loaded, folder / text, text=text, batch_size=16, num_workers=0)
    return json.loads(path.read_text(encoding="utf-8"))


def table(cells: dict[str, dict[str, dict]], figure: str) -> str:
    """One row per mix, one column per text, each with its 95 % interval."""
    lines = [f"| {FIGURES[figure]}, trained with | {' | '.join(TEXTS.values())} |", "|---|" + "---|" * len(TEXTS)]
    for mix, metrics in cells.items():
        values = []
        for text in TEXTS:
            low, high = metrics[text]["intervals"][figure]
            values.append("–" if low is None else f"{metrics[text][figure]:.3f} [{low:.3f}, {high:.3f}]")
        lines.append(f"| {mix} | {' | '.join(values)} |")
    return "\n".join(lines)


def write_docs(path: Path, cells: dict[str, dict[str, dict]], options: argparse.Namespace) -> None:
    """Put the tables between the two marks of the page."""
    before, _, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    settings = (
        f"{options.steps} steps of {options.batch_size} from {options.num_train} scenes of seed {options.train_seed}, "
        f"measured on {options.num_test} scenes of seed {options.test_seed}; 95 % intervals over the scenes."
    )
    parts = [BEGIN, settings, *(table(cells, figure) for figure in FIGURES), END]
    path.write_text(before + "\n\n".join(parts) + after, encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    options = read_options(arguments)
    rows = synthetic.load(options.num_train, options.train_seed)
    test_rows = synthetic.load(options.num_test, options.test_seed)
    cells = {}
    for mix, shares in MIXES.items():
        folder = options.output_dir / mix.replace(", ", "-").replace(" (default)", "")
        model = train(shares, rows, folder, options)
        cells[mix] = {text: measure(model, text, test_rows, folder) for text in TEXTS}
        write_docs(options.docs, cells, options)


if __name__ == "__main__":
    main()
