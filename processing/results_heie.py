"""The result of one image: the model's numbers in its frame, and a dictionary that writes itself as strict JSON."""

import base64
import io
import json
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image

from .explanation_heie import parse


class ImageResult(dict):
    """What `HEIEProcessor.post_process` and the pipeline give for an image, `{"error": reason}` for a bad one."""

    def to_json(self, images: bool = False) -> str:
        """The result as one line of strict JSON (RFC 8259, ASCII only): numbers and texts, without maps.

        Args:
            images: with PIL images, as PNG in base64. Arrays stay out: `heatmap` is `predicted_heatmap` in 8 bits.

        Raises:
            ValueError: for a number that JSON does not have (NaN, infinity).
        """
        return json.dumps(_plain_dict(self, images), allow_nan=False)


def image_result(numbers: dict[str, torch.Tensor], size: tuple[int, int], text: str) -> ImageResult:
    """What the model gave for one image, in the frame of the image.

    Args:
        numbers: `score` (), `heatmap` and `uncertainty` (h, w).
        size: height and width of the image.
        text: the answer in stored form.

    Raises:
        ValueError: for NaN or infinity, with the names of what has them.
    """
    not_finite = [name for name, values in numbers.items() if not values.isfinite().all()]
    if not_finite:
        raise ValueError(f"the model gave NaN or infinity ({', '.join(not_finite)})")
    heatmap = _resized(numbers["heatmap"], size).clip(0, 1)
    levels = (heatmap * 255).round().astype(np.uint8)
    explanation = parse(text)
    return ImageResult(
        score=float(numbers["score"]),
        heatmap=Image.fromarray(levels),
        predicted_heatmap=heatmap,
        uncertainty=_resized(numbers["uncertainty"], size),
        description=explanation.description,
        regions=explanation.regions,
        analysis=explanation.analysis,
        text=text,
    )


def _resized(values: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) brought to (H, W), bilinear; averaged where it shrinks."""
    values = values[None, None].float().cpu()
    resized = F.interpolate(values, size=tuple(size), mode="bilinear", antialias=True)
    return resized[0, 0].numpy()


def _plain_dict(items: dict, images: bool) -> dict:
    plain = {}
    for key, item in items.items():
        is_array = isinstance(item, (np.ndarray, torch.Tensor))
        is_left_out_image = isinstance(item, Image.Image) and not images
        if not is_array and not is_left_out_image:
            plain[key] = _plain(item, images)
    return plain


def _plain(item: Any, images: bool) -> Any:
    if isinstance(item, dict):
        return _plain_dict(item, images)
    if isinstance(item, (list, tuple)):
        return [_plain(part, images) for part in item]
    if isinstance(item, np.generic):
        return item.item()
    if isinstance(item, Image.Image):
        return _png(item)
    return item


def _png(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
