"""The rows of a training run, looked at before any work is done: what could not be used is listed with its reason."""

from collections.abc import Callable, Iterator, Sequence
from io import BytesIO

from datasets import Dataset, concatenate_datasets
from datasets import Image as ImageFeature
from datasets.exceptions import DatasetGenerationError
from PIL import ExifTags, Image

from heie_hf.data import load
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.processing.processing_heie import INSTRUCTIONS, HEIEProcessor

from .recipe import TrainingError

BadRows = list[tuple[str, str]]  # place or id, and the reason
COLUMNS = ("id", "image", "heatmap", "score", *SECTIONS)  # no other picture is decoded for nothing


def read_rows(
    specs: Sequence[dict],
    processor: HEIEProcessor,
    max_length: int,
    num_samples: int | None = None,
    seed: int = 0,
    skip_bad_rows: bool = False,
    say: Callable[[str], None] = print,
) -> Dataset:
    """All data sets as one, every row of it of use.

    Args:
        specs: arguments of `heie_hf.data.load`, one dict per data set.
        max_length: the most tokens that prompt and answer may have.
        num_samples: draw only so many rows, by `seed`.
        say: told how many rows are left out, where `skip_bad_rows` allows that.

    Raises:
        TrainingError: a data set cannot be read; or, with the list of them, rows cannot be used; or none is left.
    """
    parts = []
    bad: BadRows = []
    for spec in specs:
        part, unreadable = load_rows(spec)
        parts.append(part)
        bad += unreadable
    rows = concatenate_datasets(parts)
    if num_samples is not None and num_samples < len(rows):
        rows = rows.shuffle(seed=seed).select(range(num_samples))
    total = len(rows) + len(bad)

    problems = dict(find_problems(rows, processor, max_length))
    for index, reason in problems.items():
        bad.append((rows[index]["id"], reason))
    if bad and not skip_bad_rows:
        raise TrainingError(
            f"{len(bad)} of {total} rows cannot be used: put them right, or leave them out with skip_bad_rows", bad
        )
    if len(problems) == len(rows):
        raise TrainingError(f"none of {total} rows can be used", bad)
    if bad:
        place, reason = bad[0]
        say(f"{len(bad)} of {total} rows are left out, the first of them {place}: {reason}")
    if problems:
        good = [index for index in range(len(rows)) if index not in problems]
        rows = rows.select(good)
    return rows


def load_rows(spec: dict) -> tuple[Dataset, BadRows]:
    """One data set, and the rows that its loader could not use. Raises TrainingError."""
    bad: BadRows = []

    def note(place: str, reason: str) -> None:
        bad.append((place, reason))

    try:
        rows = load(**spec, streaming=False, on_bad_row=note)
    except (ValueError, OSError, TypeError, DatasetGenerationError) as error:  # TypeError: an option it does not have
        name = spec["name"]
        raise TrainingError(f"data set {name}: {error}", bad) from error
    return rows.select_columns(list(COLUMNS)), bad


def find_problems(rows: Dataset, processor: HEIEProcessor, max_length: int) -> Iterator[tuple[int, str]]:
    """Index and reason of the rows (of `heie_hf.data.FEATURES`) that training would stumble over.

    Pictures are opened, not decoded: the loaders have done that.
    """
    for name in ("image", "heatmap"):
        rows = rows.cast_column(name, ImageFeature(decode=False))
    count_tokens = TokenCounter(processor)
    rows = rows.select_columns(list(COLUMNS))
    for index, row in enumerate(rows):
        try:
            _check(row, count_tokens, max_length)
        except ValueError as error:
            yield index, str(error)


def _check(row: dict, count_tokens: "TokenCounter", max_length: int) -> None:
    """Raises ValueError with the reason why the row is of no use."""
    image = row["image"]
    heatmap = row["heatmap"]
    score = row["score"]
    texts = [row[name] or "" for name in SECTIONS]
    if image is None:
        raise ValueError("has no image")
    size, _ = _open("image", image)
    has_text = any(texts)
    if heatmap is None and score is None and not has_text:
        raise ValueError("has nothing to learn from: no heatmap, no score, no text")
    if heatmap is not None:
        heatmap_size, mode = _open("heatmap", heatmap)
        if heatmap_size != size or mode != "L":
            raise ValueError(f"heatmap: is {mode} of {heatmap_size}, not L of the image's size {size}")
    if score is not None and not 0 <= score <= 1:
        raise ValueError(f"score is {score:g}, not in [0, 1]")
    length = count_tokens(size, texts)
    if length > max_length:
        raise ValueError(f"prompt and answer have {length} tokens, over the limit of {max_length} (max_length)")


def _open(name: str, cell: dict) -> tuple[tuple[int, int], str]:
    """Size (width, height) of the upright picture, and its mode."""
    content = cell["bytes"]
    source = cell["path"] if content is None else BytesIO(content)
    try:
        with Image.open(source) as picture:
            orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
            width, height = picture.size
            if orientation >= 5:
                width, height = height, width
            return (width, height), picture.mode
    except OSError as error:
        reason = error.strerror or "cannot be read as an image"
        raise ValueError(f"{name}: {reason.lower()}") from error


class TokenCounter:
    """How long prompt and answer of a row become, with the longest wording of the task."""

    def __init__(self, processor: HEIEProcessor):
        self.processor = processor
        conversations = []
        for wording in INSTRUCTIONS:
            question = [{"type": "image"}, {"type": "text", "text": wording}]
            conversations.append([{"role": "user", "content": question}])
        prompts = processor.apply_chat_template(conversations, add_generation_prompt=True)
        # without the image's placeholder, with the marks around what it becomes
        self.prompt = self._longest(prompts) + 1
        self.template = sum(len(ids) for ids in processor.template_ids)

    def _longest(self, texts: list[str]) -> int:
        encoded = self.processor.tokenizer(texts, add_special_tokens=False)
        return max(len(ids) for ids in encoded["input_ids"])

    def __call__(self, size: tuple[int, int], sections: Sequence[str]) -> int:
        """Tokens for an image of this (width, height) and its three sections."""
        width, height = size
        processor = self.processor
        patches = processor.image_processor.get_number_of_image_patches(height, width)
        encoded = processor.tokenizer(list(sections), add_special_tokens=False, split_special_tokens=True)
        text = sum(len(ids) for ids in encoded["input_ids"])
        image = processor.image_seq_length * patches
        # one token per patch's map, one for the score, one for the end
        answer = self.template + text + patches + 2
        return self.prompt + image + answer
