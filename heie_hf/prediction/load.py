"""Loading a model for inference: everything that can be wrong with a folder or a name is one `ModelError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from transformers.utils import logging

from heie_hf.checkpoints import default_checkpoint
from heie_hf.modeling import HEIEConfig, HEIEForImplausibility
from heie_hf.modeling.generation_heie import check_generation_config
from heie_hf.pipeline_heie import ImplausibilityPipeline
from heie_hf.processing import HEIEProcessor

from .source import model_folder
from .template import check_template

PROCESSOR_FILES = ("processor_config.json", "tokenizer.json", "tokenizer_config.json")
MAX_REASON = 400  # characters


class ModelError(ValueError):
    """A model that cannot be loaded, or a device that is not there; the message is one line and names it."""


def load_pipeline(
    model: str | None = None, device: str | None = None, dtype: str | torch.dtype = "auto"
) -> ImplausibilityPipeline:
    """A model, ready for images: whole, tried out on a blank one, and no code of its folder run.

    Args:
        model: folder or Hub name; None = the embedded model.
        device: such as "cpu", "cuda:1"; None = the first accelerator.
        dtype: of the weights; "auto" as in the config.

    Raises:
        ModelError: the model cannot be loaded, lacks files or weights, or they do not fit each other; or there is no
            such device.
    """
    logging.disable_progress_bar()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device; or a PyTorch that was built without it
        raise ModelError(f"cannot use device {device!r}: {one_line(error)}") from error
    try:
        with quiet():
            return _load(model_folder(model or default_checkpoint()), device, dtype)
    except Exception as error:  # a stranger's files make the libraries raise whatever there is
        raise ModelError(f"cannot load model {model or '(embedded)'}: {one_line(error)}") from error


def _load(folder: Path, device: str | None, dtype: str | torch.dtype) -> ImplausibilityPipeline:
    _check_files(folder)
    processor = HEIEProcessor.from_pretrained(folder, trust_remote_code=False)
    check_template(processor.chat_template)
    network = HEIEForImplausibility.from_pretrained(
        folder,
        dtype=dtype,
        trust_remote_code=False,
        ignore_mismatched_sizes=True,  # so that they are named as missing ones are
    )
    check_fit(processor, network.config)
    check_generation_config(network.generation_config)
    pipe = ImplausibilityPipeline(model=network, processor=processor, device=device, task="image-implausibility")
    blank = Image.new("RGB", (64, 64))
    pipe(blank, explain=False)  # what does not fit together shows here, not at the user's first image
    pipe.call_count = 0
    return pipe


def _check_files(folder: Path) -> None:
    is_adapter = (folder / "adapter_config.json").is_file()
    needed = PROCESSOR_FILES if is_adapter else ("config.json", *PROCESSOR_FILES)
    for name in needed:
        if not (folder / name).is_file():
            raise FileNotFoundError(f"it has no file {name}")


def check_fit(processor: HEIEProcessor, config: HEIEConfig) -> None:
    """Token ids and sizes of the one must be those of the other.

    Raises:
        ValueError: naming the first that is not.
    """
    height, _ = config.vision_config.image_size
    patch_height, _ = config.vision_config.patch_size
    side = height // patch_height
    images = processor.image_processor
    pairs = {
        "image_seq_length": (processor.image_seq_length, int(side * config.downsample_ratio) ** 2),
        "size": (images.size.height, height),
        "heatmap_size": (images.heatmap_size.height, side * config.mapper_config.upsample_factor),
    }
    tokens = processor.model_token_config()
    for name in ("map_token_id", "score_token_id", "image_token_id", "template_ids"):
        pairs[name] = (tokens[name], getattr(config, name))
    for name, (of_processor, of_config) in pairs.items():
        if of_processor != of_config:
            raise ValueError(f"{name} is {of_processor} in the processor, but {of_config} goes with config.json")
    vocab_size = config.text_config.vocab_size
    num_tokens = len(processor.tokenizer)
    if num_tokens > vocab_size:
        raise ValueError(f"tokenizer.json has {num_tokens} tokens, config.json only {vocab_size}")
    for token_id in _token_ids(config):
        if not 0 <= token_id < vocab_size:
            raise ValueError(f"config.json names the token id {token_id}, but has only {vocab_size} tokens")


def _token_ids(config: HEIEConfig) -> list[int]:
    """What decoding forces or masks."""
    eos = config.eos_token_id
    token_ids = [eos] if isinstance(eos, int) else [*eos]
    token_ids += [*config.local_map_token_ids, *(config.special_token_ids or [])]
    if config.num_token_ids is not None:
        token_ids.append(config.num_token_ids - 1)
    return token_ids


@contextmanager
def quiet() -> Iterator[None]:
    """Without Transformers' warnings and its table of weights that do not fit: the error here names them."""
    verbosity = logging.get_verbosity()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)


def one_line(error: Exception) -> str:
    """An error's message without line breaks, with its kind where that says more than the message."""
    message = " ".join(str(error).split())
    if not isinstance(error, (OSError, ValueError, RuntimeError)) or not message:
        message = f"{type(error).__name__} {message}".strip()
    if len(message) > MAX_REASON:
        message = message[:MAX_REASON] + " ..."
    return message
