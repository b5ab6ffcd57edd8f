"""`heie synthesize`: drawn scenes with planted defects."""

from pathlib import Path
from typing import Annotated

import typer

from .failures import writable_folder


def synthesize(
    num_images: Annotated[int, typer.Option(min=1)],
    output_dir: Annotated[Path, typer.Option(help="Folder for images, heatmaps and JSON lines.")],
    seed: Annotated[int, typer.Option(min=0, help="Image i of a seed is always the same.")] = 0,
) -> None:
    """Draw synthetic scenes with planted defects, in the layout of Expl-AIGI-Eval."""
    from heie_hf.data.synthetic import synthesize

    synthesize(num_images, seed, writable_folder(output_dir))
