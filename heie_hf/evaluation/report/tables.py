"""The tables of a report: cells as text, names as people read them, three digits."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from heie_hf.evaluation.figures import FIGURES, NAMES
from heie_hf.evaluation.results import Result

#: What a reader wants to know first.
HEADLINE = ("cc", "auc_judd", "mse", "plcc", "srcc", "issue_f1")

UNKNOWN = "–"

#: Settings with a place of their own, or of no use to a reader.
_NOT_LISTED = ("notice", "url")


@dataclass(frozen=True)
class Row:
    """`ours`: a result of this run among printed ones."""

    name: str
    cells: list[str]
    ours: bool = False


@dataclass(frozen=True)
class Table:
    """`headings`: of the cells; the names of the rows have none."""

    caption: str
    headings: list[str]
    rows: list[Row]


@dataclass(frozen=True)
class Headline:
    """A figure with its name, which way is better, and its interval."""

    name: str
    value: str
    interval: str
    better: str


def three_digits(value: float | None) -> str:
    """0.938, 0.00137, 12.3; a dash for None."""
    if value is None:
        return UNKNOWN
    rounded = float(f"{value:.3g}")
    if rounded == 0:
        return "0"
    if abs(rounded) < 1e-6:
        return f"{rounded:.2e}"
    magnitude = math.floor(math.log10(abs(rounded)))
    decimals = max(0, 2 - magnitude)
    return f"{rounded:.{decimals}f}"


def arrow(figure: str) -> str:
    return "↑" if FIGURES[figure] else "↓"


def heading(figure: str) -> str:
    return f"{NAMES[figure]} {arrow(figure)}"


def headline(result: Result) -> list[Headline]:
    """The figures that a reader wants first; those that the data cannot give are left out."""
    shown = []
    for figure in HEADLINE:
        value = result.metrics[figure]
        if value is None:
            continue
        better = "higher is better" if FIGURES[figure] else "lower is better"
        shown.append(Headline(NAMES[figure], three_digits(value), _interval(result, figure), better))
    return shown


def summary(results: Sequence[Result]) -> Table:
    """The same, a row per result."""
    rows = []
    for result in results:
        cells = [three_digits(result.metrics[figure]) for figure in HEADLINE]
        images = str(result.metrics["num_images"])
        rows.append(Row(result.label, [*cells, images]))
    headings = [heading(figure) for figure in HEADLINE]
    return Table("The results", [*headings, "images"], rows)


def figures(results: Sequence[Result]) -> Table:
    """Every figure with its interval, then the counts; a column per result."""
    rows = []
    for figure in FIGURES:
        if _is_measured(results, figure):
            cells = [_with_interval(result, figure) for result in results]
            rows.append(Row(heading(figure), cells))
    for name in results[0].flat:
        if name.startswith("num_"):
            cells = [str(result.metrics[name]) for result in results]
            rows.append(Row(NAMES[name], cells))
    labels = [result.label for result in results]
    return Table("Every figure, with its 95 % bootstrap interval over the images", labels, rows)


def not_measured(results: Sequence[Result]) -> list[str]:
    """Names of the figures that no result has."""
    return [NAMES[figure] for figure in FIGURES if not _is_measured(results, figure)]


def _is_measured(results: Sequence[Result], figure: str) -> bool:
    return any(result.metrics[figure] is not None for result in results)


def _with_interval(result: Result, figure: str) -> str:
    value = three_digits(result.metrics[figure])
    interval = _interval(result, figure)
    return f"{value} [{interval}]" if interval else value


def _interval(result: Result, figure: str) -> str:
    low, high = result.metrics["intervals"][figure]
    if low is None or high is None:
        return ""
    return f"{three_digits(low)}, {three_digits(high)}"


def issues(samples: Sequence[dict]) -> Table | None:
    """Kinds of defect that images have and texts name; None where no image lists its defects."""
    there, named, both = Counter(), Counter(), Counter()
    for sample in samples:
        if sample["issues_there"] is None:
            continue
        there.update(sample["issues_there"])
        named.update(sample["issues_named"])
        both.update(set(sample["issues_there"]) & set(sample["issues_named"]))
    rows = []
    for kind in sorted(there | named):
        precision = both[kind] / named[kind] if named[kind] else None
        recall = both[kind] / there[kind] if there[kind] else None
        rates = [three_digits(precision), three_digits(recall)]
        rows.append(Row(kind, [str(there[kind]), str(named[kind]), *rates]))
    headings = ["images that have it", "texts that name it", "precision ↑", "recall ↑"]
    return Table("Kinds of defect that the texts name", headings, rows) if rows else None


def settings(values: dict) -> list[Row]:
    """Names as in metrics.json; what was not given is left out."""
    rows = []
    for name, value in values.items():
        if value is None or name in _NOT_LISTED:
            continue
        text = three_digits(value) if isinstance(value, float) else str(value)
        rows.append(Row(name, [text]))
    return rows


def definitions(result: Result) -> list[Row]:
    """What the figures mean."""
    rows = []
    for name, meaning in result.metrics["parameters"].items():
        rows.append(Row(NAMES.get(name, name), [str(meaning)]))
    return rows
