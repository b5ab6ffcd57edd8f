"""Do the paper's claims hold on drawn scenes? Ablations in the shape of its tables, written into docs/ablations.md.

    python -m benchmarks.claims.ablations --output-dir runs/ablations  # train, measure, write; goes on after a stop
    python -m benchmarks.claims.ablations  # write the page again from the stored results

Every variant begins from the same checkpoint (default: the embedded one) with new heads, its vision tower at rest, and
is trained for the same steps on the same scenes, once per seed. A figure is the mean over the seeds; its 95 % interval
is a bootstrap that draws scenes and seeds anew. A row differs from the table's last one where the interval of the
difference leaves out 0.
"""

import argparse
import io
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from datasets import Dataset
from datasets import Image as ImageFeature
from PIL import Image

from benchmarks.claims.ablation_report import write_page
from benchmarks.claims.ablation_variants import TABLES, VARIANTS, Cell, Table, load, read_score, start, write_score
from benchmarks.claims.short_runs import measure, train
from heie_hf.checkpoints import default_checkpoint
from heie_hf.data import synthetic
from heie_hf.evaluation import load_samples
from heie_hf.evaluation.figures import quiet, statistics
from heie_hf.evaluation.kept_files import save_json
from heie_hf.evaluation.samples import finite
from heie_hf.metrics.bootstrap import Statistic, compare, interval

DOCS = Path(__file__).resolve().parents[2] / "docs"
SIZES = {"up to 224 px": (0, 224), "225 to 336 px": (225, 336), "above 336 px": (337, 10_000)}


def read_options(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, help="trainings and measurements; without it the page alone")
    parser.add_argument("--model", default=str(default_checkpoint()))
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of ablations.md, ablations.json, ablations/")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--num-train", type=int, default=1600)
    parser.add_argument("--train-seed", type=int, default=3)
    parser.add_argument("--num-test", type=int, default=400)
    parser.add_argument("--test-seed", type=int, default=6000)
    return parser.parse_args(arguments)


class Runs:
    """Trainings and measurements of one output folder, made when they are asked for."""

    def __init__(self, options: argparse.Namespace):
        self.options = options
        self.rows = synthetic.load(options.num_train, options.train_seed)
        self.test_rows = synthetic.load(options.num_test, options.test_seed)

    def model(self, name: str, seed: int) -> Path:
        variant, options = VARIANTS[name], self.options
        rows = self.rows.map(write_score, desc="write scores") if variant.writes_score else self.rows
        return train(
            lambda: start(variant, options.model, seed),
            rows,
            options.output_dir / f"{name}-{seed}",
            text_source=variant.text_source,
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            generated_text_steps=50,
            seed=seed,
        )

    def samples(self, cell: Cell, seed: int) -> list[dict]:
        """What `heie evaluate` says of each test scene."""
        variant, model = VARIANTS[cell.variant], self.model(cell.variant, seed)
        folder = model.parent / cell.name.partition("/")[2]
        options = {"text": cell.text, "heatmap": cell.heatmap}
        measure(model, self.test_rows, folder, lambda path: load(variant, path), **options)
        samples = load_samples(folder)
        if variant.writes_score:
            samples = [sample | {"score": read_score(sample["analysis"])} for sample in samples]
        return samples


def over_seeds(samples: Sequence[list[dict]], figure: str) -> Statistic:
    """The figure's mean over the seeds; resamples draw the seeds anew, too, and every call draws the same ones."""
    of_seeds = [statistics(each)[figure] for each in samples]
    drawn = np.random.default_rng(0)

    def of(weights: np.ndarray) -> np.ndarray:
        values = np.stack([each.of(weights) for each in of_seeds])  # (seeds, resamples)
        chosen = drawn.integers(len(values), size=values.shape)
        return np.take_along_axis(values, chosen, axis=0).mean(axis=0)

    return Statistic(of_seeds[0].num_images, of)


def figure_of(samples: Sequence[list[dict]], reference: Sequence[list[dict]], figure: str) -> dict:
    """Value and interval of a figure, and of its difference to the reference's; None where it is undefined."""
    value, of_reference = (
        np.mean([statistics(each)[figure].value for each in which]) for which in (samples, reference)
    )
    with quiet():
        bounds = interval(over_seeds(samples, figure))
        difference = compare(over_seeds(samples, figure), over_seeds(reference, figure))
    return {
        "value": finite(float(value)),
        "interval": [finite(bounds.low), finite(bounds.high)],
        "difference": finite(float(value - of_reference)),
        "difference_interval": [finite(difference.low), finite(difference.high)],
    }


def table_results(table: Table, samples: dict[str, list[list[dict]]]) -> dict:
    """Row name -> figure -> numbers."""
    reference = samples[list(table.rows.values())[-1].name]
    return {
        row: {figure: figure_of(samples[cell.name], reference, figure) for figure in table.figures}
        for row, cell in table.rows.items()
    }


def by_size(samples: dict[str, list[list[dict]]], test_rows: Dataset) -> dict:
    """CC of one patch and of adaptive patches, by the image's longer side."""
    sides = {row["id"]: max(Image.open(io.BytesIO(row["image"]["bytes"])).size) for row in _undecoded(test_rows)}
    results = {}
    for label, (least, most) in SIZES.items():
        inside = {
            name: [[sample for sample in each if least <= sides[sample["key"]] <= most] for each in samples[name]]
            for name in ("one-patch/none", "heie/none")
        }
        if inside["heie/none"][0]:
            one, adaptive = inside.values()
            results[label] = {"one patch": figure_of(one, adaptive, "cc"), "adaptive": figure_of(adaptive, one, "cc")}
    return results


def _undecoded(rows: Dataset) -> Dataset:
    return rows.select_columns(["id", "image"]).cast_column("image", ImageFeature(decode=False))


def run(options: argparse.Namespace) -> dict:
    """Train and measure what is missing; the results of every table whose cells are complete are written at once."""
    runs, samples, results = Runs(options), {}, {"settings": _settings(options), "tables": {}}
    for name, table in TABLES.items():
        for cell in table.rows.values():
            samples[cell.name] = [runs.samples(cell, seed) for seed in options.seeds]
        results["tables"][name] = table_results(table, samples)
        save_json(results, options.docs / "ablations.json")
        write_page(results, options.docs)
    results["by_size"] = by_size(samples, runs.test_rows)
    save_json(results, options.docs / "ablations.json")
    return results


def _settings(options: argparse.Namespace) -> dict:
    names = ("seeds", "steps", "batch_size", "learning_rate", "num_train", "train_seed", "num_test", "test_seed")
    return {name: getattr(options, name) for name in names}


def main(arguments: list[str] | None = None) -> None:
    options = read_options(arguments)
    results = run(options) if options.output_dir else json.loads((options.docs / "ablations.json").read_text())
    write_page(results, options.docs)


if __name__ == "__main__":
    main()
