"""Tables and plots of the ablations, from their stored results."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import numpy as np
from matplotlib import pyplot

from benchmarks.claims.ablation_variants import TABLES, Table
from benchmarks.claims.short_runs import write_between_marks
from heie_hf.evaluation.figures import FIGURES

HEADINGS = {"cc": "CC", "auc_judd": "AUC-Judd", "mse": "MSE", "kld": "KLD", "plcc": "PLCC", "srcc": "SRCC"}


def write_page(results: dict, docs: Path) -> None:
    settings = results["settings"]
    parts = [
        f"{len(settings['seeds'])} seeds; {settings['steps']} steps of {settings['batch_size']} from "
        f"{settings['num_train']} scenes of seed {settings['train_seed']}; measured on {settings['num_test']} scenes "
        f"of seed {settings['test_seed']}. In brackets the 95 % interval over scenes and seeds. **Bold**: the "
        "difference to the last row leaves out 0."
    ]
    for name, rows in results["tables"].items():
        parts += [f"### {TABLES[name].title}", markdown(TABLES[name], rows), f"![](ablations/{name}.svg)"]
        plot(TABLES[name], rows, docs / "ablations" / f"{name}.svg")
    if "by_size" in results:
        parts += [
            "### One patch or adaptive patches, by the longer side of the image: CC",
            size_table(results["by_size"]),
        ]
    write_between_marks(docs / "ablations.md", parts)


def markdown(table: Table, rows: dict) -> str:
    printed = any(cell.printed for cell in table.rows.values())
    headings = [f"{HEADINGS[figure]} {'↑' if FIGURES[figure] else '↓'}" for figure in table.figures]
    headings += [f"paper: {heading}" for heading in headings] if printed else []
    lines = ["| | " + " | ".join(headings) + " |", "|---|" + "---|" * len(headings)]
    for row, figures in rows.items():
        values = [in_words(figures[figure]) for figure in table.figures]
        if printed:
            values += [f"{value:g}" for value in table.rows[row].printed] or ["–"] * len(table.figures)
        lines.append(f"| {row} | {' | '.join(values)} |")
    return "\n".join(lines)


def in_words(figure: dict) -> str:
    """Value and interval, bold where the interval of the difference leaves out 0."""
    if None in (figure["value"], *figure["interval"], *figure["difference_interval"]):
        return "undefined"
    digits = 4 if abs(figure["value"]) < 0.1 else 3
    low, high = figure["difference_interval"]
    value = f"{figure['value']:.{digits}f}"
    value = f"**{value}**" if low > 0 or high < 0 else value
    return f"{value} [{figure['interval'][0]:.{digits}f}, {figure['interval'][1]:.{digits}f}]"


def size_table(sizes: dict) -> str:
    lines = ["| | one patch | adaptive |", "|---|---|---|"]
    lines += [
        f"| {label} | {' | '.join(in_words(figure) for figure in row.values())} |" for label, row in sizes.items()
    ]
    return "\n".join(lines)


def plot(table: Table, rows: dict, path: Path) -> None:
    """One panel per figure, a dot with its interval per row."""
    matplotlib.rcParams["svg.hashsalt"] = path.stem  # the same file from the same numbers
    path.parent.mkdir(parents=True, exist_ok=True)
    places = np.arange(len(rows))[::-1]
    chart, panels = pyplot.subplots(
        1, len(table.figures), figsize=(3 + 2.2 * len(table.figures), 0.6 + 0.35 * len(rows)), sharey=True
    )
    for panel, figure in zip(np.atleast_1d(panels), table.figures):
        values = np.array([row[figure]["value"] for row in rows.values()], dtype=float)
        bounds = np.array([row[figure]["interval"] for row in rows.values()], dtype=float)
        panel.errorbar(values, places, xerr=np.abs(bounds.T - values), fmt="o", capsize=3)
        panel.set_title(f"{HEADINGS[figure]} ({'more' if FIGURES[figure] else 'less'} is better)", fontsize=8)
        panel.tick_params(labelsize=7)
    np.atleast_1d(panels)[0].set_yticks(places, list(rows), fontsize=8)
    chart.tight_layout()
    chart.savefig(path, metadata={"Date": None})
    pyplot.close(chart)
