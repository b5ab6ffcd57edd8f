"""The embedded model, its backbone as a plain InternVL with the same weights, and pictures to give to both."""

import itertools
from pathlib import Path

from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor, InternVLForConditionalGeneration

import heie_hf  # noqa: F401 (registers HEIE)

IMAGES = Path(__file__).parents[2] / "examples" / "images"
PLAIN_INPUTS = ("input_ids", "attention_mask", "pixel_values")


def load(path: str) -> tuple:
    """HEIE, plain InternVL and the processor."""
    model = AutoModelForImageTextToText.from_pretrained(path).eval()
    plain = InternVLForConditionalGeneration(model.config).eval()
    plain.model = model.model
    plain.lm_head = model.lm_head
    plain.generation_config = model.generation_config
    return model, plain, AutoProcessor.from_pretrained(path)


def make_inputs(processor, batch_size: int) -> tuple[dict, dict]:
    """A batch for HEIE and the part of it that InternVL knows."""
    pictures = [Image.open(path) for path in sorted(IMAGES.glob("*.png"))]
    images = list(itertools.islice(itertools.cycle(pictures), batch_size))
    inputs = processor(images=images, return_tensors="pt")
    plain_inputs = {name: inputs[name] for name in PLAIN_INPUTS}
    return inputs, plain_inputs
