"""Rows of the common schema to a batch: what the model is asked, which text it is shown, and the labels."""

import hashlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from transformers import BatchFeature

from heie_hf.processing.processing_heie import INSTRUCTIONS

TEXT_SOURCES = ("reference", "none", "own", "swapped")
#: Keeps the score from being read out of the text alone; see docs/text_source.md.
DEFAULT_TEXT_SOURCE = {"reference": 0.36, "none": 0.4, "swapped": 0.24}


@dataclass(frozen=True)
class Draw:
    """What chance gives a row: where its text comes from, the wording of the task, and a number in [0, 1)."""

    source: str
    instruction: str
    number: float


@dataclass
class HEIEDataCollator:
    """Turns rows of the common schema (`heie_hf.data.schema`) into a batch with labels, `input_ids` first.

    Scores read from the reference text alone would be lost on the model's own text. `text_source` therefore draws, per
    row, what the model is shown: "reference" its own text of the data set; "none" the template without text; "swapped"
    regions and analysis of another row; "own" what the model itself wrote. Only the first is learnt (LM loss). Rows
    drawn for "own" leave here without text and with a key in `own_text` (B,), 0 for the others: `HEIETrainer` puts the
    text in (`heie_hf.training.own_text`) and takes the key out.

    Args:
        processor: an `HEIEProcessor`.
        text_source: probabilities of the four, summing to 1, or the name of one; default: always "reference".
        seed: a draw depends on it, the row's id and the epoch, and on nothing else: neither a resumed run nor another
            batch size changes it.
        instructions: wordings of the task, one is drawn per row.
        other_texts: the rows that "swapped" takes texts from; default: those of the batch. `HEIETrainer` puts the
            training data here.

    Raises:
        ValueError: if `text_source` names anything else, or its probabilities are negative or do not sum to 1.
    """

    processor: object
    text_source: dict[str, float] | str | None = None
    seed: int = 0
    instructions: Sequence[str] = INSTRUCTIONS
    other_texts: Sequence[dict] | None = None

    def __post_init__(self):
        given = self.text_source or "reference"
        self.text_source = {given: 1.0} if isinstance(given, str) else given
        shares = self.text_source.values()
        if not set(self.text_source) <= set(TEXT_SOURCES) or min(shares) < 0 or not np.isclose(sum(shares), 1):
            names = ", ".join(TEXT_SOURCES)
            raise ValueError(f"text_source must give {names} probabilities that sum to 1, not {given}")
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()  # with worker processes that live on

    def set_epoch(self, epoch: int) -> None:
        """Called by `HEIETrainer`; without it, every row gets the same in all epochs."""
        self._epoch.fill_(epoch)

    def __call__(self, rows: Sequence[dict]) -> BatchFeature:
        draws = [self.draw(row["id"]) for row in rows]
        batch = self.processor(
            images=[row["image"] for row in rows],
            targets=self.targets(rows, draws),
            instruction=[draw.instruction for draw in draws],
            return_tensors="pt",
        )
        if "own" in self.text_source:
            keys = [text_key(row["id"]) if draw.source == "own" else 0 for row, draw in zip(rows, draws, strict=True)]
            batch["own_text"] = torch.tensor(keys)
        return batch

    def draw(self, row_id: str) -> Draw:
        """What the row with this id gets in this epoch."""
        random = np.random.default_rng([self.seed, int(self._epoch), text_key(row_id)])
        source = random.choice(list(self.text_source), p=list(self.text_source.values()))
        return Draw(str(source), self.instructions[random.integers(len(self.instructions))], random.random())

    def targets(self, rows: Sequence[dict], draws: Sequence[Draw]) -> list[dict]:
        """One dictionary per row, as the processor's `targets` takes it."""
        targets = []
        for row, draw in zip(rows, draws, strict=True):
            text = _explanation(row) if draw.source in ("reference", "swapped") else None
            if draw.source == "swapped" and text:
                text = _swapped(row, rows if self.other_texts is None else self.other_texts, draw.number)
            target = {"explanation": text, "learn_text": draw.source == "reference"}
            targets.append(target | {"heatmap": row["heatmap"], "score": row["score"]})
        return targets


def text_key(row_id: str) -> int:
    """A number of 63 bits for a row's id, which fits into a tensor."""
    return int.from_bytes(hashlib.blake2b(row_id.encode(), digest_size=8).digest()) >> 1


def _explanation(row: dict) -> dict[str, str] | None:
    sections = {name: row[name] for name in ("description", "regions", "analysis")}
    return sections if any(sections.values()) else None


def _swapped(row: dict, others: Sequence[dict], number: float) -> dict[str, str] | None:
    """The row's description with the text of the first other row that has one, from the drawn one on; or None."""
    start = int(number * len(others))
    for index in itertools.chain(range(start, len(others)), range(start)):
        other = others[index]
        if other["id"] != row["id"] and _explanation(other):
            return _explanation(other) | {"description": row["description"]}
    return None
