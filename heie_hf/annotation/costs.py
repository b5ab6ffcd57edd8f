"""What an annotation will cost, before it begins: calls and tokens."""

import math
from dataclasses import dataclass

from .stages import FILTER_TOKENS

#: Tokens of a question's words and of an answer, measured roughly on texts of the published kind.
FILTER_WORDS = 150
FREE_WORDS, FREE_ANSWER = 250, 350
FORMAT_WORDS, FORMAT_ANSWER = 900, 200
ASPECTS_WORDS, ASPECT_ANSWER = 250, 80


@dataclass(frozen=True)
class Estimate:
    """Calls and tokens, if every answer is good at once."""

    images: int
    calls: int
    prompt_tokens: int
    completion_tokens: int


def image_tokens(width: int, height: int) -> int:
    """Of a picture at high detail by OpenAI's classic rule: 85, and 170 for each tile of 512 pixels.

    The picture is first brought into 2048 x 2048, then to a shorter side of at most 768. Other models differ.
    """
    scale = min(1.0, 2048 / max(width, height))
    scale *= min(1.0, 768 / (min(width, height) * scale))
    columns = math.ceil(width * scale / 512)
    rows = math.ceil(height * scale / 512)
    return 85 + 170 * columns * rows


def estimate(sizes: list[tuple[int, int]], num_images: int, num_samples: int) -> Estimate:
    """From the sizes (W, H) of the first images, for `num_images` of them with `num_samples` texts each."""
    picture = _mean_image_tokens(sizes)
    per_text = FREE_WORDS + picture + FORMAT_WORDS
    prompt = FILTER_WORDS + picture + num_samples * per_text
    completion = FILTER_TOKENS / 2 + num_samples * (FREE_ANSWER + FORMAT_ANSWER)
    num_calls = 1 + 2 * num_samples
    return _times(num_images, num_calls, prompt, completion)


def estimate_aspects(sizes: list[tuple[int, int]], num_images: int, num_aspects: int) -> Estimate:
    """Of M3-AGIQA's texts: one call per image for all aspects."""
    return _times(num_images, 1, ASPECTS_WORDS + _mean_image_tokens(sizes), num_aspects * ASPECT_ANSWER)


def _mean_image_tokens(sizes: list[tuple[int, int]]) -> float:
    total = 0
    for width, height in sizes:
        total += image_tokens(width, height)
    return total / len(sizes)


def _times(num_images: int, calls: int, prompt_tokens: float, completion_tokens: float) -> Estimate:
    return Estimate(
        images=num_images,
        calls=num_images * calls,
        prompt_tokens=round(num_images * prompt_tokens),
        completion_tokens=round(num_images * completion_tokens),
    )
