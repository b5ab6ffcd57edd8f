"""Rows of the common schema to a batch: what the model is asked, which text it is shown, and the labels."""

import copy
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from datasets import Dataset
from transformers import BatchFeature

from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.processing.processing_heie import INSTRUCTIONS
from heie_hf.text_sources import TextSource

#: Keeps the score from being read out of the text alone; see docs/text_source.md.
DEFAULT_TEXT_SOURCE = {TextSource.REFERENCE: 0.36, TextSource.NONE: 0.4, TextSource.SWAPPED: 0.24}
#: What a row of no use may raise, from the processor and from the libraries below it.
ROW_ERRORS = (ValueError, TypeError, LookupError, AttributeError, OSError)


class RowError(ValueError):
    """A row that no batch can be made of; the message names it."""


@dataclass(frozen=True)
class Draw:
    """What chance gives a row: where its text comes from, the wording of the task, and a number in [0, 1)."""

    source: TextSource
    instruction: str
    number: float


@dataclass
class HEIEDataCollator:
    """Turns rows of the common schema (`heie_hf.data.schema`) into a batch with labels, `input_ids` first.

    Scores read from the reference text alone would be lost on the generated one. `text_source` therefore draws, per
    row, what the model is shown: "reference" its text of the data set; "none" the template without text; "swapped"
    regions and analysis of another row; "generated" what the model itself wrote. Only the first is learnt (LM loss).
    Rows drawn for "generated" leave here without text and with a key in `generated_text` (B,), 0 for the others:
    `HEIETrainer` puts the text in (`heie_hf.training.shown_texts`) and takes the key out.

    Args:
        processor: an `HEIEProcessor`.
        text_source: probabilities of the four, summing to 1, or the name of one. Left open, it is that of the
            trainer's arguments, and `DEFAULT_TEXT_SOURCE` where these say nothing, or without a trainer.
        seed: a draw depends on it, the row's id and the epoch, and on nothing else: neither a resumed run nor another
            batch size changes it. Left open, it is that of the trainer's arguments; 0 without a trainer.
        instructions: wordings of the task, one is drawn per row.
        other_texts: the rows that "swapped" takes texts from. Left open, they are the trainer's training data; without
            a trainer, or if these have no index, those of the batch.

    Raises:
        ValueError: if `text_source` names anything else, or its probabilities are negative or do not sum to 1.
        RowError: on a call, with the row's id and what is wrong with it.
    """

    processor: object
    text_source: Mapping[str, float] | str | None = None
    seed: int | None = None
    instructions: Sequence[str] = INSTRUCTIONS
    other_texts: Sequence[dict] | None = None

    def __post_init__(self):
        if self.text_source is not None:
            self.text_source = shares(self.text_source)
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # with worker processes that live on

    def completed(self, text_source: Mapping[str, float] | str | None, seed: int, rows: object) -> "HEIEDataCollator":
        """A copy in which nothing is left open: what this one does not say is as given.

        Raises:
            ValueError: if both name a text source, and not the same.
        """
        collator = copy.copy(self)
        if self.text_source is None:
            collator.text_source = shares(DEFAULT_TEXT_SOURCE if text_source is None else text_source)
        elif text_source is not None and self.text_source != shares(text_source):
            mine = _in_words(self.text_source)
            theirs = _in_words(shares(text_source))
            raise ValueError(f"the collator's text_source is {mine}, that of the arguments {theirs}: leave one out")
        if self.seed is None:
            collator.seed = seed
        if self.other_texts is None:
            collator.other_texts = _texts(rows)
        return collator

    def set_epoch(self, epoch: int) -> None:
        """Called by `HEIETrainer`; without it, every row gets the same in all epochs."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[dict]) -> BatchFeature:
        try:
            return self._batch(rows)
        except ROW_ERRORS:
            for index, row in enumerate(rows):
                self._check_alone(row, index)
            raise

    def _batch(self, rows: Sequence[dict]) -> BatchFeature:
        draws = [self.draw(row["id"]) for row in rows]
        images = [row["image"] for row in rows]
        targets = self.targets(rows, draws)
        wordings = [draw.instruction for draw in draws]
        batch = self.processor(images=images, targets=targets, instruction=wordings, return_tensors="pt")
        if TextSource.GENERATED in self._shares:
            keys = []
            for row, draw in zip(rows, draws, strict=True):
                is_generated = draw.source == TextSource.GENERATED
                keys.append(text_key(row["id"]) if is_generated else 0)
            batch["generated_text"] = torch.tensor(keys)
        return batch

    def _check_alone(self, row: dict, index: int) -> None:
        try:
            self._batch([row])
        except ROW_ERRORS as error:
            name = f"row {index} of the batch"
            if isinstance(row, Mapping) and "id" in row:
                name = f"row {row['id']}"
            reason = str(error)
            if isinstance(error, KeyError):
                reason = f"has no {reason}"
            raise RowError(f"{name}: {reason}") from error

    @property
    def _shares(self) -> dict[str, float]:
        return self.text_source or DEFAULT_TEXT_SOURCE

    def draw(self, row_id: str) -> Draw:
        """What the row with this id gets in this epoch."""
        epoch = int(self._epoch)
        random = np.random.default_rng([self.seed or 0, epoch, text_key(row_id)])
        sources = list(self._shares)
        source = random.choice(sources, p=list(self._shares.values()))
        wording = random.integers(len(self.instructions))
        return Draw(TextSource(str(source)), self.instructions[wording], random.random())

    def targets(self, rows: Sequence[dict], draws: Sequence[Draw]) -> list[dict]:
        """One dictionary per row, as the processor's `targets` takes it."""
        targets = []
        for row, draw in zip(rows, draws, strict=True):
            target = {
                "explanation": self._shown_text(row, rows, draw),
                "learn_text": draw.source == TextSource.REFERENCE,
                "heatmap": row["heatmap"],
                "score": row["score"],
            }
            targets.append(target)
        return targets

    def _shown_text(self, row: dict, rows: Sequence[dict], draw: Draw) -> dict[str, str] | None:
        """What is known before the model has written anything; None for a row that is shown without text."""
        if draw.source not in (TextSource.REFERENCE, TextSource.SWAPPED):
            return None
        text = _explanation(row)
        if text is None or draw.source == TextSource.REFERENCE:
            return text
        others = rows if self.other_texts is None else self.other_texts
        return _swapped(row, others, draw.number)


