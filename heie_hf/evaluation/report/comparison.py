"""This run beside the paper's figures: in the printed table on the same images only, else in a table of its own."""

from collections.abc import Sequence
from dataclasses import dataclass

from heie_hf.evaluation.results import Result

from .paper import ABHUMAN, FUSION, RICHHF, SCORE_SOURCE, TEXT, PrintedTable
from .tables import UNKNOWN, Row, Table, heading, three_digits

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
    """A result as a row of a printed table."""

    result: Result
    name: str
    values: list[float | None]


def main_comparisons(results: Sequence[Result]) -> list[Comparison]:
    """The main table of every data set that the results are of; RichHF-18K's for those that the paper has not."""
    rows: dict[str, list[OwnRow]] = {}
    printed = {table.title: table for table in (RICHHF, ABHUMAN)}
    for result in results:
        table = ABHUMAN if ABHUMAN.is_of(result.metrics["run"]) else RICHHF
        name = f"{result.label} (this run, {result.metrics['num_images']} images)"
        rows.setdefault(table.title, []).append(OwnRow(result, name, _values(table, result)))
    return [_compare(printed[title], own) for title, own in rows.items()]


def ablations(results: Sequence[Result]) -> list[Comparison]:
    """Tables 5 to 7, with the rows that the results are of."""
    fusions, sources, texts = [], [], []
    for result in results:
        run = result.metrics["run"]
        fusions.append(_own_row(FUSION, result, run["fusion"]))
        texts.append(_own_row(TEXT, result, run["text"]))
        sources += _source_rows(result)
    return [_compare(FUSION, fusions), _compare(SCORE_SOURCE, sources), _compare(TEXT, texts)]


def _source_rows(result: Result) -> list[OwnRow]:
    rows = []
    for source, suffix in _SUFFIXES.items():
        if result.metrics["run"]["heatmap"] == "reference":
            source = source.replace("heatmap", "reference heatmap")
        rows.append(_own_row(SCORE_SOURCE, result, source, suffix))
    return rows


def _own_row(table: PrintedTable, result: Result, kind: str, suffix: str = "") -> OwnRow:
    return OwnRow(result, f"{kind}: {result.label} (this run)", _values(table, result, suffix))


def _values(table: PrintedTable, result: Result, suffix: str = "") -> list[float | None]:
    return [result.metrics[f"{figure}{suffix}"] for figure in table.columns]


def _compare(printed: PrintedTable, own_rows: list[OwnRow]) -> Comparison:
    """The printed table with the rows of the same images, after a table for each other data set."""
    headings = [heading(figure) for figure in printed.columns]
    rows = _printed_rows(printed)
    others: dict[str, list[Row]] = {}
    for own in own_rows:
        cells = [three_digits(value) for value in own.values]
        row = Row(own.name, cells, ours=True)
        run = own.result.metrics["run"]
        if printed.is_of(run):
            rows.append(row)
        else:
            others.setdefault(_data_name(run), []).append(row)
    tables = [Table(f"This run, {name}", headings, own) for name, own in others.items()]
    tables.append(Table(f"The paper, {printed.images}", headings, rows))
    return Comparison(printed.title, tables, other_images=bool(others))


def _printed_rows(printed: PrintedTable) -> list[Row]:
    rows = []
    for name, values in printed.rows.items():
        cells = [_as_printed(figure, value) for figure, value in zip(printed.columns, values)]
        rows.append(Row(name, cells))
    return rows


def _as_printed(figure: str, value: float | None) -> str:
    """With the paper's number of decimals."""
    if value is None:
        return UNKNOWN
    decimals = 5 if figure.startswith("mse") else 3
    return f"{value:.{decimals}f}"


def _data_name(run: dict) -> str:
    return f"{run['dataset']} {run['split']}" if run["split"] else str(run["dataset"])
