"""Do specialised models do better? SegFormer-b0 and a plain ViT, trained as long as HEIE on the same scenes.

    OMP_NUM_THREADS=1 torchrun --nproc-per-node 2 -m benchmarks.baselines.run --output-dir runs/baselines \\
        --minutes 15 --seeds 0 --heie results/heie-short results/heie-tiny

Each is trained from random weights with each seed, measured on the test scenes with the code of `heie evaluate`, and
the tables go into docs/baselines.md. Everything is kept in the output folder, a result of each model and seed as `heie
evaluate` writes it: run again after an interruption, and it goes on from the last checkpoint.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from accelerate import PartialState
from safetensors.torch import load_file
from tqdm import tqdm

from benchmarks.baselines.models import MODELS, Baseline, predict
from benchmarks.baselines.training import BATCH, train
from benchmarks.claims.short_runs import write_between_marks
from heie_hf.evaluation import EvaluationData, EvaluationError, load_samples, read_data
from heie_hf.evaluation.data import open_heatmap, open_image
from heie_hf.evaluation.figures import statistics
from heie_hf.evaluation.measure import PARAMETERS
from heie_hf.evaluation.results import save_result, summarize
from heie_hf.evaluation.samples import UNKNOWN, finite
from heie_hf.evaluation.store import PredictionStore
from heie_hf.metrics import image_metrics
from heie_hf.metrics.bootstrap import Interval, Statistic, interval
from heie_hf.recipes.heie_tiny import scenes

FIGURES = {
    "Heatmap": {"cc": "CC", "auc_judd": "AUC-Judd", "sim": "SIM", "kld": "KLD", "mse": "MSE", "mse_gt0": "MSE, GT=0"},
    "Score": {"plcc": "PLCC", "srcc": "SRCC"},
}
NAMES = [name for figures in FIGURES.values() for name in figures]


def read_options(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    parser.add_argument("--scenes", type=Path, help="folder of training scenes already drawn [OUTPUT_DIR/scenes]")
    parser.add_argument("--minutes", type=float, default=60.0, help="of training, for each model and seed")
    parser.add_argument("--baselines", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--num-train", type=int, default=36_000)
    parser.add_argument("--train-seed", type=int, default=1)
    parser.add_argument("--num-test", type=int, default=1000)
    parser.add_argument("--test-seed", type=int, default=4000)
    parser.add_argument("--heie", type=Path, nargs="*", default=[], help="results of `heie evaluate`, a row for each")
    parser.add_argument("--docs", type=Path, default="docs/baselines.md", help="where the tables go")
    options = parser.parse_args(given)
    names = ("minutes", "num_train", "train_seed", "num_test", "test_seed")
    settings = {name: getattr(options, name) for name in names}  # the same for all that is kept in one folder
    try:
        with PartialState(cpu=True).main_process_first():
            PredictionStore(options.output_dir).claim(settings)
        options.heie = {folder.name: read_figures(folder, options.num_test) for folder in options.heie}
    except (OSError, EvaluationError) as error:
        parser.error(str(error))
    return options


def read_figures(folder: Path, num_test: int) -> dict[str, Interval]:
    """The figures of a result. Raises EvaluationError if they are not over `num_test` images."""
    metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
    if metrics.get("num_images") != num_test:
        raise EvaluationError(f"{folder} is not of {num_test} images; evaluate HEIE on the test scenes")
    return {name: Interval(metrics[name], *metrics["intervals"][name]) for name in NAMES}


def measure(model: Baseline, data: EvaluationData) -> list[dict]:
    """One dict per image, with the columns of `heie evaluate`."""
    samples = []
    for start in tqdm(range(0, len(data.rows), BATCH), desc="measure"):
        rows = [data.rows[index] for index in range(start, min(start + BATCH, len(data.rows)))]
        predictions = predict(model, [open_image(row["image"]) for row in rows])
        for row, (heatmap, score) in zip(rows, predictions):
            figures = image_metrics(heatmap, open_heatmap(row["heatmap"]), **PARAMETERS)
            known = {"key": row["id"], "row": len(samples), "score": score, "target_score": row["score"]}
            samples.append(UNKNOWN | known | {name: finite(value) for name, value in figures.items()})
    return samples


def evaluate(name: str, seed: int, data: EvaluationData, folder: Path) -> None:
    model = MODELS[name]()
    model.load_state_dict(load_file(folder / "model" / "model.safetensors"))
    training = json.loads((folder / "model" / "training.json").read_text())
    run = {"model": name, "training_seed": seed, **training, **data.source}
    save_result(summarize(folder.name, measure(model.eval(), data), [], run), folder)


def mean_over_seeds(folders: list[Path]) -> dict[str, Interval]:
    """The figures of one baseline; the intervals are over scenes, which all its seeds were measured on."""
    found = [statistics(load_samples(folder)) for folder in folders]
    means = {}
    for name in NAMES:
        parts = [each[name] for each in found]
        mean = Statistic(parts[0].num_images, lambda weights, of=parts: np.mean([x.of(weights) for x in of], axis=0))
        means[name] = interval(mean)
    return means


def label(name: str, folders: list[Path]) -> str:
    runs = [json.loads((folder / "metrics.json").read_text(encoding="utf-8"))["run"] for folder in folders]
    images = np.mean([run["training_images"] for run in runs])
    return f"{name} ({runs[0]['parameters'] / 1e6:.1f} M parameters, saw {images:,.0f} images)"


def table(title: str, figures: dict[str, str], rows: dict[str, dict[str, Interval]]) -> str:
    lines = [f"| {title} | {' | '.join(figures.values())} |", "|---|" + "---|" * len(figures)]
    for name, found in rows.items():
        cells = [_cell(found[figure], 4 if "mse" in figure else 3) for figure in figures]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _cell(found: Interval, digits: int) -> str:
    if found.value is None or np.isnan(found.value):
        return "–"
    return f"{found.value:.{digits}f} [{found.low:.{digits}f}, {found.high:.{digits}f}]"


def main(given: list[str] | None = None) -> None:
    options, process = read_options(given), PartialState(cpu=True)
    folders = {name: [options.output_dir / f"{name}-{seed}" for seed in options.seeds] for name in options.baselines}
    runs = [(name, *run) for name, each in folders.items() for run in zip(options.seeds, each)]
    untrained = [run for run in runs if not (run[-1] / "model").exists()]
    if untrained:
        with process.main_process_first():
            rows = scenes(options.train_seed, options.num_train, options.scenes or options.output_dir / "scenes")
        for name, seed, folder in untrained:
            train(name, seed, rows, folder, 60 * options.minutes)
    if not process.is_main_process:
        return
    unmeasured = [run for run in runs if not (run[-1] / "metrics.json").exists()]
    if unmeasured:
        data = read_data("synthetic", num_images=options.num_test, seed=options.test_seed)
        for name, seed, folder in unmeasured:
            evaluate(name, seed, data, folder)
    found = options.heie | {label(name, each): mean_over_seeds(each) for name, each in folders.items()}
    settings = (
        f"{options.minutes:g} minutes of training on {options.num_train:,} scenes of seed {options.train_seed}, "
        f"measured on {options.num_test:,} scenes of seed {options.test_seed}; mean over the training seeds "
        f"({', '.join(map(str, options.seeds))}); 95 % intervals over the scenes."
    )
    write_between_marks(options.docs, [settings, *(table(title, each, found) for title, each in FIGURES.items())])


if __name__ == "__main__":
    main()
