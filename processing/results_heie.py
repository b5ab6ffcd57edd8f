"""The result of one image: a plain dictionary that also writes itself as strict JSON."""

import base64
import io
import json
from typing import Any

import numpy as np
import torch
from PIL import Image


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
