"""The options that name a model, and its loading for a command."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from .failures import UsageMistake


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


Model = Annotated[
    str | None, typer.Option(metavar="FOLDER|HUB_ID", help="HEIE model; without it the small embedded one.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...; without it the first accelerator.")]
ModelDtype = Annotated[Dtype, typer.Option(help="Precision of the model; auto is that of its config.")]


def load_pipeline(model: str | None, device: str | None, dtype: str) -> Any:
    """`heie_hf.prediction.load.load_pipeline`, with its error as a usage mistake."""
    from heie_hf.prediction.load import ModelError, load_pipeline

    try:
        return load_pipeline(model, device, dtype)
    except ModelError as error:
        raise UsageMistake(str(error)) from error
