"""Whether a text is true: the issues that it names, and the objects, colours and place that its description says.

And what chance gives: the same figures with the texts of other images.
"""

from collections.abc import Sequence

import numpy as np

from heie_hf.data.synthetic import DEFECTS, issues_in
from heie_hf.data.synthetic.facts import read_facts
from heie_hf.metrics.facts import color_share, object_share, place_share
from heie_hf.metrics.text import issue_counts
from heie_hf.processing.explanation_heie import SECTIONS

from .data import EvaluationData
from .samples import SHUFFLED

#: Of the permutation that deals out the texts of other images.
SEED = 0

#: Columns of a sample that are there once more with the suffix SHUFFLED.
SHUFFLED_COLUMNS = (
    "hits",
    "false_alarms",
    "misses",
    "description_objects",
    "description_colors",
    "description_place",
    "description_facts",
)


def text_figures(row: dict, texts: dict[str, str]) -> dict:
    """Columns of a sample: the truth of a text (its sections by name) of the image of a row; {} without any text."""
    if not any(texts[name] for name in SECTIONS):
        return {}
    return _issue_figures(row["defects"], texts["analysis"]) | _fact_figures(row["facts"], texts["description"])


def _issue_figures(defects: list[dict] | None, analysis: str) -> dict:
    """The issues that the text names against those that are there; nothing where these are not listed by kind."""
    if defects is None:
        return {}
    there = {defect["kind"] for defect in defects}
    if not there <= set(DEFECTS):
        return {}
    named = issues_in(analysis)
    hits, false_alarms, misses = issue_counts(named, there)
    return {
        "issues_named": sorted(named),
        "issues_there": sorted(there),
        "hits": hits,
        "false_alarms": false_alarms,
        "misses": misses,
    }


def _fact_figures(facts: dict | None, description: str) -> dict:
    """Shares of the facts that the description says rightly, and their mean; nothing where no facts are known."""
    if facts is None:
        return {}
    read = read_facts(description)
    said = []
    for item in read.objects:
        said.append((item.noun, item.color))
    true = []
    for item in facts["objects"] or []:
        true.append((item["noun"], item["color"]))
    shares = {
        "description_objects": object_share(said, true),
        "description_colors": color_share(said, true),
        "description_place": place_share(read.places, facts["place"]),
    }
    known = [share for share in shares.values() if share is not None]
    if known:
        shares["description_facts"] = float(np.mean(known))
    return shares


def partners(number: int) -> list[int]:
    """For each of `number` texts another one, never itself: one cycle through all, the same for the same number."""
    order = np.random.default_rng(SEED).permutation(number)
    other = np.empty(number, dtype=int)
    other[order] = np.roll(order, 1)
    return other.tolist()


def add_shuffled(data: EvaluationData, samples: Sequence[dict]) -> list[dict]:
    """Of each sample the columns of SHUFFLED_COLUMNS with the text of another one; {} where it has no text."""
    columns: list[dict] = [{} for _ in samples]
    places = [place for place, sample in enumerate(samples) if any(sample[name] for name in SECTIONS)]
    if len(places) < 2:
        return columns
    rows = data.rows.select_columns(["defects", "facts"])
    for place, partner in zip(places, partners(len(places))):
        figures = text_figures(rows[samples[place]["row"]], samples[places[partner]])
        for name in SHUFFLED_COLUMNS:
            columns[place][name + SHUFFLED] = figures.get(name)
    return columns
