"""From image files to results, one after the other: what `heie predict` does with each of them."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from PIL import Image
from torch.utils.data import Dataset
from transformers import Pipeline

from heie_hf.processing.image_files_heie import read_image
from heie_hf.visualization import overlay

from .paths import as_text, picture_paths, save_png


class ImageFiles(Dataset):
    """Images that are read when they are needed, in a worker process where there are some."""

    def __init__(self, paths: Sequence[str], max_pixels: int | None = None):
        self.paths = paths
        self.max_pixels = max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Image.Image:
        return read_image(self.paths[index], self.max_pixels)


def predict_files(
    pipe: Pipeline,
    paths: Sequence[str],
    report: Callable[[str, str], None],
    max_pixels: int | None = None,
    **parameters: Any,
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Path and the pipeline's result of each file as soon as it is there, in order; None for a bad file.

    Args:
        pipe: an `ImplausibilityPipeline`.
        report: called with path and reason for each file that is no readable image, or for which the model gives NaN.
        max_pixels: refuse images with more; by default Pillow's warning limit.
        parameters: for the pipeline, such as `explain`, `batch_size`, and `num_workers`, the processes that read and
            cut images ahead.
    """
    results = pipe(ImageFiles(paths, max_pixels), on_error="skip", **parameters)
    for path, result in zip(paths, results, strict=True):
        if "error" in result:
            report(path, result["error"])
            yield path, None
        else:
            yield path, result


def save_pictures(result: dict[str, Any], image: Image.Image, folder: Path, name: str) -> dict[str, str]:
    """Write `<name>.heatmap.png` and `<name>.overlay.png`; returns their paths under "heatmap" and "overlay".

    Raises:
        OSError: if they cannot be written.
    """
    paths = picture_paths(folder, name)
    save_png(result["heatmap"], paths["heatmap"])
    save_png(overlay(image, result["heatmap"], result["score"]), paths["overlay"])
    return {kind: as_text(path) for kind, path in paths.items()}
