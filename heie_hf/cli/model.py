"""The options that name a model, and loading it."""

import functools
from enum import StrEnum
from typing import Annotated, Any

import typer

from .failures import UsageMistake, one_line


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
    """The `ImplausibilityPipeline` of a model folder or Hub name; None = the embedded model, the first accelerator."""
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    from heie_hf import HEIEForImplausibility, HEIEProcessor, ImplausibilityPipeline
    from heie_hf.checkpoints import default_checkpoint

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


def evaluated_model(model: str | None, device: str | None, dtype: str) -> Any:
    """The `EvaluatedModel` of a model folder or Hub name, not loaded yet."""
    from heie_hf.checkpoints import default_checkpoint
    from heie_hf.evaluation import EvaluatedModel, fingerprint
    from heie_hf.evaluation.data import folder_name

    def load() -> tuple[Any, Any]:
        pipe = load_pipeline(model, device, dtype)
        return pipe.model, pipe.processor

    try:
        weights = fingerprint(model or default_checkpoint())
    except (OSError, ValueError) as error:
        raise UsageMistake(f"cannot load model {model or '(embedded)'}: {one_line(error)}") from error
    name = folder_name(model) if model else "(embedded)"
    return EvaluatedModel(name, functools.cache(load), weights, dtype)
