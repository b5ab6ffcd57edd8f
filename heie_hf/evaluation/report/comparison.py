"""This run beside the paper's figures: in the printed table on the same images only, else in a table of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from heie_hf.evaluation.results import Result

from .paper import ABHUMAN, FUSION, RICHHF, SCORE_SOURCE, TEXT, PrintedTable
from .tables import UNKNOWN, Table, heading, three_digits

#: What a score is read from -> what the figures of that score have behind their names.
_SUFFIXES = {"token": "_token", "heatmap": "_map", "token and heatmap": ""}


@dataclass(frozen=True)
class Comparison:
    """`other_images`: whether some of the tables are of other images than the paper's."""

    title: str
    tables: list[Table]
    other_images: bool


@dataclass(frozen=True)
class OwnRow:
    """A result as a row of a printed table; `suffix`: what its figures have behind their names."""

    result: Result
    name: str
    suffix: str = ""


def main_comparisons(results: Sequence[Result]) -> list[Comparison]:
    """The main table of every data set that the results are of; RichHF-18K's for those that the paper has not."""
    in_richhf = []
    in_abhuman = []
    for result in results:
        name = f"{result.label} (this run, {result.metrics['num_images']} images)"
        if ABHUMAN.is_of(result.metrics["run"]):
            in_abhuman.append(OwnRow(result, name))
        else:
            in_richhf.append(OwnRow(result, name))
    comparisons = []
    if in_richhf:
        comparisons.append(_compare(RICHHF, in_richhf))
    if in_abhuman:
        comparisons.append(_compare(ABHUMAN, in_abhuman))
    return comparisons


def ablations(results: Sequence[Result]) -> list[Comparison]:
    """Tables 5 to 7, with the rows that the results are of."""
    fusions = []
    sources = []
    texts = []
    for result in results:
        run = result.metrics["run"]
        fusions.append(_own_row(result, run["fusion"]))
        texts.append(_own_row(result, run["text"]))
        for source, suffix in _SUFFIXES.items():
            if run["heatmap"] == "reference":
                source = source.replace("heatmap", "reference heatmap")
            sources.append(_own_row(result, source, suffix))
    return [_compare(FUSION, fusions), _compare(SCORE_SOURCE, sources), _compare(TEXT, texts)]


def _own_row(result: Result, kind: str, suffix: str = "") -> OwnRow:
    return OwnRow(result, f"{kind}: {result.label} (this run)", suffix)


def _compare(printed: PrintedTable, own_rows: list[OwnRow]) -> Comparison:
    """The printed table with the rows of the same images, after a table for each other data set."""
    papers = _papers_table(printed)
    others: dict[str, Table] = {}
    for row in own_rows:
        run = row.result.metrics["run"]
        caption = _caption(run)
        if printed.is_of(run):
            table = papers
        elif caption in others:
            table = others[caption]
        else:
            table = Table(caption, papers.headings)
            others[caption] = table
        table.add(row.name, _cells(row, printed.columns), ours=True)
    tables = [*others.values(), papers]
    return Comparison(printed.title, tables, other_images=len(tables) > 1)


def _papers_table(printed: PrintedTable) -> Table:
    headings = [heading(figure) for figure in printed.columns]
    table = Table(f"The paper, {printed.images}", headings)
    for name, values in printed.rows.items():
        cells = []
        for figure, value in zip(printed.columns, values):
            cells.append(_as_printed(figure, value))
        table.add(name, cells)
    return table


def _cells(row: OwnRow, figures: Sequence[str]) -> list[str]:
    cells = []
    for figure in figures:
        value = row.result.metrics[figure + row.suffix]
        cells.append(three_digits(value))
    return cells


def _as_printed(figure: str, value: float | None) -> str:
    """With the paper's number of decimals."""
    if value is None:
        return UNKNOWN
    decimals = 5 if figure.startswith("mse") else 3
    return f"{value:.{decimals}f}"


def _caption(run: dict) -> str:
    """This run and its data; rows in memory need have no name."""
    names = [run.get("dataset"), run.get("split")]
    data_name = " ".join(filter(None, names))
    return f"This run, {data_name}" if data_name else "This run"
