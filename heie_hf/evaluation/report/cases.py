"""The images to look at in a report: the worst and the best, large, with what was said of them."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass, fields
from io import BytesIO

import numpy as np
from PIL import Image

from heie_hf.evaluation.data import EvaluationData
from heie_hf.evaluation.figures import NAMES
from heie_hf.evaluation.measure import fused_maps
from heie_hf.evaluation.results import Result
from heie_hf.evaluation.store import PredictionStore
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.processing.image_files_heie import ImageFileError

from .pictures import Pictures, draw
from .tables import three_digits

NUM_CASES = 4  # of each kind
SIDE = 480  # pixels


@dataclass(frozen=True)
class Case:
    """`pictures`: JPEG as data URL by name; `texts`: by source, the sections as lines."""

    key: str
    numbers: str
    pictures: dict[str, str]
    texts: dict[str, str]


def cases(result: Result, data: EvaluationData, store: PredictionStore) -> dict[str, list[Case]]:
    """Kind of case -> its images."""
    fusion = result.metrics["run"]["fusion"]
    kinds = {}
    for kind, samples in choose_cases(result.samples).items():
        kinds[kind] = []
        heatmaps = fused_maps(store, samples, fusion)
        for sample, heatmap in zip(samples, heatmaps):
            kinds[kind].append(_case(data, sample, heatmap))
    return kinds


def choose_cases(samples: Sequence[dict], number: int = NUM_CASES) -> dict[str, list[dict]]:
    """Kind of case -> its samples, the most extreme first. Kinds that the labels do not allow are left out."""
    with_defects = [sample for sample in samples if sample["cc"] is not None]
    with_defects.sort(key=lambda sample: sample["cc"])
    empty = [sample for sample in samples if sample["gt_sum"] == 0]
    empty.sort(key=lambda sample: sample["mse"], reverse=True)
    scored = [sample for sample in samples if score_error(sample) is not None]
    scored.sort(key=score_error, reverse=True)
    orders = {
        "Worst heatmaps (lowest CC)": with_defects,
        "Best heatmaps (highest CC)": with_defects[::-1],
        "Worst false alarms (highest MSE where nothing is wrong)": empty,
        "Worst scores (largest error)": scored,
    }
    kinds = {}
    for kind, order in orders.items():
        if order:
            kinds[kind] = order[:number]
    return kinds


def score_error(sample: dict) -> float | None:
    """How far the predicted score is from the true one, None where either is unknown."""
    if sample["score"] is None or sample["target_score"] is None:
        return None
    return abs(sample["score"] - sample["target_score"])


def texts_of(row: dict, sample: dict) -> dict[str, str]:
    """Reference and generated text, the sections as lines; those that are there."""
    texts = {}
    for source, sections in (("reference", row), ("generated", sample)):
        lines = [sections[name] for name in SECTIONS]
        text = "\n".join(filter(None, lines))
        if text:
            texts[source] = text
    return texts


def _case(data: EvaluationData, sample: dict, heatmap: np.ndarray) -> Case:
    row = data.rows[sample["row"]]
    try:
        pictures = _data_urls(draw(row, heatmap, SIDE))
    except ImageFileError:  # it was there when it was predicted
        pictures = {}
    return Case(sample["key"], _numbers(sample), pictures, texts_of(row, sample))


def _data_urls(pictures: Pictures) -> dict[str, str]:
    urls = {}
    for field in fields(pictures):
        picture = getattr(pictures, field.name)
        if picture is not None:
            urls[field.name] = _data_url(picture)
    return urls


def _data_url(picture: Image.Image) -> str:
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    code = base64.b64encode(buffer.getvalue()).decode()
    return f"data:image/jpeg;base64,{code}"


def _numbers(sample: dict) -> str:
    names = {"score": "score", "target_score": "true score"}
    for figure in ("cc", "mse", "auc_judd"):
        names[figure] = NAMES[figure]
    parts = []
    for column, name in names.items():
        if sample[column] is not None:
            parts.append(f"{name} {three_digits(sample[column])}")
    return " · ".join(parts)
