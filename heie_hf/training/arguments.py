"""The settings of a training: those of Transformers, and HEIE's."""

import json
from dataclasses import dataclass, field

from transformers import TrainingArguments

from heie_hf.text_sources import TextSource
from heie_hf.training.collator import DEFAULT_TEXT_SOURCE


@dataclass
class HEIETrainingArguments(TrainingArguments):
    """`TrainingArguments` with what HEIE needs; rate and warm-up are the paper's (lr 3e-4, warm-up ratio 0.03)."""

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "loss_weights", "text_source"]

    loss_weights: dict | str | None = field(
        default=None,
        metadata={
            "help": 'JSON weights of lm, heatmap, laplace, score, such as {"lm": 0.5}; the others as in the config'
        },
    )
    text_source: dict | str | None = field(
        default=None,
        metadata={
            "help": "JSON probabilities, summing to 1, of the texts that a row is shown with: "
            f"{', '.join(TextSource)}; or the name of one. Default: {json.dumps(DEFAULT_TEXT_SOURCE)}"
        },
    )
    generated_text_steps: int = field(
        default=100, metadata={"help": "Every how many optimiser steps the model writes the texts of the next rows."}
    )
    num_overlays: int = field(default=4, metadata={"help": "Pictures per evaluation: image, reference, prediction."})
    learning_rate: float = field(default=3e-4, metadata={"help": "The highest learning rate."})
    warmup_steps: float = field(default=0.03, metadata={"help": "Warm-up: steps, or a share of them if below 1."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator needs the raw columns."})
    # All of them must be in a batch, or evaluation reports no loss.
    label_names: list[str] | None = field(default_factory=lambda: ["labels", "heatmap_labels", "score_labels"])
