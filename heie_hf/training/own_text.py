"""Other text for rows of a batch: what the model itself wrote during training, or none.

A model trained on given text alone meets its own text for the first time when it is used (exposure gap). With "own" in
`text_source`, the model writes, every `own_text_steps` optimiser steps, the texts of the rows that come next. A round
never reaches into the next epoch, whose order is not drawn yet.
"""

import itertools
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import BatchFeature, Trainer
from transformers.trainer_utils import has_length

from heie_hf.modeling.generation_heie import template_without_text
from heie_hf.training.collator import HEIEDataCollator, text_key


def replace_answers(
    batch: BatchFeature, starts: Sequence[int], answers: Sequence[list[int] | None], pad_token_id: int
) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels` of a right-padded batch with other answers, none of them learnt.

    Args:
        starts: per row, where its answer begins; answers: its new token ids, None = the row stays as it is.
    """
    rows, labels = [], []
    for row, answer in enumerate(answers):
        length = int(batch["attention_mask"][row].sum())
        ids, known = batch["input_ids"][row, :length], batch["labels"][row, :length]
        if answer is not None:
            ids = torch.cat([ids[: starts[row]], ids.new_tensor(answer)])
            known = torch.full_like(ids, -100)
        rows.append(ids)
        labels.append(known)
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=pad_token_id),
        "attention_mask": pad_sequence([torch.ones_like(ids) for ids in rows], batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def leave_text_out(batch: BatchFeature, config, pad_token_id: int) -> dict[str, torch.Tensor]:
    """The model's inputs for a batch of reference texts, with the chain of thought left empty and no labels.

    A row has a text if it has text labels; the answer begins at the first of them.
    """
    asked = batch["labels"] != -100  # (B, L)
    templates = [template_without_text(config, count) for count in batch["num_patches"].tolist()]
    answers = [template if has else None for template, has in zip(templates, asked.any(dim=1).tolist(), strict=True)]
    inputs = replace_answers(batch, asked.int().argmax(dim=1).tolist(), answers, pad_token_id)
    del inputs["labels"]
    return inputs | {name: batch[name] for name in ("pixel_values", "num_patches", "patch_grid")}


class OwnTexts:
    """The answers that the model wrote for the rows of the current round, as token ids by `text_key`.

    Every process writes those of its own rows. They are part of a checkpoint: a run that is resumed within a round
    could not write them again, since the weights have moved on.
    """

    def __init__(self, collator: HEIEDataCollator):
        self.collator = collator
        self.answers: dict[int, list[int]] = {}

    def write_if_due(self, trainer: Trainer) -> None:
        """Called before each optimiser step; every `own_text_steps` steps of an epoch, writes the texts of the next.

        Raises:
            ValueError: if the training data cannot be read ahead.
        """
        loader, args, state = trainer.callback_handler.train_dataloader, trainer.args, trainer.state
        if not has_length(loader):
            raise ValueError('text_source "own" needs training data with a length: the next rows are read ahead')
        accumulation = args.gradient_accumulation_steps
        epoch, step = divmod(state.global_step, math.ceil(len(loader) / accumulation))
        if step % args.own_text_steps:
            return
        num_steps = min(args.own_text_steps, state.max_steps - state.global_step)
        loader.set_epoch(epoch)  # read to its end, the sampler goes on to the next epoch by itself: too early
        end = min((step + num_steps) * accumulation, len(loader))
        batches = itertools.islice(loader.batch_sampler, step * accumulation, end)
        self._write(trainer, loader.dataset, list(itertools.chain.from_iterable(batches)))

    @torch.no_grad()
    def _write(self, trainer: Trainer, dataset: Any, indices: Sequence[int]) -> None:
        """Greedily decoded texts for those of the rows that are drawn to see their own."""
        accelerator, size = trainer.accelerator, trainer.args.per_device_eval_batch_size
        rows = list(zip(indices, _column(dataset, "id", indices), strict=True))
        wanted = [row for row in rows if self.collator.draw(row[1]).source == "own"]
        chunks = [wanted[start : start + size] for start in range(0, len(wanted), size)]
        # Sharded models (FSDP, ZeRO-3) hang unless all processes generate equally often.
        counts = accelerator.gather(torch.tensor([len(chunks)], device=accelerator.device))
        chunks += [rows[:1]] * (int(counts.max()) - len(chunks))
        hidden = trainer.args.disable_tqdm or not trainer.is_world_process_zero()
        trainer.model.eval()  # `training_step` switches back
        self.answers = {}
        for chunk in tqdm(chunks, desc="own texts", unit="batch", leave=False, disable=hidden):
            images = _column(dataset, "image", [index for index, _ in chunk])
            ids = [row_id for _, row_id in chunk]
            with accelerator.autocast():
                self.answers.update(zip(map(text_key, ids), self._generate(trainer.model, images, ids), strict=True))

    def _generate(self, model: Any, images: list, ids: list[str]) -> list[list[int]]:
        """The answers' token ids, end token included."""
        processor = self.collator.processor
        instructions = [self.collator.draw(row_id).instruction for row_id in ids]
        inputs = processor(images=images, instruction=instructions, return_tensors="pt").to(model.device)
        # Trainer sets config.use_cache to False for the training.
        sequences = model.generate(**inputs, do_sample=False, use_cache=True)
        answers, end = sequences[:, inputs["input_ids"].shape[1] :].tolist(), processor.tokenizer.eos_token_id
        return [answer[: answer.index(end) + 1] for answer in answers]

    def insert(self, batch: BatchFeature, config) -> BatchFeature:
        """Put the texts into a batch of the collator; rows whose text is not there stay without text."""
        keys = batch.pop("own_text").tolist()
        answers = [self.answers.get(key) if key else None for key in keys]
        lengths = batch["attention_mask"].sum(dim=1).tolist()
        counts = batch["num_patches"].tolist()
        starts = [n - len(template_without_text(config, count)) for n, count in zip(lengths, counts, strict=True)]
        batch.update(replace_answers(batch, starts, answers, self.collator.processor.tokenizer.pad_token_id))
        return batch

    def save(self, folder: str, process_index: int) -> None:
        _file(folder, process_index).write_text(json.dumps(self.answers), encoding="utf-8")

    def load(self, folder: str, process_index: int) -> None:
        """Take over the texts of a checkpoint; one that has none for this process leaves it without."""
        path = _file(folder, process_index)
        saved = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        self.answers = {int(key): answer for key, answer in saved.items()}


def _file(folder: str, process_index: int) -> Path:
    return Path(folder, f"own_texts_{process_index}.json")


def _column(dataset: Any, name: str, indices: Sequence[int]) -> list:
    """One column of some rows, without decoding the images of the others."""
    if isinstance(dataset, Dataset):
        return list(dataset.select_columns([name])[list(indices)][name])
    return [dataset[index][name] for index in indices]
