"""All images of a result, small: a JPEG file each, and what the gallery sorts and filters by."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from heie_hf.evaluation.data import EvaluationData
from heie_hf.evaluation.measure import fused_maps
from heie_hf.evaluation.results import Result
from heie_hf.evaluation.store import PredictionStore
from heie_hf.files import whole_file
from heie_hf.processing.image_files_heie import ImageFileError

from .cases import score_error, texts_of
from .pictures import Pictures, draw

SIDE, GAP = 160, 4  # pixels


@dataclass(frozen=True)
class Card:
    """`picture`: name, width and height of a file with image, reference and prediction; None if unreadable."""

    key: str
    row: int
    picture: tuple[str, int, int] | None
    score: float | None
    target_score: float | None
    error: float | None
    cc: float | None
    texts: dict[str, str]


def gallery(result: Result, data: EvaluationData, store: PredictionStore, folder: Path) -> list[Card]:
    """A card per image in the order of the data set; writes their pictures into `folder`."""
    maps = fused_maps(store, result.samples, result.metrics["run"]["fusion"])
    shown = tqdm(result.samples, desc=f"{data.label}: report", unit="image", disable=None)
    return [_card(data, sample, heatmap, folder) for sample, heatmap in zip(shown, maps)]


def _card(data: EvaluationData, sample: dict, heatmap: np.ndarray, folder: Path) -> Card:
    number = sample["row"]
    row = data.rows[number]
    name = f"{number:06d}.jpg"  # an id may hold what no file name may
    try:
        strip = _side_by_side(draw(row, heatmap, 2 * SIDE))
    except ImageFileError:  # it was there when it was predicted
        picture = None
    else:
        with whole_file(folder / name) as draft:
            strip.save(draft, "JPEG", quality=75)
        picture = (name, *strip.size)
    return Card(
        key=sample["key"],
        row=number,
        picture=picture,
        score=sample["score"],
        target_score=sample["target_score"],
        error=score_error(sample),
        cc=sample["cc"],
        texts=texts_of(row, sample),
    )


def _side_by_side(pictures: Pictures) -> Image.Image:
    """Three places of one width, so that the captions below fit; that of a missing reference stays white.

    Pictures are made half as large: drawn at this size, contours would be too thick.
    """
    pictures.image.thumbnail((SIDE, SIDE))
    strip = Image.new("RGB", (3 * SIDE + 2 * GAP, pictures.image.height), "white")
    x = 0
    for picture in (pictures.image, pictures.reference, pictures.predicted):
        if picture is not None:
            strip.paste(picture.resize(pictures.image.size, Image.Resampling.LANCZOS), (x, 0))
        x += SIDE + GAP
    return strip
