"""From image files to results, one after the other: what `heie predict` does with each of them."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image
from transformers import Pipeline

from heie_hf.processing.image_files_heie import ImageFileError, read_image
from heie_hf.visualization import overlay

from .paths import as_text, save_png


def predict_files(
    pipe: Pipeline,
    paths: Iterable[str],
    report: Callable[[str, str], None],
    max_pixels: int | None = None,
    **parameters: Any,
) -> Iterator[tuple[str, Image.Image, dict[str, Any]]]:
    """Path, image and the pipeline's result for each readable file, in order; holds one batch in memory.

    Args:
        pipe: an `ImplausibilityPipeline`.
        report: called with path and reason for each file that is no readable image, or for which the model gives NaN.
        max_pixels: refuse images with more; by default Pillow's warning limit.
        parameters: for the pipeline, such as `explain` and `batch_size`.
    """
    opened: deque[tuple[str, Image.Image]] = deque()

    def images() -> Iterator[Image.Image]:
        for path in paths:
            try:
                image = read_image(path, max_pixels)
            except ImageFileError as error:  # the batch goes on without this file
                report(path, str(error))
            else:
                opened.append((path, image))
                yield image

    for result in pipe(images(), on_error="skip", **parameters):
        path, image = opened.popleft()
        if "error" in result:
            report(path, result["error"])
        else:
            yield path, image, result


def save_pictures(result: dict[str, Any], image: Image.Image, folder: Path, name: str) -> dict[str, str]:
    """Write `<name>.heatmap.png` and `<name>.overlay.png`; returns their paths under "heatmap" and "overlay".

    Raises:
        OSError: if they cannot be written.
    """
    pictures = {
        "heatmap": result["heatmap"],
        "overlay": overlay(image, result["heatmap"], result["score"]),
    }
    paths = {kind: folder / f"{name}.{kind}.png" for kind in pictures}
    for kind, picture in pictures.items():
        save_png(picture, paths[kind])
    return {kind: as_text(path) for kind, path in paths.items()}
