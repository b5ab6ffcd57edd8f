"""The page on the predicted deviation, from its stored results."""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from benchmarks.claims.short_runs import write_between_marks
from benchmarks.claims.uncertainty_fusions import FIGURES


def write_page(results: dict, docs: Path) -> None:
    plot(results["deviation"], docs / "uncertainty" / "sparsification.svg")
    low, high = results["paper_weights"]
    parts = [
        f"{results['num_test']} test scenes, {results['num_dev']} dev scenes for what is fitted; no text.",
        "### The deviation against the error, per cell",
        deviation_markdown(results["deviation"]),
        "![](uncertainty/sparsification.svg)",
        "### Fusions of the same two maps",
        f"The paper's weight of the local map lies between {low:.3f} and {high:.3f} in 90 % of the cells. **Bold**: "
        "the difference to the paper's formula leaves out 0.",
        fusion_markdown(results["fusion"]),
    ]
    write_between_marks(docs / "uncertainty.md", parts)


def deviation_markdown(table: dict) -> str:
    rows = {
        "s, quantiles 5, 50, 95 %": lambda each: ", ".join(f"{value:.3f}" for value in each["quantiles_of_s"]),
        "SRCC of s and the error": lambda each: f"{each['srcc']:.3f}",
        "... where something is marked": lambda each: f"{each['srcc_marked']:.3f}",
        "AUSE (by chance)": lambda each: f"{each['ause']:.3f} ({each['ause_of_chance']:.3f})",
        **{
            f"within the {float(p):.0%} interval (where marked)": lambda each, p=p: (
                f"{each['coverage'][p]:.1%} ({each['coverage_marked'][p]:.1%})"
            )
            for p in next(iter(table.values()))["coverage"]
        },
    }
    lines = ["| | local maps | global map |", "|---|---|---|"]
    return "\n".join(lines + [f"| {row} | {' | '.join(map(show, table.values()))} |" for row, show in rows.items()])


def fusion_markdown(table: dict) -> str:
    lines = ["| | CC ↑ | KLD ↓ | MSE ↓ |", "|---|---|---|---|"]
    for name, figures in table.items():
        cells = []
        for figure in FIGURES:
            digits = 5 if figure == "mse" else 4
            value, (low, high) = figures[figure]["value"], figures[figure]["difference_interval"]
            mark = "**" if low > 0 or high < 0 else ""
            bounds = ", ".join(f"{bound:.{digits}f}" for bound in figures[figure]["interval"])
            cells.append(f"{mark}{value:.{digits}f}{mark} [{bounds}]")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def plot(table: dict, path: Path) -> None:
    matplotlib.rcParams["svg.hashsalt"] = path.stem
    path.parent.mkdir(parents=True, exist_ok=True)
    chart, panels = pyplot.subplots(1, 2, figsize=(7, 3), sharey=True)
    for panel, (name, each) in zip(panels, table.items()):
        panel.plot(each["shares"], each["by_deviation"], label="most uncertain first")
        panel.plot(each["shares"], each["oracle"], "--", label="largest error first")
        panel.axhline(1, color="gray", linewidth=0.8, label="by chance")
        panel.set(title=f"{name} map", xlabel="share of cells left out")
    panels[0].set_ylabel("mean error of the rest / of all")
    panels[0].legend(fontsize=7)
    chart.tight_layout()
    chart.savefig(path, metadata={"Date": None})
    pyplot.close(chart)
