"""Pairs: a flawed image and its twin that is equal but for the flaws. Does a model see the flaw, or only the style?"""

from collections.abc import Sequence

import numpy as np

from heie_hf.metrics.heatmap import resize
from heie_hf.visualization import THRESHOLD

from .data import EvaluationData, open_heatmap


def flawed_twins(data: EvaluationData) -> dict[int, int]:
    """Row number of each clean twin -> that of the flawed one, which its column `pair` names."""
    rows = data.rows.select_columns(["id", "pair"])
    number_of = {}
    for number, row in enumerate(rows):
        number_of.setdefault(row["id"], number)
    twins = {}
    for number, row in enumerate(rows):
        pair = row["pair"]
        is_clean = pair != row["id"]
        if is_clean and pair in number_of:
            twins[number] = number_of[pair]
    return twins


def twin_figures(flawed: dict, heatmap: np.ndarray) -> dict:
    """Columns of a clean twin's sample, from the row of its flawed twin and its own predicted heatmap (h, w).

    `twin_heat` is the largest heat where the reference heatmap of the flawed one is a region (from THRESHOLD on), None
    where it has none. Raises ImageFileError.
    """
    figures = {
        "twin_of": flawed["id"],
        "twin_kinds": _kinds(flawed),
        "twin_heat": None,
    }
    reference = open_heatmap(flawed["heatmap"])
    if reference is None:
        return figures
    is_marked = reference >= THRESHOLD
    if is_marked.any():
        heat = resize(heatmap, reference.shape)
        figures["twin_heat"] = float(heat[is_marked].max())
    return figures


def _kinds(row: dict) -> list[str]:
    kinds = {defect["kind"] for defect in row["defects"] or []}
    return sorted(kinds - {None})


def pair_values(samples: Sequence[dict]) -> tuple[np.ndarray, np.ndarray]:
    """Of each sample (n,), NaN where it is no clean twin or something is not known:

    whether it scores higher than its flawed twin (1, a tie .5, else 0), and whether it has a false alarm (1, else 0).
    """
    score_of = {}
    for sample in samples:
        score_of[sample["key"]] = sample["score"]
    wins = np.full(len(samples), np.nan)
    alarms = np.full(len(samples), np.nan)
    for number, sample in enumerate(samples):
        score = sample["score"]
        flawed_score = score_of.get(sample["twin_of"])
        if score is not None and flawed_score is not None:
            order = np.sign(score - flawed_score)  # 1, 0 or -1
            wins[number] = (order + 1) / 2
        heat = sample["twin_heat"]
        if heat is not None:
            alarms[number] = heat >= THRESHOLD
    return wins, alarms
