"""Charts as inline SVG, so that a report needs neither matplotlib nor other files."""

from collections.abc import Sequence
from html import escape

import numpy as np

SIDE, MARGIN = 260, 46
INK, BLUE, RED = "#555", "#2b6cb0", "#c0392b"


def scatter(x: Sequence[float], y: Sequence[float], x_label: str, y_label: str) -> str:
    """Points of the unit square; the diagonal is where both agree."""
    dots = [f'<circle cx="{_x(a):.1f}" cy="{_y(b):.1f}" r="2.2"/>' for a, b in zip(x, y)]
    return _frame(f'<g fill="{BLUE}" fill-opacity=".45">{"".join(dots)}</g>', x_label, y_label)


def calibration(prediction: Sequence[float], target: Sequence[float], num_bins: int = 10) -> str:
    """Mean target of the images whose prediction falls into each of the bins; a bar for the standard error."""
    marks = []
    for center, mean, error, count in calibration_bins(prediction, target, num_bins):
        x, y = _x(center), _y(mean)
        low, high = _y(min(mean + error, 1)), _y(max(mean - error, 0))
        marks.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}" stroke="{RED}"/>'
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{RED}"><title>{count} images</title></circle>'
        )
    return _frame("".join(marks), "predicted score (mean of bin)", "mean true score")


def calibration_bins(
    prediction: Sequence[float], target: Sequence[float], num_bins: int = 10
) -> list[tuple[float, float, float, int]]:
    """(mean prediction, mean target, standard error of the latter, images) of each bin of equal width with images."""
    prediction, target = np.asarray(prediction, dtype=float), np.asarray(target, dtype=float)
    bins = np.minimum((prediction * num_bins).astype(int), num_bins - 1)
    found = []
    for number in np.unique(bins):
        inside = target[bins == number]
        error = inside.std(ddof=1) / np.sqrt(len(inside)) if len(inside) > 1 else 0.0
        found.append((float(prediction[bins == number].mean()), float(inside.mean()), float(error), len(inside)))
    return found


def histogram(values: Sequence[float], low: float, high: float, label: str, num_bins: int = 20) -> str:
    """How many images have a value in each of the bins between `low` and `high`."""
    heights, _ = np.histogram(np.clip(values, low, high), num_bins, (low, high))
    tallest = -(-max(heights.tolist() + [1]) // 4) * 4  # so that the four ticks are whole images
    width = SIDE / num_bins
    bars = [
        f'<rect x="{MARGIN + i * width:.1f}" y="{_y(height / tallest):.1f}" width="{width - 1:.1f}" '
        f'height="{SIDE * height / tallest:.1f}"><title>{height} images</title></rect>'
        for i, height in enumerate(heights.tolist())
    ]
    drawing = f'<g fill="{BLUE}" fill-opacity=".7">{"".join(bars)}</g>'
    return _frame(drawing, label, "images", (low, high), (0, tallest), diagonal=False)


def _x(value: float) -> float:
    return MARGIN + SIDE * value


def _y(value: float) -> float:
    return 8 + SIDE * (1 - value)


def _frame(
    drawing: str,
    x_label: str,
    y_label: str,
    x_range: tuple[float, float] = (0, 1),
    y_range: tuple[float, float] = (0, 1),
    diagonal: bool = True,
) -> str:
    """Axes with five ticks each around a drawing."""
    ticks = []
    for share in (0, 0.25, 0.5, 0.75, 1):
        x, y = (low + share * (high - low) for low, high in (x_range, y_range))
        ticks.append(f'<text x="{_x(share):.1f}" y="{_y(0) + 16:.1f}" text-anchor="middle">{x:g}</text>')
        ticks.append(f'<text x="{MARGIN - 6}" y="{_y(share) + 4:.1f}" text-anchor="end">{y:g}</text>')
    line = f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#aaa" stroke-dasharray="4"/>'
    middle = MARGIN + SIDE / 2
    return (
        f'<svg viewBox="0 0 {SIDE + MARGIN + 14} {SIDE + 52}" width="{SIDE + MARGIN + 14}" font-size="11" '
        f'font-family="sans-serif" fill="{INK}" role="img" aria-label="{escape(y_label)} over {escape(x_label)}">'
        f'<rect x="{MARGIN}" y="8" width="{SIDE}" height="{SIDE}" fill="none" stroke="#bbb"/>'
        f"{line if diagonal else ''}{drawing}{''.join(ticks)}"
        f'<text x="{middle}" y="{SIDE + 42}" text-anchor="middle">{escape(x_label)}</text>'
        f'<text x="12" y="{8 + SIDE / 2}" text-anchor="middle" transform="rotate(-90 12 {8 + SIDE / 2})">'
        f"{escape(y_label)}</text></svg>"
    )
