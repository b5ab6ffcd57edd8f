"""The `image-implausibility` pipeline. Imports libraries only, because it travels to the Hub as one flat file."""

import os
from collections.abc import Iterable, Iterator, Sized
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.pipelines.base import pad_collate_fn
from transformers.utils import logging

logger = logging.get_logger(__name__)

ON_ERROR = ("raise", "skip")
ASSESSED = ("score", "heatmap", "uncertainty")  # what post-processing needs besides the text


@dataclass(frozen=True)
class Item:
    """One input: its place among several, and the image, or why the data set could not give it."""

    index: int | None
    image: Any = None
    error: str | None = None


class NumberedItems(Dataset):
    """A data set of any library that is read by number, so that one bad row is not the end of all."""

    def __init__(self, rows: Any):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Item:
        try:
            return Item(index, self.rows[index])
        except ValueError as error:  # says itself what is wrong
            return Item(index, error=" ".join(str(error).split()))
        except Exception as error:  # whatever the decoder of the data set raises
            message = " ".join(str(error).split())
            return Item(index, error=f"{type(error).__name__}: {message}")


def numbered(inputs: Iterable) -> Iterator[Item]:
    """The images of a stream, those of a batch (a stacked array or tensor) one by one."""
    index = 0
    for entry in inputs:
        images = entry if is_batch(entry) else [entry]
        for image in images:
            yield Item(index, image)
            index += 1


def is_batch(image: Any) -> bool:
    """Whether an array holds several images, (B, H, W, C) or (B, C, H, W)."""
    return isinstance(image, (np.ndarray, torch.Tensor)) and image.ndim == 4


def is_single(image: Any) -> bool:
    """Whether it is one image in some form, and nothing to iterate over."""
    forms = (str, bytes, bytearray, memoryview, os.PathLike, dict, np.ndarray, torch.Tensor, Image.Image)
    if isinstance(image, forms) or hasattr(image, "read"):
        return True
    return not isinstance(image, (Iterable, Dataset))


