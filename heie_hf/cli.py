"""The `heie` command. One function per subcommand; what takes long to import is imported where it is used.

Exit status: 0, or 1 where an item failed (`heie: PATH: reason` on stderr, the rest goes on), 2 for a usage error.
"""

import json
import sys
import tempfile
import warnings
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .image_folder import as_text, find_images, output_names, printable

app = typer.Typer(
    help="Where, how badly and why an AI-generated image is implausible.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class UsageMistake(typer.TyperException):
    """Something the user can put right: one line on stderr, exit status 2."""

    exit_code = 2


Model = Annotated[
    str | None, typer.Option(metavar="FOLDER|HUB_ID", help="HEIE model; without it the small embedded one.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...; without it the first accelerator.")]
ModelDtype = Annotated[Dtype, typer.Option(help="Precision of the model; auto is that of its config.")]


class Failures:
    """Reports items that failed, one line each on stderr, and remembers that some did."""

    def __init__(self):
        self.count = 0

    def __call__(self, path: str, reason: str) -> None:
        from tqdm import tqdm

        self.count += 1
        tqdm.write(f"heie: {printable(path)}: {printable(reason)}", file=sys.stderr)


def one_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def writable_folder(folder: Path) -> Path:
    """Make the folder and try it, before any work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageMistake(f"cannot write to {folder}: {error.strerror}") from error
    return folder


def load_pipeline(model: str | None, device: str | None, dtype: str) -> Any:
    """The `ImplausibilityPipeline` of a model folder or Hub name; None = the embedded model, the first accelerator."""
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    from . import HEIEForImplausibility, HEIEProcessor, ImplausibilityPipeline
    from .checkpoints import default_checkpoint

    logging.disable_progress_bar()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device; or a PyTorch that was built without it
        raise UsageMistake(f"cannot use device {device!r}: {one_line(error)}") from error
    try:
        source = model or default_checkpoint()
        processor = HEIEProcessor.from_pretrained(source)
        network = HEIEForImplausibility.from_pretrained(source, dtype=dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageMistake(f"cannot load model {model or '(embedded)'}: {one_line(error)}") from error
    return ImplausibilityPipeline(model=network, processor=processor, device=device, task="image-implausibility")


@app.command()
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
) -> None:
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

    from .prediction import predict_files, save_pictures

    paths = tqdm(names, unit="image", disable=None)  # None: only on a terminal
    for path, image, result in predict_files(
        pipe, paths, failures, max_pixels, explain=explain, batch_size=batch_size
    ):
        pictures = {"heatmap": None, "overlay": None}
        if output_dir is not None:
            try:
                pictures = save_pictures(result, image, output_dir, names[path])
            except OSError as error:
                failures(path, f"result not written: {error.strerror}")
        line = {key: result[key] for key in ("score", "description", "regions", "analysis")}
        with tqdm.external_write_mode(sys.stdout):
            print(json.dumps({"image": as_text(path), **line, **pictures}), flush=True)
    if failures.count:
        raise typer.Exit(1)


@app.command()
def synthesize(
    num_images: Annotated[int, typer.Option(min=1)],
    output_dir: Annotated[Path, typer.Option(help="Folder for images, heatmaps and JSON lines.")],
    seed: Annotated[int, typer.Option(min=0, help="Image i of a seed is always the same.")] = 0,
) -> None:
    """Draw synthetic scenes with planted defects, in the layout of Expl-AIGI-Eval."""
    from .data.synthetic import synthesize

    synthesize(num_images, seed, writable_folder(output_dir))


@app.command()
def version() -> None:
    """Print the version of heie-hf."""
    from . import __version__

    print(__version__)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit, with the status that the module's docstring gives."""
    try:
        status = app(arguments, prog_name="heie", standalone_mode=False)
    except typer.TyperException as mistake:
        print(f"heie: {printable(mistake.format_message())} (see heie --help)", file=sys.stderr)
        status = mistake.exit_code
    sys.exit(status)


if __name__ == "__main__":
    main()
