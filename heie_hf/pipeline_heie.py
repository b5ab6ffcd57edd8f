"""The `image-implausibility` pipeline. Imports libraries only, because it travels to the Hub as one flat file."""

import os
from collections.abc import Generator, Iterable
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from transformers import Pipeline
from transformers.dynamic_module_utils import custom_object_save
from transformers.image_utils import get_image_size
from transformers.utils import logging

logger = logging.get_logger(__name__)


class ImplausibilityPipeline(Pipeline):
    """Where, how badly and why an image is implausible.

    Takes an image (path, URL, PIL image, array), a dict with an `"image"`, or any number of them: a list gives a
    list; a generator, a `KeyDataset` or a data set with an `"image"` column gives an iterator. Results keep the order
    of the inputs and do not depend on the batch size.

    Args (at construction or per call):
        explain: False leaves the text out: heatmap and score from one forward pass, description, regions, analysis
            and text empty.
        instruction: wording of the prompt, see the processor.
        batch_size: images per forward pass.
        max_new_tokens: limit of the whole answer; the sections' budgets shrink to fit.
        generate_kwargs: further arguments of `generate`.

    Returns per image a dict:
        score: float in [0, 1], 1 = plausible.
        heatmap: PIL image, mode L, of the image's size; 0 = plausible, 255 = implausible.
        predicted_heatmap: float32 array (H, W) in [0, 1], the same before rounding.
        uncertainty: float32 array (H, W) above 0, the Laplace deviation of the heatmap.
        description, regions, analysis: str, the three sections of the explanation.
        text: str, the whole answer.

    Raises:
        ValueError: for a file that is no readable image (the image processor's `ImageFileError`).
    """

    _load_processor = True
    _load_image_processor = False
    _load_feature_extractor = False
    _load_tokenizer = False
    _pipeline_calls_generate = True

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.tokenizer.padding_side = "left"  # the side on which a batch of prompts is padded for generation
        if self.model.config.training_data_notice:
            logger.warning_once(self.model.config.training_data_notice)

    def _sanitize_parameters(self, explain=None, instruction=None, max_new_tokens=None, generate_kwargs=None):
        preprocess = {"instruction": instruction}
        if max_new_tokens is not None:
            generate_kwargs = {**(generate_kwargs or {}), "max_new_tokens": max_new_tokens}
        forward = {"explain": explain, "generate_kwargs": generate_kwargs}
        given = [{k: v for k, v in group.items() if v is not None} for group in (preprocess, forward)]
        return *given, {}

    def __call__(self, inputs: Any, **kwargs: Any) -> dict[str, Any] | list[dict[str, Any]] | Iterable[dict[str, Any]]:
        if isinstance(inputs, (list, tuple)):
            return super().__call__(list(inputs), **kwargs) if inputs else []
        single = (str, os.PathLike, dict, np.ndarray, torch.Tensor)
        if isinstance(inputs, Iterable) and not isinstance(inputs, (*single, Dataset, Generator)):
            inputs = (item for item in inputs)  # a datasets.Dataset, a map ...: streamed as a generator is
        return super().__call__(inputs, **kwargs)

    def preprocess(self, inputs: Any, instruction: str | None = None) -> dict[str, torch.Tensor]:
        image = self.image_processor.fetch_images(inputs["image"] if isinstance(inputs, dict) else inputs)
        encoded = self.processor(images=image, instruction=instruction, return_tensors="pt").to(dtype=self.dtype)
        size = (image.height, image.width) if isinstance(image, Image.Image) else get_image_size(image)
        return {**encoded, "target_size": torch.tensor([size])}

    def _forward(self, model_inputs, explain=True, generate_kwargs=None):
        target_sizes = model_inputs.pop("target_size").tolist()
        if explain:
            generate_kwargs = self._prepare_generate_kwargs(generate_kwargs or {}, return_dict_in_generate=True)
            outputs = self.model.generate(**model_inputs, **generate_kwargs)
        else:
            outputs = self.model.assess(**model_inputs)
        input_length = model_inputs["input_ids"].shape[1]
        return {"result": self.processor.post_process(outputs, target_sizes=target_sizes, input_length=input_length)}

    def postprocess(self, model_outputs: dict[str, Any]) -> dict[str, Any]:
        result = model_outputs["result"]  # Transformers takes larger batches apart, but leaves a batch of one as it is
        return result[0] if isinstance(result, list) else result

    def save_pretrained(self, save_directory: str | os.PathLike, **kwargs: Any) -> None:
        """Save model and processor, so that `pipeline` works with the folder; `push_to_hub` also sends the code."""
        self.model.save_pretrained(save_directory, **kwargs)
        self.processor.save_pretrained(save_directory, **kwargs)
        if getattr(self.model.config, "custom_pipelines", None):  # this is the copy that came with a repository
            custom_object_save(self, save_directory)
