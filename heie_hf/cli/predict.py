"""`heie predict`: heatmap, score and explanation of images."""

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from heie_hf.prediction.paths import as_text, find_images, output_names

from .failures import Failures, disk_failure, one_line, writable_folder
from .options import Device, Dtype, Model, ModelDtype, load_pipeline


def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE|FOLDER", help="Folders count with all below.")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Also write NAME.heatmap.png and NAME.overlay.png here, folders mirrored.")
    ] = None,
    explain: Annotated[bool, typer.Option(help="Without it: heatmap and score only, much faster.")] = True,
    batch_size: Annotated[int, typer.Option(min=1)] = 1,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse larger images; without it Pillow's warning limit, 89 million.")
    ] = None,
    model: Model = None,
    device: Device = None,
    dtype: ModelDtype = Dtype.auto,
) -> Iterator[dict[str, Any]]:
    r"""Heatmap, score and explanation of images: one JSON line each on stdout.

    In the JSON, bytes of file names that are not UTF-8 appear as \xNN.
    """
    if output_dir is not None:
        writable_folder(output_dir)
    warnings.filterwarnings("ignore", module="PIL")  # about damaged metadata of images that can be read all the same
    failures = Failures()
    files = find_images(images, failures, output_dir)
    names = dict(zip((file.path for file in files), output_names(files), strict=True))
    pipe = load_pipeline(model, device, dtype)

    from tqdm import tqdm

    from heie_hf.prediction.run import predict_files, save_pictures

    paths = tqdm(names, unit="image", disable=None)  # None: only on a terminal
    for path, image, result in predict_files(
        pipe, paths, failures, max_pixels, explain=explain, batch_size=batch_size
    ):
        pictures = {"heatmap": None, "overlay": None}
        if output_dir is not None:
            try:
                pictures = save_pictures(result, image, output_dir, names[path])
            except OSError as error:
                if disk_failure(error):  # no other picture could be written either
                    raise
                failures(path, f"result not written: {error.strerror or one_line(error)}")
        line = {key: result[key] for key in ("score", "description", "regions", "analysis")}
        yield {"image": as_text(path), **line, **pictures}
    if failures.count:
        raise typer.Exit(1)
