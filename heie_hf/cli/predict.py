"""`heie predict`: heatmap, score and explanation of images."""

import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from heie_hf.prediction.paths import as_text, find_images, output_names
from heie_hf.prediction.results_file import ResultsFile, finished_images

from .failures import Failures, UsageMistake, disk_failure, one_line, writable_folder
from .options import Device, Dtype, Model, ModelDtype, load_pipeline

FIELDS = ("score", "description", "regions", "analysis", "notice")


def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE|FOLDER", help="Folders count with all below.")],
    output_dir: Annotated[
        Path | None,
        typer.Option(help="Also write NAME.heatmap.png, NAME.overlay.png (folders mirrored) and results.jsonl here."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Skip images that are finished in --output-dir.")] = False,
    explain: Annotated[bool, typer.Option(help="Without it: heatmap and score only, much faster.")] = True,
    batch_size: Annotated[int, typer.Option(min=1)] = 1,
    num_workers: Annotated[int, typer.Option(min=0, help="Processes that read and cut images ahead.")] = 0,
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
    if resume and output_dir is None:
        raise UsageMistake("--resume needs --output-dir: by the files there it knows what is finished")
    if output_dir is not None:
        writable_folder(output_dir)
    warnings.filterwarnings("ignore", module="PIL")  # about damaged metadata of images that can be read all the same
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the reading processes are forked
    failures = Failures()
    files = find_images(images, failures, output_dir)
    names = dict(zip((file.path for file in files), output_names(files), strict=True))
    finished = finished_images(output_dir, names) if resume else {}
    paths = [path for path in names if path not in finished]
    pipe = load_pipeline(model, device, dtype)
    results_file = ResultsFile(output_dir, finished.values()) if output_dir is not None else None

    from tqdm import tqdm

    from heie_hf.prediction.run import predict_files

    results = predict_files(
        pipe, paths, failures, max_pixels, explain=explain, batch_size=batch_size, num_workers=num_workers
    )
    for path, result in tqdm(results, total=len(paths), unit="image", disable=None):  # None: only on a terminal
        if result is None:
            continue
        fields = {key: result[key] for key in FIELDS if key in result}
        record = {"image": as_text(path), **fields, "heatmap": None, "overlay": None}
        if results_file is not None:
            _save(record, result, path, output_dir, names[path], max_pixels, failures)
            results_file.add(record)
        yield record
    if failures.count:
        raise typer.Exit(1)


def _save(
    record: dict[str, Any],
    result: dict[str, Any],
    path: str,
    folder: Path,
    name: str,
    max_pixels: int | None,
    report: Failures,
) -> None:
    """Write the pictures and enter them into the record; a name that is taken is no end of the run, a full disk is."""
    from heie_hf.prediction.run import save_pictures
    from heie_hf.processing.image_files_heie import ImageFileError, read_image

    try:
        record |= save_pictures(result, read_image(path, max_pixels), folder, name)
    except ImageFileError as error:  # it has changed meanwhile
        report(path, f"result not written: {error}")
    except OSError as error:
        if disk_failure(error):
            raise
        report(path, f"result not written: {error.strerror or one_line(error)}")
