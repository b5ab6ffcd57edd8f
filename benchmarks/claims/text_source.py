"""Which texts must a model see in training, so that its score holds with generated text and without any?

    python -m benchmarks.claims.text_source --model runs/heie-tiny/heads/final --output-dir runs/text-source

Trains the same model with each mix of `text_source`, evaluates each with the reference text, generated text and no
text on scenes it has never seen, and writes the table into docs/text_source.md. Every training and every cell is kept
in the output folder: run it again after an interruption, and it goes on. Without --model, the embedded model's shape
with random weights is trained, which takes far more steps.
"""

import argparse
from pathlib import Path

from datasets import Dataset
from transformers import set_seed

from benchmarks.claims.short_runs import Parts, measure, train, write_between_marks
from heie_hf import HEIEConfig, HEIEForImplausibility, HEIEProcessor
from heie_hf.checkpoints import default_checkpoint
from heie_hf.data import synthetic
from heie_hf.training.collator import DEFAULT_TEXT_SOURCE

MIXES = {
    "reference": {"reference": 1.0},
    "reference, none": {"reference": 0.6, "none": 0.4},
    "reference, none, swapped (default)": DEFAULT_TEXT_SOURCE,
    "reference, none, generated": {"reference": 0.36, "none": 0.4, "generated": 0.24},
}
TEXTS = {"reference": "reference text", "generated": "generated text", "none": "no text"}
FIGURES = {"plcc": "Score: PLCC", "cc": "Heatmap: CC"}


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--model", type=Path, help="a HEIE checkpoint to go on from")
    parser.add_argument("--docs", type=Path, default="docs/text_source.md", help="where the table goes")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--generated-text-steps", type=int, default=50)
    parser.add_argument("--freeze-vision", action="store_true", help="the vision tower does not learn: faster")
    parser.add_argument("--num-train", type=int, default=2000)
    parser.add_argument("--num-test", type=int, default=500)
    parser.add_argument("--train-seed", type=int, default=3)
    parser.add_argument("--test-seed", type=int, default=1000)
    return parser.parse_args(arguments)


def load_model(options: argparse.Namespace) -> Parts:
    """The checkpoint to start from; None gives random weights. Eager attention is the faster one on a CPU."""
    set_seed(0)
    source = options.model or default_checkpoint()
    if options.model is None:
        model = HEIEForImplausibility(HEIEConfig.from_pretrained(source, attn_implementation="eager"))
    else:
        model = HEIEForImplausibility.from_pretrained(source, attn_implementation="eager")
    model.model.vision_tower.requires_grad_(not options.freeze_vision)
    return model, HEIEProcessor.from_pretrained(source)


def cells_of(mix: dict[str, float], rows: Dataset, test_rows: Dataset, folder: Path, options: argparse.Namespace):
    """metrics.json of the model trained with this mix, for each kind of text."""
    settings = {
        "text_source": mix,
        "generated_text_steps": options.generated_text_steps,
        "max_steps": options.steps,
        "per_device_train_batch_size": options.batch_size,
        "learning_rate": options.learning_rate,
        "loss_weights": {"heatmap": 20.0, "score": 10.0},
    }
    model = train(lambda: load_model(options), rows, folder, **settings)
    return {text: measure(model, test_rows, folder / text, text=text) for text in TEXTS}


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


def main(arguments: list[str] | None = None) -> None:
    options = read_options(arguments)
    rows = synthetic.load(options.num_train, options.train_seed)
    test_rows = synthetic.load(options.num_test, options.test_seed)
    settings = (
        f"{options.steps} steps of {options.batch_size} from {options.num_train} scenes of seed {options.train_seed}, "
        f"measured on {options.num_test} scenes of seed {options.test_seed}; 95 % intervals over the scenes."
    )
    cells = {}
    for mix, shares in MIXES.items():
        folder = options.output_dir / mix.replace(", ", "-").replace(" (default)", "")
        cells[mix] = cells_of(shares, rows, test_rows, folder, options)
        write_between_marks(options.docs, [settings, *(table(cells, figure) for figure in FIGURES)])


if __name__ == "__main__":
    main()
