"""The tables of a report: cells as text, names as people read them, three digits."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from heie_hf.evaluation.figures import FIGURES, NAMES
from heie_hf.evaluation.results import Result
from heie_hf.evaluation.samples import SHUFFLED
from heie_hf.evaluation.twins import pair_values

#: What a reader wants to know first.
HEADLINE = ("cc", "auc_judd", "mse", "plcc", "srcc", "issue_f1", "description_facts")

UNKNOWN = "–"


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
    rows: list[Row] = field(default_factory=list)

    def add(self, name: str, cells: list[str], ours: bool = False) -> None:
        self.rows.append(Row(name, cells, ours))


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


def heading(figure: str) -> str:
    """Its name, and which way is better; of what chance gives, the name alone."""
    if figure.endswith(SHUFFLED):
        return NAMES[figure]
    arrow = "↑" if FIGURES[figure] else "↓"
    return f"{NAMES[figure]} {arrow}"


def headline(result: Result) -> list[Headline]:
    """The figures that a reader wants first; those that the data cannot give are left out."""
    shown = []
    for figure in HEADLINE:
        value = result.metrics[figure]
        if value is None:
            continue
        better = "higher is better" if FIGURES[figure] else "lower is better"
        interval = _interval(result, figure)
        shown.append(Headline(NAMES[figure], three_digits(value), interval, better))
    return shown


def summary(results: Sequence[Result]) -> Table:
    """The same, a row per result."""
    headings = [*map(heading, HEADLINE), "images"]
    table = Table("Headline figures", headings)
    for result in results:
        cells = []
        for figure in HEADLINE:
            cells.append(three_digits(result.metrics[figure]))
        cells.append(str(result.metrics["num_images"]))
        table.add(result.label, cells)
    return table


def figures(results: Sequence[Result]) -> Table:
    """Every figure with its interval, then the counts; a column per result."""
    labels = [result.label for result in results]
    table = Table("Every figure, with its 95 % bootstrap interval over the images", labels)
    missing = not_measured(results)
    for figure in FIGURES:
        if NAMES[figure.removesuffix(SHUFFLED)] not in missing:
            cells = [_with_interval(result, figure) for result in results]
            table.add(heading(figure), cells)
    for name in results[0].flat:
        if name.startswith("num_"):
            cells = [str(result.metrics[name]) for result in results]
            table.add(NAMES[name], cells)
    return table


def not_measured(results: Sequence[Result]) -> list[str]:
    """Names of the figures that no result has."""
    names = []
    for figure, name in NAMES.items():
        if figure.endswith(SHUFFLED):
            continue
        if all(result.metrics[figure] is None for result in results):
            names.append(name)
    return names


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
    there = Counter()
    named = Counter()
    both = Counter()
    for sample in samples:
        if sample["issues_there"] is None:
            continue
        there.update(sample["issues_there"])
        named.update(sample["issues_named"])
        both.update(set(sample["issues_there"]).intersection(sample["issues_named"]))
    headings = ["images that have it", "texts that name it", "precision ↑", "recall ↑"]
    table = Table("Kinds of defect that the texts name", headings)
    for kind in sorted(there | named):
        cells = [
            str(there[kind]),
            str(named[kind]),
            _share(both[kind], named[kind]),
            _share(both[kind], there[kind]),
        ]
        table.add(kind, cells)
    return table if table.rows else None


def pairs(samples: Sequence[dict]) -> Table | None:
    """The pairs by kind of defect, each under all kinds of its flawed twin; None where there are no pairs."""
    wins, alarms = pair_values(samples)
    wins_of: dict[str, list[float]] = {}
    alarms_of: dict[str, list[float]] = {}
    for sample, win, alarm in zip(samples, wins, alarms):
        for kind in sample["twin_kinds"] or []:
            wins_of.setdefault(kind, []).append(win)
            alarms_of.setdefault(kind, []).append(alarm)
    headings = ["pairs", heading("paired_accuracy"), heading("paired_false_alarm")]
    table = Table("Pairs by kind of defect", headings)
    for kind in sorted(wins_of):
        accuracy = three_digits(_mean_of_known(wins_of[kind]))
        false_alarm = three_digits(_mean_of_known(alarms_of[kind]))
        table.add(kind, [str(len(wins_of[kind])), accuracy, false_alarm])
    return table if table.rows else None


def _mean_of_known(values: Sequence[float]) -> float | None:
    known = [value for value in values if not math.isnan(value)]
    return sum(known) / len(known) if known else None


def _share(part: int, whole: int) -> str:
    return three_digits(part / whole) if whole else UNKNOWN


def settings(values: dict) -> list[Row]:
    """Names as in metrics.json; what was not given is left out, and the notice, which has a place of its own."""
    rows = []
    for name, value in values.items():
        if value is None or name == "notice":
            continue
        if isinstance(value, float):
            value = three_digits(value)
        rows.append(Row(name, [str(value)]))
    return rows


def definitions(result: Result) -> list[Row]:
    """What the figures mean."""
    rows = []
    for name, meaning in result.metrics["parameters"].items():
        rows.append(Row(NAMES.get(name, name), [str(meaning)]))
    return rows
