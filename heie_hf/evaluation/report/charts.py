"""What the charts of a report show, in the unit square; `chart` in templates/macros.html.jinja draws it as SVG."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from heie_hf.evaluation.figures import NAMES

MAX_DOTS = 4000
_SHARES = (0, 0.25, 0.5, 0.75, 1)


@dataclass(frozen=True)
class Bar:
    left: float
    width: float
    height: float
    count: int


@dataclass(frozen=True)
class Bin:
    """Images of like prediction: means of prediction and target, the latter's standard error, number of images."""

    prediction: float
    target: float
    error: float
    count: int

    @property
    def low(self) -> float:
        return max(self.target - self.error, 0.0)

    @property
    def high(self) -> float:
        return min(self.target + self.error, 1.0)


@dataclass(frozen=True)
class Chart:
    """Marks with x and y in [0, 1]; the ticks stand at even steps. `diagonal`: where both axes agree."""

    caption: str
    x_label: str
    y_label: str
    x_ticks: list[str]
    y_ticks: list[str]
    diagonal: bool = False
    dots: list[tuple[float, float]] = field(default_factory=list)
    bins: list[Bin] = field(default_factory=list)
    bars: list[Bar] = field(default_factory=list)


def score_charts(samples: Sequence[dict]) -> list[Chart]:
    """Predicted against true scores, [] where no image has both."""
    prediction = []
    target = []
    for sample in samples:
        if sample["score"] is not None and sample["target_score"] is not None:
            prediction.append(sample["score"])
            target.append(sample["target_score"])
    if not target:
        return []
    return [scatter(prediction, target), calibration(prediction, target)]


def heatmap_charts(samples: Sequence[dict]) -> list[Chart]:
    """How the heatmaps' figures spread over the images."""
    charts = []
    lowest = {"cc": -1, "auc_judd": 0}
    for figure, low in lowest.items():
        values = [sample[figure] for sample in samples if sample[figure] is not None]
        if values:
            charts.append(histogram(values, low, 1, NAMES[figure]))
    return charts


def scatter(prediction: Sequence[float], target: Sequence[float]) -> Chart:
    """A dot per image, every n-th of very many."""
    step = -(-len(target) // MAX_DOTS)
    dots = list(zip(prediction[::step], target[::step]))
    ticks = _ticks(0, 1)
    return Chart(
        "Scores, a dot per image",
        "predicted score",
        "true score",
        x_ticks=ticks,
        y_ticks=ticks,
        diagonal=True,
        dots=dots,
    )


def calibration(prediction: Sequence[float], target: Sequence[float]) -> Chart:
    """Mean true score of the images whose predicted score falls into each of the bins."""
    ticks = _ticks(0, 1)
    return Chart(
        "Calibration: bins of 0.1, ± 1 standard error",
        "predicted score (mean of bin)",
        "mean true score",
        x_ticks=ticks,
        y_ticks=ticks,
        diagonal=True,
        bins=calibration_bins(prediction, target),
    )


def calibration_bins(prediction: Sequence[float], target: Sequence[float], num_bins: int = 10) -> list[Bin]:
    """The bins of equal width that have images."""
    prediction = np.asarray(prediction, dtype=float)
    target = np.asarray(target, dtype=float)
    numbers = (prediction * num_bins).astype(int)
    numbers = np.minimum(numbers, num_bins - 1)  # a score of 1 is in the last one
    bins = []
    for number in np.unique(numbers):
        predicted = prediction[numbers == number]
        inside = target[numbers == number]
        count = len(inside)
        error = inside.std(ddof=1) / np.sqrt(count) if count > 1 else 0.0
        bins.append(Bin(float(predicted.mean()), float(inside.mean()), float(error), count))
    return bins


def histogram(values: Sequence[float], low: float, high: float, label: str, num_bins: int = 20) -> Chart:
    """How many images have a value in each of the bins between `low` and `high`."""
    inside = np.clip(values, low, high)
    counts, _ = np.histogram(inside, num_bins, (low, high))
    tallest = -(-int(counts.max()) // 4) * 4  # so that the ticks are whole images
    bars = []
    for number, count in enumerate(counts.tolist()):
        bars.append(Bar(number / num_bins, 1 / num_bins, count / tallest, count))
    return Chart(
        f"{label}, image by image", label, "images", x_ticks=_ticks(low, high), y_ticks=_ticks(0, tallest), bars=bars
    )


def _ticks(low: float, high: float) -> list[str]:
    return [f"{low + share * (high - low):g}" for share in _SHARES]
