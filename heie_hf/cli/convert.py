"""`heie convert`: from InternVL to HEIE."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from heie_hf.prediction.paths import as_text

from .failures import UsageMistake, one_line


def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="InternVL checkpoint, original or native layout.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="New folder for the HEIE checkpoint.")],
) -> Iterator[dict[str, str]]:
    """Make a HEIE checkpoint of an InternVL one: its backbone, new tokens and heads that are still to be trained."""
    from transformers.utils import logging

    from heie_hf.conversion import convert as run

    logging.set_verbosity_error()  # no table of the heads' weights: that they are new is what this command is for
    if not sys.stderr.isatty():
        logging.disable_progress_bar()
    try:
        run(source, target)
    except (OSError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    yield {"model": as_text(target)}
