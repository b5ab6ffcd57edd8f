"""Image, reference and prediction of one sample, as small as a report needs them."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from heie_hf.evaluation.data import open_heatmap, open_image
from heie_hf.visualization import overlay


@dataclass(frozen=True)
class Pictures:
    """RGB images of one size; `reference` is None for rows without a heatmap."""

    image: Image.Image
    reference: Image.Image | None
    predicted: Image.Image


def draw(row: dict, heatmap: np.ndarray, side: int) -> Pictures:
    """The pictures of a row and its predicted heatmap (H, W), at most `side` pixels wide and high.

    Raises:
        ImageFileError: the row's image or heatmap cannot be read.
    """
    image = open_image(row["image"])
    image.thumbnail((side, side))
    target = open_heatmap(row["heatmap"])
    reference = None if target is None else overlay(image, target, scale=False)
    return Pictures(image, reference, overlay(image, heatmap, scale=False))
