"""`heie synthesize`: drawn scenes with planted defects."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from .failures import UsageMistake, writable_folder


class SplitName(StrEnum):
    """Of the synthetic benchmark."""

    TRAIN = "train"
    DEV = "dev"
    TEST = "test"
    TEST_UNSEEN = "test-unseen"


def synthesize(
    output_dir: Annotated[Path, typer.Option(help="Folder for images, heatmaps and JSON lines.")],
    num_images: Annotated[int | None, typer.Option(min=1, help="With --split: only the first ones of it.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Image i of a seed is always the same. Default: 0.")] = None,
    split: Annotated[SplitName | None, typer.Option(help="Of the synthetic benchmark, instead of a seed.")] = None,
    pairs: Annotated[
        bool, typer.Option("--pairs", help="Each scene with a defect also without it, as ID-clean.")
    ] = False,
) -> None:
    """Draw synthetic scenes with planted defects, in the layout of Expl-AIGI-Eval."""
    if split is None and num_images is None:
        raise UsageMistake("say how many: --num-images N, or --split for a split of the synthetic benchmark")
    if split is not None and seed is not None:
        raise UsageMistake("--split has its own seed: leave out --seed, or --split")

    from heie_hf.data.synthetic import SPLITS, synthesize

    if split is None:
        synthesize(num_images, seed or 0, writable_folder(output_dir), pairs=pairs)
        return
    chosen = SPLITS[split]
    if num_images and num_images > chosen.num_images:
        raise UsageMistake(f"the split {split.value} has {chosen.num_images} images, fewer than {num_images}")
    num_images = num_images or chosen.num_images
    synthesize(num_images, chosen.seed, writable_folder(output_dir), chosen.unseen, pairs)
