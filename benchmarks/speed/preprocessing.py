"""The image processor against the textbook way: PIL resizes and crops, then every tile becomes a normalised tensor.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.preprocessing

A picture of 1536 x 1024 pixels of noise, cut into 2 x 2 patches of 448 pixels and a thumbnail. Both ways give the same
pixels.
"""

import argparse

import numpy as np
import torch
from PIL import Image

from heie_hf import HEIEImageProcessor

from .ratios import HEADING, compare

WANTED = 0.5
COLUMNS, ROWS, SIDE = 2, 2, 448


def textbook(image: Image.Image, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """(5, 3, S, S), as InternVL's page on the Hub does it with torchvision's transforms."""
    canvas = image.resize((COLUMNS * SIDE, ROWS * SIDE), Image.Resampling.BICUBIC)
    tiles = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            left, top = column * SIDE, row * SIDE
            tiles.append(canvas.crop((left, top, left + SIDE, top + SIDE)))
    tiles.append(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    pixel_values = []
    for tile in tiles:
        levels = torch.from_numpy(np.array(tile))  # (S, S, 3)
        values = levels.permute(2, 0, 1).contiguous().float().div(255)
        pixel_values.append((values - mean) / std)
    return torch.stack(pixel_values)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    rounds = parser.parse_args().rounds
    levels = np.random.default_rng(0).integers(0, 256, (1024, 1536, 3), dtype=np.uint8)
    image = Image.fromarray(levels)
    processor = HEIEImageProcessor(max_patches=COLUMNS * ROWS)
    mean = torch.tensor(processor.image_mean)[:, None, None]
    std = torch.tensor(processor.image_std)[:, None, None]
    expected = textbook(image, mean, std)
    torch.testing.assert_close(processor(image, return_tensors="pt")["pixel_values"], expected)
    print(HEADING)
    compare(
        "image processor, 1536 x 1024, 2 x 2 patches",
        lambda: processor(image, return_tensors="pt"),
        "PIL and PyTorch, tile by tile",
        lambda: textbook(image, mean, std),
        WANTED,
        rounds,
    )


if __name__ == "__main__":
    main()