def shares(text_source: Mapping[str, float] | str) -> dict[str, float]:
    """The probabilities of a text source, the name of one being all of it.

    Raises:
        ValueError: for a name that is no `TextSource`, or probabilities that are negative or do not sum to 1.
    """
    if isinstance(text_source, str):
        text_source = {text_source: 1.0}
    known = list(TextSource)
    for name in text_source:
        if name not in known:
            raise ValueError(f"text_source has no {name!r}; there are {', '.join(known)}")
    probabilities = list(text_source.values())
    is_negative = min(probabilities, default=0) < 0
    if is_negative or not np.isclose(sum(probabilities), 1):
        raise ValueError(f"text_source must give probabilities that sum to 1, not {_in_words(text_source)}")
    return dict(text_source)


def _in_words(sources: Mapping[str, float]) -> str:
    words = [f"{name} {share:g}" for name, share in sources.items()]
    return ", ".join(words)


def text_key(row_id: str) -> int:
    """A number of 63 bits for a row's id, which fits into a tensor."""
    digest = hashlib.blake2b(row_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) >> 1


def _texts(rows: object) -> Sequence[dict] | None:
    """Rows by index for `other_texts`, without decoding images; None where there is no index."""
    if isinstance(rows, Dataset):
        return rows.select_columns(["id", *SECTIONS])
    return rows if isinstance(rows, Sequence) else None


def _explanation(row: dict) -> dict[str, str] | None:
    sections = {name: row[name] for name in SECTIONS}
    return sections if any(sections.values()) else None


def _swapped(row: dict, others: Sequence[dict], number: float) -> dict[str, str] | None:
    """The row's description with the text of the first other row that has one, from the drawn one on; or None."""
    count = len(others)
    start = int(number * count)
    for index in range(start, start + count):
        other = others[index % count]
        text = _explanation(other)
        if other["id"] != row["id"] and text is not None:
            return text | {"description": row["description"]}
    return None
