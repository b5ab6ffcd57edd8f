"""What is known about an image (explanation, heatmap, score), checked and in one form."""

import numpy as np
import torch
from PIL import Image

from .explanation_heie import Explanation, parse
from .images_heie import open_picture
from .pixels_heie import ImageError, as_numpy, grey_values, unit_values, upright


def checked_targets(targets: list[dict], images: list[Image.Image]) -> list[dict]:
    """The targets of a batch, each with all four keys.

    Args:
        targets: per image a dict with any of `explanation`, `heatmap`, `score`, `learn_text`; see `HEIEProcessor`.
        images: the upright images that they belong to.

    Returns:
        Dicts with `explanation` (an `Explanation`, empty if unknown), `heatmap` (float32 (H, W) in [0, 1] or None),
        `score` (in [0, 1], NaN if unknown) and `learn_text` (bool).

    Raises:
        ValueError: naming the first target that does not fit its image or its range.
    """
    if len(targets) != len(images):
        raise ValueError(f"{len(targets)} targets for {len(images)} images")
    checked = []
    for index, (target, image) in enumerate(zip(targets, images)):
        checked.append(
            {
                "explanation": _explanation(target.get("explanation")),
                "heatmap": _heatmap(target.get("heatmap"), image, f"targets[{index}]['heatmap']"),
                "score": _score(target.get("score"), f"targets[{index}]['score']"),
                "learn_text": target.get("learn_text", True),
            }
        )
    return checked


def _explanation(explanation: str | dict | None) -> Explanation:
    if isinstance(explanation, str):
        return parse(explanation)
    return Explanation(**(explanation or {}))


def _heatmap(heatmap, image: Image.Image, name: str) -> np.ndarray | None:
    if heatmap is None:
        return None
    try:
        values = _heatmap_values(heatmap)
    except ImageError as error:
        raise ValueError(f"{name} {error}") from error
    size = (image.height, image.width)
    if values.shape != size:
        raise ValueError(f"{name} has (height, width) {values.shape}, its image {size}")
    return values


def _heatmap_values(heatmap) -> np.ndarray:
    """Values in [0, 1] of a heatmap, which is read and turned as images are."""
    if isinstance(heatmap, (np.ndarray, torch.Tensor)):
        return unit_values(as_numpy(heatmap))
    picture = upright(open_picture(heatmap))
    values = grey_values(picture)
    if values is None:
        raise ImageError(f"is an image of mode {picture.mode}, not L")
    return unit_values(values)


def _score(score: float | None, name: str) -> float:
    if score is None:
        return float("nan")
    if not 0 <= score <= 1:
        raise ValueError(f"{name} is {score}, not in [0, 1]")
    return float(score)
