"""What is known about an image (explanation, heatmap, score), checked and in one form."""

import numpy as np
from PIL import Image
from transformers.image_utils import get_image_size

from .explanation_heie import Explanation, parse


def checked_targets(targets: list[dict], images: list) -> list[dict]:
    """The targets of a batch, each with all four keys.

    Args:
        targets: per image a dict with any of `explanation`, `heatmap`, `score`, `learn_text`; see `HEIEProcessor`.
        images: the opened images that they belong to.

    Returns:
        Dicts with `explanation` (an `Explanation`, empty if unknown), `heatmap` (float32 (H, W) in [0, 1] or None),
        `score` (in [0, 1], NaN if unknown) and `learn_text` (bool).

    Raises:
        ValueError: naming the first target that does not fit its image or its range.
    """
    if len(targets) != len(images):
        raise ValueError(f"{len(targets)} targets for {len(images)} images")
    return [
        {
            "explanation": _explanation(target.get("explanation")),
            "heatmap": _heatmap(target.get("heatmap"), image, f"targets[{index}]['heatmap']"),
            "score": _score(target.get("score"), f"targets[{index}]['score']"),
            "learn_text": target.get("learn_text", True),
        }
        for index, (target, image) in enumerate(zip(targets, images))
    ]


def _explanation(explanation: str | dict | None) -> Explanation:
    if isinstance(explanation, str):
        return parse(explanation)
    return Explanation(**(explanation or {}))


def _heatmap(heatmap, image, name: str) -> np.ndarray | None:
    if heatmap is None:
        return None
    if isinstance(heatmap, Image.Image):
        if heatmap.mode != "L":
            raise ValueError(f"{name} is an image of mode {heatmap.mode}, not L")
        heatmap = np.asarray(heatmap, dtype=np.float32) / 255
    heatmap = np.asarray(heatmap, dtype=np.float32)
    size = (image.height, image.width) if isinstance(image, Image.Image) else get_image_size(image)
    if heatmap.shape != size:
        raise ValueError(f"{name} has (height, width) {heatmap.shape}, its image {size}")
    if not (heatmap.min() >= 0 and heatmap.max() <= 1):
        raise ValueError(f"{name} has values from {heatmap.min():g} to {heatmap.max():g}, not in [0, 1]")
    return heatmap


def _score(score: float | None, name: str) -> float:
    if score is None:
        return float("nan")
    if not 0 <= score <= 1:
        raise ValueError(f"{name} is {score}, not in [0, 1]")
    return float(score)
