"""The picture's size, and the slots that objects are put into."""

from dataclasses import dataclass

import numpy as np

TILE = 112
GRIDS = [(c, r) for c in range(1, 5) for r in range(1, 5) if 2 <= c * r <= 4]


@dataclass
class Slot:
    x: int
    y: int
    width: int
    height: int
    lowest: bool  # in the last row


def random_size(rng: np.random.Generator, least: int, most: int) -> tuple[int, int]:
    """Width and height, both in `least` .. `most` pixels, width / height in 1/3 .. 3, near-squares most often."""
    ratio = float(np.exp(rng.triangular(0.0, 0.15, 1.0) * np.log(min(3.0, most / least))))
    short = np.exp(rng.uniform(np.log(least), np.log(most / ratio)))
    sides = round(short), min(most, int(short * ratio))
    return sides if rng.random() < 0.45 else sides[::-1]


def sight(size: tuple[int, int]) -> float:
    """Pixels of a small viewer per picture pixel, at most 1.

    The viewer sees 2 to 4 tiles of 112 x 112, in the grid whose shape is nearest to the picture's.
    """
    width, height = size
    columns, rows = min(GRIDS, key=lambda grid: abs(width / height - grid[0] / grid[1]))
    return min(1.0, TILE * columns / width, TILE * rows / height)


def random_layout(rng: np.random.Generator, size: tuple[int, int]) -> tuple[list[Slot], int]:
    """Slots that tile the picture, and the number of rows they stand in."""
    width, height = size
    ratio = width / height
    if ratio > 1.35:
        counts = [(1, 1), (2, 1)] if ratio < 2.2 else [(2, 1), (2, 1), (3, 1)]
    elif ratio < 0.7:
        counts = [(1, 1), (1, 1), (1, 2)]
    else:
        counts = [(1, 1)] * 4 + [(2, 1)] * 2 + [(2, 2)] * (min(size) >= 400)
    columns, rows = counts[int(rng.integers(len(counts)))]
    xs, ys = _cuts(rng, columns, width), _cuts(rng, rows, height)
    slots = [Slot(x0, y0, x1 - x0, y1 - y0, y1 == height) for y0, y1 in zip(ys, ys[1:]) for x0, x1 in zip(xs, xs[1:])]
    for slot in slots:
        slot.height -= round(slot.height * rng.uniform(0.06, 0.16))
    return slots, rows


def _cuts(rng: np.random.Generator, count: int, length: int) -> list[int]:
    inner = [(k + rng.uniform(-0.12, 0.12)) / count for k in range(1, count)]
    return [0] + [round(length * cut) for cut in inner] + [length]
