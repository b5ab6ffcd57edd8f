"""The texts that the model itself writes during training, to be shown to it.

A model trained on given text alone meets its generated text for the first time when it is used (exposure gap).
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from tqdm import tqdm
from transformers import BatchFeature

from heie_hf.modeling.generation_heie import template_without_text
from heie_hf.text_sources import TextSource
from heie_hf.training.answers import replace_answers
from heie_hf.training.collator import HEIEDataCollator, text_key


class GeneratedTexts:
    """The answers that the model wrote for the rows of the current round, as token ids by `text_key`.

    Every process writes those of its own rows. They are part of a checkpoint: a run that is resumed within a round
    could not write them again, since the weights have moved on.
    """

    def __init__(self, collator: HEIEDataCollator):
        self.collator = collator
        self.answers: dict[int, list[int]] = {}

    @torch.no_grad()
    def write(
        self,
        model: Any,
        dataset: Any,
        indices: Sequence[int],
        batch_size: int,
        accelerator: Accelerator,
        show_progress: bool,
    ) -> None:
        """Replace the texts by greedily decoded ones for those of the rows that are drawn to be shown them."""
        row_ids = dict(zip(indices, _column(dataset, "id", indices), strict=True))
        drawn = []
        for index, row_id in row_ids.items():
            draw = self.collator.draw(row_id)
            if draw.source == TextSource.GENERATED:
                drawn.append(index)
        batches = list(_batches(drawn, batch_size))
        # Sharded models (FSDP, ZeRO-3) hang unless all processes generate equally often.
        num_batches = torch.tensor([len(batches)], device=accelerator.device)
        most = int(accelerator.gather(num_batches).max())
        while len(batches) < most:
            batches.append(indices[:1])
        self.answers = {}
        for batch in tqdm(batches, desc="writing texts", unit="batch", leave=False, disable=not show_progress):
            images = _column(dataset, "image", batch)
            ids = [row_ids[index] for index in batch]
            with accelerator.autocast():
                answers = self._generate(model, images, ids)
            for row_id, answer in zip(ids, answers, strict=True):
                self.answers[text_key(row_id)] = answer

    def _generate(self, model: Any, images: list, row_ids: list[str]) -> list[list[int]]:
        """The answers' token ids, end token included."""
        processor = self.collator.processor
        instructions = [self.collator.draw(row_id).instruction for row_id in row_ids]
        inputs = processor(images=images, instruction=instructions, return_tensors="pt")
        inputs = inputs.to(model.device)
        # Trainer sets config.use_cache to False for the training.
        sequences = model.generate(**inputs, do_sample=False, use_cache=True)
        prompt_length = inputs["input_ids"].shape[1]
        end_token = processor.tokenizer.eos_token_id
        answers = []
        for answer in sequences[:, prompt_length:].tolist():
            end = answer.index(end_token)
            answers.append(answer[: end + 1])
        return answers

    def insert(self, batch: BatchFeature, config) -> BatchFeature:
        """Put the texts into a batch of the collator; rows whose text is not there stay without text."""
        keys = batch.pop("generated_text").tolist()
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        starts = []
        answers = []
        for row, num_patches in enumerate(batch["num_patches"].tolist()):
            template = template_without_text(config, num_patches)
            starts.append(lengths[row] - len(template))
            answers.append(self.answers.get(keys[row]))  # the key is 0 where another text is shown
        pad_token_id = self.collator.processor.tokenizer.pad_token_id
        batch.update(replace_answers(batch, starts, answers, pad_token_id))
        return batch

    def save(self, folder: str, process_index: int) -> None:
        """Into a file of this process in the folder of a checkpoint."""
        path = _file(folder, process_index)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(self.answers), encoding="utf-8")

    def load(self, folder: str, process_index: int) -> None:
        """Take over the texts of a checkpoint; one that has none for this process leaves it without."""
        path = _file(folder, process_index)
        self.answers = {}
        if path.exists():
            saved = json.loads(path.read_text(encoding="utf-8"))
            for key, answer in saved.items():
                self.answers[int(key)] = answer


def _file(folder: str, process_index: int) -> Path:
    return Path(folder, f"generated_texts_{process_index}.json")


def _batches(rows: list, size: int) -> Iterator[list]:
    for start in range(0, len(rows), size):
        yield rows[start : start + size]


def _column(dataset: Any, name: str, indices: Sequence[int]) -> list:
    """One column of some rows, without decoding the images of the others."""
    if isinstance(dataset, Dataset):
        rows = dataset.select_columns([name])[list(indices)]
        return list(rows[name])
    return [dataset[index][name] for index in indices]