class ImplausibilityPipeline(Pipeline):
    """Where, how badly and why an image is implausible.

    Takes an image in any form (path, URL, `data:` URL, base64, bytes, open file, PIL image, array or tensor; uint8 in
    0..255, floats in [0, 1]), a dict with an `"image"`, or any number of them: a list or a stacked array gives a list;
    a generator, a `KeyDataset` or a data set with an `"image"` column gives an iterator. Results keep the order of the
    inputs and do not depend on the batch size.

    Args (at construction or per call):
        explain: False leaves the text out: heatmap and score from one forward pass, description, regions, analysis
            and text empty.
        instruction: wording of the prompt, see the processor.
        batch_size: images per forward pass.
        max_new_tokens: limit of the whole answer; the sections' budgets shrink to fit.
        generate_kwargs: further arguments of `generate`.
        on_error: "raise" (default), or "skip": a bad image gives `{"error": reason}` in its place, and the others
            their results.

    Returns per image a dict, with `to_json()`:
        score: float in [0, 1], 1 = plausible.
        heatmap: PIL image, mode L, of the image's size; 0 = plausible, 255 = implausible.
        predicted_heatmap: float32 array (H, W) in [0, 1], the same before rounding.
        uncertainty: float32 array (H, W) above 0, the Laplace deviation of the heatmap.
        description, regions, analysis: str, the three sections of the explanation.
        text: str, the whole answer.
        notice: str, what the model knows, if its config has a `training_data_notice`.

    Raises:
        ValueError: at construction, if the model has weights that its checkpoint lacks and that were not trained
            since. Then for an image that cannot be used, or for which the model gives NaN; names the path, and among
            several the index.
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    _pipeline_calls_generate = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        untrained = self.model.config.untrained_weights
        if untrained:
            raise ValueError(
                f"{len(untrained)} weights are in no checkpoint and were never trained, so a score would be made up: "
                f"{', '.join(untrained[:3])} ..."
            )
        self.tokenizer.padding_side = "left"  # the side on which a batch of prompts is padded for generation
        if self.model.config.training_data_notice:
            logger.warning_once(self.model.config.training_data_notice)

    def _sanitize_parameters(
        self, explain=None, instruction=None, max_new_tokens=None, generate_kwargs=None, on_error=None
    ):
        if on_error not in (None, *ON_ERROR):
            raise ValueError(f"on_error is {on_error!r}, not one of {', '.join(ON_ERROR)}")
        if max_new_tokens is not None:
            generate_kwargs = {**(generate_kwargs or {}), "max_new_tokens": max_new_tokens}
        preprocess = _given(instruction=instruction)
        forward = _given(explain=explain, generate_kwargs=generate_kwargs)
        return preprocess, forward, _given(on_error=on_error)

    def __call__(self, inputs: Any, **kwargs: Any) -> dict[str, Any] | list[dict[str, Any]] | Iterable[dict[str, Any]]:
        if isinstance(inputs, (list, tuple)) or is_batch(inputs):
            items = list(numbered(inputs))
            return super().__call__(items, **kwargs) if items else []
        if is_single(inputs):
            return super().__call__(inputs, **kwargs)
        is_indexed = isinstance(inputs, Sized) and hasattr(inputs, "__getitem__")
        is_keyed = hasattr(inputs, "keys")  # a mapping, a pandas Series
        items = NumberedItems(inputs) if is_indexed and not is_keyed else numbered(inputs)
        return super().__call__(items, **kwargs)

    def preprocess(self, inputs: Any, instruction: str | None = None) -> dict[str, Any]:
        """One image to a sample of index, size and model inputs; a bad one to a sample of index and error."""
        item = inputs if isinstance(inputs, Item) else Item(None, inputs)
        try:
            image = self._open(item)
        except ValueError as error:  # not raised here: a worker process would wrap it in its traceback
            return {"sample": {"index": item.index, "error": str(error)}}
        encoded = self.processor(images=image, instruction=instruction, return_tensors="pt")
        encoded = encoded.to(dtype=self.dtype)
        size = (image.height, image.width)
        return {"sample": {"index": item.index, "size": size, "inputs": {**encoded}}}

    def _open(self, item: Item) -> Image.Image:
        if item.error is not None:
            raise ValueError(item.error)
        image = item.image
        if isinstance(image, dict) and "image" in image:
            image = image["image"]
        image = self.image_processor.fetch_images(image)
        if isinstance(image, list):
            raise ValueError(f"holds {len(image)} images where one is expected")
        return image

    def _forward(self, model_inputs, explain=True, generate_kwargs=None):
        """One pass over the good samples of a batch; every sample then has its own outputs."""
        samples = model_inputs["sample"]
        if isinstance(samples, dict):  # a batch of one
            samples = [samples]
        good = [sample for sample in samples if "error" not in sample]
        if good:
            self._assess(good, explain, generate_kwargs or {})
        return {"sample": samples}

    def _assess(self, samples: list[dict], explain: bool, generate_kwargs: dict) -> None:
        collate = pad_collate_fn(self.tokenizer, self.image_processor)
        encoded = [sample.pop("inputs") for sample in samples]
        inputs = collate(encoded)
        if explain:
            generate_kwargs = self._prepare_generate_kwargs(generate_kwargs, return_dict_in_generate=True)
            outputs = self.model.generate(**inputs, **generate_kwargs)
        else:
            outputs = self.model.assess(**inputs)
        for row, sample in enumerate(samples):
            own = {name: [outputs[name][row]] for name in ASSESSED}
            if explain:
                own["sequences"] = outputs["sequences"][row : row + 1]
            sample["outputs"] = own
            sample["input_length"] = inputs["input_ids"].shape[1]

    def postprocess(self, model_outputs: dict[str, Any], on_error: str = "raise") -> dict[str, Any]:
        sample = model_outputs["sample"]
        if isinstance(sample, list):  # Transformers takes larger batches apart, but leaves a batch of one as it is
            (sample,) = sample
        try:
            return self._result(sample)
        except ValueError as error:
            if on_error == "skip":
                return self.processor.result_class(error=str(error))
            if sample["index"] is None:
                raise
            raise ValueError(f"inputs[{sample['index']}]: {error}") from error

    def _result(self, sample: dict[str, Any]) -> dict[str, Any]:
        if "error" in sample:
            raise ValueError(sample["error"])
        (result,) = self.processor.post_process(
            sample["outputs"],
            target_sizes=[sample["size"]],
            input_length=sample["input_length"],
        )
        notice = self.model.config.training_data_notice
        if notice:
            result["notice"] = notice
        return result

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save model and processor, so that `pipeline` works with the folder; `push_to_hub` also sends the code."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)
        if getattr(self.model.config, "custom_pipelines", None):  # this is the copy that came with a repository
            custom_object_save(self, save_directory)


def _given(**parameters: Any) -> dict[str, Any]:
    """The parameters that are not None."""
    return {name: value for name, value in parameters.items() if value is not None}
