"""`heie export`: a data set for other tools."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .failures import Failures, UsageMistake, one_line, writable_folder


class Format(StrEnum):
    label_studio = "label-studio"
    csv = "csv"


def export(
    dataset: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A data set, see docs/datasets.md.")],
    to: Annotated[Format, typer.Option(help="label-studio: tasks and labelling interface. csv: a table.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the files and the images.")],
    root: Annotated[str | None, typer.Option(metavar="FOLDER", help="The data set's files.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the data set; default: its first.")] = None,
    image_prefix: Annotated[
        str, typer.Option(metavar="URL", help="Goes before images/NAME.png: where the tool will find the folder.")
    ] = "",
) -> None:
    """Write a data set for other tools: images, boxes, masks and texts of its defects."""
    from heie_hf.data import load
    from heie_hf.prediction.export import EXPORTS

    failures = Failures()
    try:
        rows = load(dataset, root=root, split=split, on_bad_row=failures)
    except (OSError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    EXPORTS[to](rows, writable_folder(output_dir), image_prefix)
    if failures.count:
        raise typer.Exit(1)
