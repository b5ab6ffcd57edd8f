"""report.html: one file with the paper's table, this run's row in it, charts and cases. No other files, no scripts."""

from collections.abc import Iterable, Sequence
from html import escape
from itertools import chain
from urllib.parse import quote

from heie_hf.evaluation.data import EvaluationData
from heie_hf.evaluation.figures import FIGURES
from heie_hf.evaluation.measure import fused_maps
from heie_hf.evaluation.results import Result
from heie_hf.evaluation.store import PredictionStore

from .cases import case_html, choose_cases
from .charts import calibration, histogram, scatter
from .paper import FUSION, SCORE_SOURCE, TEXT, PrintedTable, main_table

MAX_DOTS = 4000

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>
body {{ font: 15px/1.45 sans-serif; color: #222; max-width: 64rem; margin: 2rem auto; padding: 0 1rem }}
table {{ border-collapse: collapse; margin: .5rem 0 1rem }}
td, th {{ padding: .2rem .7rem; border-bottom: 1px solid #ddd; text-align: right; font-variant-numeric: tabular-nums }}
td:first-child, th:first-child {{ text-align: left; overflow-wrap: anywhere }}
tr.ours {{ background: #fff3cd; font-weight: bold }}
figure {{ display: inline-block; margin: 0 .5rem .5rem 0 }} figcaption {{ font-size: 12px; color: #666 }}
article {{ border-top: 1px solid #ddd; padding: .5rem 0 }} article h4, article p {{ margin: .2rem 0 }}
p.text {{ white-space: pre-line }} p.note {{ color: #666 }}
</style></head><body><h1>{title}</h1>
{body}
</body></html>
"""


def single_report(result: Result, data: EvaluationData, store: PredictionStore) -> str:
    """The report of one data set, with charts and cases."""
    sections = {
        "This run": _pairs(result.metrics["run"]),
        **_tables([result]),
        "Scores": _score_charts(result),
        "Heatmaps": _heatmap_charts(result),
        "Explanations": _issue_table(result) + _judge_table(result),
        "Worst and best cases": _cases(result, data, store),
        "Failures": _failures(result),
        "Definitions": _pairs(result.metrics["parameters"]),
    }
    return _page(f"HEIE evaluation: {result.label}", sections)


def joint_report(results: Sequence[Result]) -> str:
    """Several results side by side, with links to the report of each."""
    links = [f'<li><a href="{quote(r.label)}/report.html">{escape(r.label)}</a></li>' for r in results]
    sections = {"Reports of the single runs": f"<ul>{''.join(links)}</ul>", **_tables(results)}
    return _page("HEIE evaluation", sections | {"Definitions": _pairs(results[0].metrics["parameters"])})


def _tables(results: Sequence[Result]) -> dict[str, str]:
    groups: dict[str, tuple[PrintedTable, list[Result]]] = {}
    for result in results:
        table = main_table(str(result.metrics["run"]["dataset"]))
        groups.setdefault(table.title, (table, []))[1].append(result)
    return {
        **{title: _main_table(*group) for title, group in groups.items()},
        "Figures with 95 % intervals": _figures(results),
        "The paper's ablations": _ablations(results),
    }


def _main_table(table: PrintedTable, results: Sequence[Result]) -> str:
    ours = {f"{r.label} (this run, {r.metrics['num_images']} images)": _row(table, r) for r in results}
    note = "Rows compare only where data and split are the same."
    return _printed(table, ours) + f'<p class="note">{note}</p>'


def _row(table: PrintedTable, result: Result) -> tuple[float | None, ...]:
    return tuple(result.metrics[name] for name in table.columns)


def _printed(table: PrintedTable, ours: dict[str, tuple]) -> str:
    rows = [(name, *map(_number, table.columns, values)) for name, values in (table.rows | ours).items()]
    return _table(["", *table.columns.values()], rows, set(ours))


def _ablations(results: Sequence[Result]) -> str:
    fusion, text, source = {}, {}, {}
    for result in results:
        run, name = result.metrics["run"], f"{result.label} (this run)"
        fusion[f"{run['fusion']}: {name}"] = _row(FUSION, result)
        text[f"{run['text']}: {name}"] = _row(TEXT, result)
        given = run["heatmap"] == "reference"
        for kind, suffix in {"token": "_token", "heatmap": "_map", "token and heatmap": ""}.items():
            kind = kind.replace("heatmap", "reference heatmap") if given else kind
            source[f"{kind}: {name}"] = tuple(result.metrics[f"{figure}{suffix}"] for figure in ("plcc", "srcc"))
    tables = ((FUSION, fusion), (SCORE_SOURCE, source), (TEXT, text))
    return "".join(f"<h3>{escape(table.title)}</h3>{_printed(table, ours)}" for table, ours in tables)


def _figures(results: Sequence[Result]) -> str:
    rows = []
    for name in FIGURES:
        cells = [_with_interval(name, r.metrics[name], r.metrics["intervals"][name]) for r in results]
        rows.append((name, *cells))
    for name in (name for name in results[0].metrics if name.startswith("num_")):
        rows.append((name, *(str(r.metrics[name]) for r in results)))
    return _table(["", *(r.label for r in results)], rows)


def _with_interval(name: str, value: float | None, bounds: Sequence[float | None]) -> str:
    if value is None or None in bounds:
        return _number(name, value)
    return f"{_number(name, value)} [{_number(name, bounds[0])}, {_number(name, bounds[1])}]"


def _score_charts(result: Result) -> str:
    scored = [s for s in result.samples if s["target_score"] is not None and s["score"] is not None]
    if not scored:
        return "<p>No image has both a true and a predicted score.</p>"
    prediction, target = [s["score"] for s in scored], [s["target_score"] for s in scored]
    step = -(-len(scored) // MAX_DOTS)
    dots = scatter(prediction[::step], target[::step], "predicted score", "true score")
    return f"{_figure(dots, 'Scatter')}{_figure(calibration(prediction, target), 'Calibration: bins of 0.1, ± 1 SE')}"


def _heatmap_charts(result: Result) -> str:
    charts = [
        _figure(histogram(values, low, 1, label), f"{label}, image by image")
        for name, low, label in (("cc", -1, "CC"), ("auc_judd", 0, "AUC-Judd"))
        if (values := [s[name] for s in result.samples if s[name] is not None])
    ]
    return "".join(charts) or "<p>No image has a heatmap with defects.</p>"


def _issue_table(result: Result) -> str:
    listed = [s for s in result.samples if s["issues_there"] is not None]
    if not listed:
        return "<p>No generated text on images with listed defects.</p>"
    rows = []
    for kind in sorted(set(chain.from_iterable(s["issues_there"] + s["issues_named"] for s in listed))):
        there = sum(kind in s["issues_there"] for s in listed)
        named = sum(kind in s["issues_named"] for s in listed)
        both = sum(kind in s["issues_there"] and kind in s["issues_named"] for s in listed)
        rates = [f"{both / count:.2f}" if count else "–" for count in (named, there)]
        rows.append((kind, str(there), str(named), *rates))
    return _table(["kind of defect", "images that have it", "texts that name it", "precision", "recall"], rows)


def _judge_table(result: Result) -> str:
    """Who rated the texts, and what it cost; the rating itself stands with the other figures."""
    return _pairs(result.metrics["judge"]) if "judge" in result.metrics else ""


def _cases(result: Result, data: EvaluationData, store: PredictionStore) -> str:
    groups = choose_cases(result.samples)
    parts = []
    for kind, samples in groups.items():
        maps = fused_maps(store, samples, result.metrics["run"]["fusion"])
        cases = "".join(case_html(data, sample, heatmap) for sample, heatmap in zip(samples, maps))
        parts.append(f"<h3>{escape(kind)}</h3>{cases}")
    return "".join(parts) or "<p>No image has a heatmap or a score.</p>"


def _failures(result: Result) -> str:
    if not result.failures:
        return "<p>None.</p>"
    return _table(["image", "reason"], result.failures)


def _pairs(values: dict) -> str:
    return _table(["", ""], [(name, "none" if value is None else str(value)) for name, value in values.items()])


def _number(name: str, value: float | None) -> str:
    return "–" if value is None else f"{value:.5f}" if name.startswith("mse") else f"{value:.3f}"


def _table(headings: Sequence[str], rows: Iterable[Sequence[str]], marked: Iterable[str] = ()) -> str:
    lines = [f"<tr>{''.join(f'<th>{escape(heading)}</th>' for heading in headings)}</tr>"]
    for row in rows:
        kind = ' class="ours"' if row[0] in marked else ""
        lines.append(f"<tr{kind}>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>")
    return f"<table>{''.join(lines)}</table>"


def _figure(chart: str, caption: str) -> str:
    return f"<figure>{chart}<figcaption>{escape(caption)}</figcaption></figure>"


def _page(title: str, sections: dict[str, str]) -> str:
    body = "\n".join(
        f"<section><h2>{escape(heading)}</h2>{content}</section>" for heading, content in sections.items()
    )
    return _PAGE.format(title=escape(title), body=body)
