"""Other answers for the rows of a batch, in place of those that the collator gave them."""

from collections.abc import Sequence

import torch
from torch.nn.utils.rnn import pad_sequence
from transformers import BatchFeature

from heie_hf.modeling.generation_heie import template_without_text


def replace_answers(
    batch: BatchFeature, starts: Sequence[int], answers: Sequence[list[int] | None], pad_token_id: int
) -> dict[str, torch.Tensor]:
    """`input_ids`, `attention_mask` and `labels` of a right-padded batch with other answers, none of them learnt.

    Args:
        starts: per row, where its answer begins.
        answers: per row, its new token ids; None = the row stays as it is.
    """
    rows = []
    masks = []
    labels = []
    lengths = batch["attention_mask"].sum(dim=1).tolist()
    for row, answer in enumerate(answers):
        length = lengths[row]
        ids = batch["input_ids"][row, :length]
        label = batch["labels"][row, :length]
        if answer is not None:
            prompt = ids[: starts[row]]
            ids = torch.cat([prompt, ids.new_tensor(answer)])
            label = torch.full_like(ids, -100)
        rows.append(ids)
        masks.append(torch.ones_like(ids))
        labels.append(label)
    return {
        "input_ids": pad_sequence(rows, batch_first=True, padding_value=pad_token_id),
        "attention_mask": pad_sequence(masks, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=-100),
    }


def leave_text_out(batch: BatchFeature, config, pad_token_id: int) -> dict[str, torch.Tensor]:
    """The model's inputs for a batch of reference texts, with the chain of thought left empty and no labels.

    A row has a text if it has text labels; the answer begins at the first of them.
    """
    has_label = batch["labels"] != -100  # (B, L)
    has_text = has_label.any(dim=1)  # (B,)
    starts = has_label.int().argmax(dim=1)  # (B,)
    answers = []
    for row, num_patches in enumerate(batch["num_patches"].tolist()):
        template = template_without_text(config, num_patches)
        answers.append(template if has_text[row] else None)
    inputs = replace_answers(batch, starts.tolist(), answers, pad_token_id)
    del inputs["labels"]
    for name in ("pixel_values", "num_patches", "patch_grid"):
        inputs[name] = batch[name]
    return inputs
