"""Loading a model for inference: everything that can be wrong with a folder or a name is one `ModelError`."""

import torch
from safetensors import SafetensorError
from transformers.utils import logging

from heie_hf.checkpoints import default_checkpoint
from heie_hf.modeling import HEIEForImplausibility
from heie_hf.pipeline_heie import ImplausibilityPipeline
from heie_hf.processing import HEIEProcessor


class ModelError(ValueError):
    """A model that cannot be loaded, or a device that is not there; the message is one line and names it."""


def load_pipeline(
    model: str | None = None, device: str | None = None, dtype: str | torch.dtype = "auto"
) -> ImplausibilityPipeline:
    """A model, ready for images.

    Args:
        model: folder or Hub name; None = the embedded model.
        device: such as "cpu", "cuda:1"; None = the first accelerator.
        dtype: of the weights; "auto" as in the config.

    Raises:
        ModelError: the model cannot be loaded, or there is no such device.
    """
    logging.disable_progress_bar()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device; or a PyTorch that was built without it
        raise ModelError(f"cannot use device {device!r}: {_one_line(error)}") from error
    try:
        source = model or default_checkpoint()
        processor = HEIEProcessor.from_pretrained(source)
        network = HEIEForImplausibility.from_pretrained(source, dtype=dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise ModelError(f"cannot load model {model or '(embedded)'}: {_one_line(error)}") from error
    return ImplausibilityPipeline(model=network, processor=processor, device=device, task="image-implausibility")


def _one_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
