"""Is the predicted deviation worth anything? Sparsification, coverage, and other ways to fuse, on stored predictions.

    heie synthesize --split dev --output-dir dev;   heie evaluate --dataset dev --output-dir on-dev --text none
    heie synthesize --split test --output-dir test; heie evaluate --dataset test --output-dir on-test --text none
    python -m benchmarks.claims.uncertainty --dev dev on-dev --test test on-test

Writes docs/uncertainty.md, docs/uncertainty.json and docs/uncertainty/*.svg. Runs no network: the maps and deviations
of every patch are among the predictions. Nothing is fitted on the test scenes.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.claims.uncertainty_fusions import Maps, fusion_table, paper_weight, read_maps
from benchmarks.claims.uncertainty_report import write_page
from heie_hf.evaluation.kept_files import save_json
from heie_hf.metrics.score import srcc

DOCS = Path(__file__).resolve().parents[2] / "docs"
SHARES = np.linspace(0, 0.95, 20)  # of the cells left out, the most uncertain ones first
COVERAGE = (0.5, 0.9)


@dataclass(frozen=True)
class Sparsification:
    """Mean error of the cells that are left, as a share of the mean of all: by s, and by the error itself (oracle)."""

    by_deviation: np.ndarray
    oracle: np.ndarray

    @property
    def ause(self) -> float:
        """Area between the two curves; 0 = s ranks as the error does."""
        return float(np.trapezoid(self.by_deviation - self.oracle, SHARES))

    @property
    def ause_of_chance(self) -> float:
        return float(np.trapezoid(1 - self.oracle, SHARES))


def sparsification(error: np.ndarray, deviation: np.ndarray) -> Sparsification:
    """Both (n,), of all cells together."""

    def curve(order: np.ndarray) -> np.ndarray:  # from the one to be kept longest
        means = np.cumsum(error[order]) / np.arange(1, len(error) + 1)
        return means[np.ceil((1 - SHARES) * len(error)).astype(int) - 1] / error.mean()

    return Sparsification(curve(np.argsort(deviation, kind="stable")), curve(np.argsort(error, kind="stable")))


def deviation_table(test: list[Maps]) -> dict:
    """Map -> how its deviation ranks and covers the errors."""
    table = {}
    for name in ("local", "global"):
        error = np.concatenate([np.abs(getattr(maps, f"{name}_map") - maps.target).ravel() for maps in test])
        deviation = np.concatenate([getattr(maps, f"{name}_deviation").ravel() for maps in test])
        marked = np.concatenate([maps.target.ravel() > 0 for maps in test])
        curves = sparsification(error, deviation)
        # A Laplace distribution of deviation s is within -ln(1 - p) s / sqrt(2) of its mean with probability p.
        inside = {p: error <= -math.log(1 - p) * deviation / math.sqrt(2) for p in COVERAGE}
        table[name] = {
            "quantiles_of_s": np.quantile(deviation, [0.05, 0.5, 0.95]).tolist(),
            "srcc": srcc(deviation, error),
            "srcc_marked": srcc(deviation[marked], error[marked]),
            "ause": curves.ause,
            "ause_of_chance": curves.ause_of_chance,
            "shares": SHARES.tolist(),
            "by_deviation": curves.by_deviation.tolist(),
            "oracle": curves.oracle.tolist(),
            "coverage": {str(p): float(each.mean()) for p, each in inside.items()},
            "coverage_marked": {str(p): float(each[marked].mean()) for p, each in inside.items()},
        }
    return table


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for split in ("dev", "test"):
        parser.add_argument(f"--{split}", nargs=2, required=True, metavar=("DATA", "RESULTS"))
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the page")
    options = parser.parse_args(arguments)
    dev, test = (list(read_maps(data, Path(results))) for data, results in (options.dev, options.test))
    weights = np.concatenate([paper_weight(maps).ravel() for maps in test])
    results = {
        "num_dev": len(dev),
        "num_test": len(test),
        "paper_weights": np.quantile(weights, [0.05, 0.95]).tolist(),
        "deviation": deviation_table(test),
        "fusion": fusion_table(test, dev),
    }
    save_json(results, options.docs / "uncertainty.json")
    write_page(results, options.docs)


if __name__ == "__main__":
    main()
