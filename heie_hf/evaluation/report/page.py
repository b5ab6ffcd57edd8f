"""report.html: what a run found, the headline first, for a browser without a network and for a printer.

The page needs no other file but the small pictures of its gallery, in the folder report/ beside it. Its only script
sorts and filters the gallery; all else can be read without it. Templates escape whatever comes from data and models.
"""

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from heie_hf.evaluation.data import EvaluationData
from heie_hf.evaluation.kept_files import save_text
from heie_hf.evaluation.results import Result
from heie_hf.evaluation.store import PredictionStore
from heie_hf.visualization import INFERNO, THRESHOLD

from .cases import cases
from .charts import heatmap_charts, score_charts
from .comparison import ablations, main_comparisons
from .gallery import gallery
from .tables import definitions, figures, headline, issues, not_measured, pairs, settings, summary, three_digits

FILE = "report.html"
PICTURES = "report"


def write_single_report(result: Result, data: EvaluationData, store: PredictionStore, folder: Path) -> None:
    """The report of one data set, with charts, cases and a gallery of all its images.

    Writes `folder`/report.html and `folder`/report/, a JPEG file per image.
    """
    page = _render(
        "single.html.jinja",
        title=f"HEIE evaluation: {result.label}",
        notices=_notices([result]),
        run=result.metrics["run"],
        num_images=result.metrics["num_images"],
        headline=headline(result),
        figures=figures([result]),
        not_measured=not_measured([result]),
        comparisons=main_comparisons([result]),
        ablations=ablations([result]),
        score_charts=score_charts(result.samples),
        heatmap_charts=heatmap_charts(result.samples),
        issues=issues(result.samples),
        pairs=pairs(result.samples),
        judge=settings(result.metrics.get("judge", {})),
        cases=cases(result, data, store),
        cards=gallery(result, data, store, folder / PICTURES),
        pictures=PICTURES,
        failures=result.failures,
        settings=settings(result.metrics["run"]),
        definitions=definitions(result),
    )
    save_text(page, folder / FILE)


def write_joint_report(results: Sequence[Result], folder: Path) -> None:
    """Several results side by side, with links to the report of each, as `folder`/report.html."""
    page = _render(
        "joint.html.jinja",
        title="HEIE evaluation",
        notices=_notices(results),
        results=results,
        summary=summary(results),
        figures=figures(results),
        not_measured=not_measured(results),
        comparisons=main_comparisons(results),
        ablations=ablations(results),
        definitions=definitions(results[0]),
        report_file=FILE,
    )
    save_text(page, folder / FILE)


def _notices(results: Sequence[Result]) -> list[str]:
    """What the weights know, each sentence once."""
    notices = [result.metrics["run"].get("notice") for result in results]
    return [notice for notice in dict.fromkeys(notices) if notice]


def _render(template: str, **content) -> str:
    """A page with its style and script inside; the browser is told by their digests to accept no others."""
    environment = Environment(
        loader=PackageLoader("heie_hf.evaluation.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["three_digits"] = three_digits
    style = environment.get_template("report.css").render()
    script = environment.get_template("gallery.js").render()
    return environment.get_template(template).render(
        style=style,
        script=script,
        style_digest=_digest(style),
        script_digest=_digest(script),
        heat_colours=INFERNO,
        threshold=THRESHOLD,
        **content,
    )


def _digest(text: str) -> str:
    """As a Content-Security-Policy wants it."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"sha256-{base64.b64encode(digest).decode()}"
