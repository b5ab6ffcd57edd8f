"""Training: rows of the common schema in, four losses that stay right under every way of batching out."""

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from datasets import Dataset
from torch.nn import functional
from transformers import TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

from heie_hf.training.checkpoints import WholeCheckpoints
from heie_hf.training.collator import DEFAULT_TEXT_SOURCE, HEIEDataCollator
from heie_hf.training.own_text import OwnTexts, leave_text_out
from heie_hf.training.reports import Overlays, evaluation_metrics

#: Which count each loss is divided by, as the model's forward names them: text tokens, heatmap cells, scores.
COUNTED_BY = {
    "lm": "num_items_in_batch",
    "heatmap": "num_heatmap_cells",
    "laplace": "num_heatmap_cells",
    "score": "num_scores",
}
COUNTS = tuple(dict.fromkeys(COUNTED_BY.values()))


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
            "help": "JSON probabilities, summing to 1, of the texts that a row is shown with: reference, none, own "
            f"(written by the model itself), swapped; or the name of one. Default: {DEFAULT_TEXT_SOURCE}"
        },
    )
    own_text_steps: int = field(
        default=100, metadata={"help": "Every how many optimiser steps the model writes its own texts anew."}
    )
    num_overlays: int = field(default=4, metadata={"help": "Pictures per evaluation: image, reference, prediction."})
    learning_rate: float = field(default=3e-4, metadata={"help": "The highest learning rate."})
    warmup_steps: float = field(default=0.03, metadata={"help": "Warm-up: steps, or a share of them if below 1."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator needs the raw columns."})
    # All of them must be in a batch, or evaluation reports no loss.
    label_names: list[str] | None = field(default_factory=lambda: ["labels", "heatmap_labels", "score_labels"])


class HEIETrainer(WholeCheckpoints):
    """`Trainer` whose loss is the weighted sum of HEIE's four components, each logged beside it.

    A component is a sum over the global count of its labels: text tokens, heatmap cells and scores of all batches and
    processes of one optimiser step. So 8 x 1, 2 x 4 and 1 x 8 (batch x accumulation) train the same weights, and rows
    without text, heatmap or score can be mixed with others.

    By default the collator is a `HEIEDataCollator` with `args.text_source`, and evaluation reports
    `evaluation_metrics`.
    """

    def __init__(self, model=None, args=None, data_collator=None, **kwargs):
        args = args or HEIETrainingArguments()
        processor = kwargs.setdefault("processing_class", getattr(data_collator, "processor", None))
        kwargs.setdefault("compute_metrics", evaluation_metrics)
        if data_collator is None:
            data_collator = HEIEDataCollator(processor, args.text_source or DEFAULT_TEXT_SOURCE, args.seed)
        if isinstance(data_collator, HEIEDataCollator) and data_collator.other_texts is None:
            data_collator.other_texts = _texts(kwargs.get("train_dataset"))
        super().__init__(model, args, data_collator, **kwargs)
        self.add_callback(Overlays(self.callback_handler, args.num_overlays))
        self.own_texts = OwnTexts(data_collator) if "own" in getattr(data_collator, "text_source", ()) else None
        self._components: dict[str, torch.Tensor] = {}  # sums since the last log
        self._component_steps = 0.0
        self._seen = torch.zeros(2, device=self.args.device)  # images and tokens since the last log
        self._clock: float | None = None  # when they began

    @property
    def loss_weights(self) -> dict[str, float]:
        weights = self.model.config.loss_weights
        unknown = set(self.args.loss_weights or {}) - set(weights)
        if unknown:
            raise ValueError(f"loss_weights has unknown components {sorted(unknown)}; there are {sorted(weights)}")
        return weights | (self.args.loss_weights or {})

    # ---- batches ----

    def _get_dataloader(self, *args, is_training: bool = False, **kwargs):
        """For evaluation, the reference text and one wording, whatever the training shows."""
        collator = self.data_collator
        if not is_training and isinstance(collator, HEIEDataCollator):
            self.data_collator = HEIEDataCollator(collator.processor, instructions=collator.instructions[:1])
        try:
            return super()._get_dataloader(*args, is_training=is_training, **kwargs)
        finally:
            self.data_collator = collator

    def _run_epoch(self, *, epoch: int, **kwargs) -> None:
        if isinstance(self.data_collator, HEIEDataCollator):
            self.data_collator.set_epoch(epoch)
        super()._run_epoch(epoch=epoch, **kwargs)

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        """The batches of one optimiser step and their counts; the model's own texts are put into them here.

        Not in the collator: that runs ahead, and how far must not decide which text a row gets.
        """
        self._clock = self._clock or time.perf_counter()
        if self.own_texts:
            self.own_texts.write_if_due(self)
        batches, counts = super().get_batch_samples(epoch_iterator, num_batches, device)
        if self.own_texts:
            batches = [self.own_texts.insert(batch, self.model.config) for batch in batches]
        for batch in batches:
            tokens = batch["attention_mask"].sum()
            self._seen += torch.stack([tokens.new_tensor(len(batch["input_ids"])), tokens])
        return batches, counts

    # ---- loss ----

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> dict[str, torch.Tensor]:
        """Called by `get_batch_samples` with all batches of a step: the counts, as the model's forward takes them."""
        counts = sum(_count_labels(batch).to(device) for batch in batch_samples)
        if self._is_global:
            counts = self.accelerator.reduce(counts, "sum")
        return dict(zip(COUNTS, counts.clamp(min=1), strict=True))  # a component without labels is 0, not 0 / 0

    @property
    def _is_global(self) -> bool:
        return self.args.average_tokens_across_devices and self.args.world_size > 1

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The weighted sum of the components; `num_items_in_batch` are the three counts, None counts this batch."""
        counts = num_items_in_batch or self._get_num_items_in_batch([inputs], self.args.device)
        outputs = model(**inputs, **counts)
        # DDP averages the gradients of the processes, and a sum over a global count must not be averaged.
        scale = self.accelerator.num_processes if self._is_global else 1
        losses = {f"{name}_loss": scale * outputs[f"{name}_loss"] for name in self.loss_weights}
        loss = sum(weight * losses[f"{name}_loss"] for name, weight in self.loss_weights.items())
        if model.training:
            for name, component in losses.items():
                self._components[name] = self._components.get(name, 0) + component.detach()
            self._component_steps += 1 / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds to the entries that hold the training loss: the components and the speed since the last such entry."""
        if "loss" in logs and self._components:
            sums = torch.cat([torch.stack(list(self._components.values())), self._seen])
            *components, images, tokens = self.accelerator.reduce(sums, "sum").tolist()
            steps, seconds = self._component_steps * self.args.world_size, time.perf_counter() - self._clock
            logs |= {name: total / steps for name, total in zip(self._components, components, strict=True)}
            logs |= {"images_per_second": images / seconds, "tokens_per_second": tokens / seconds}
            self._components, self._component_steps, self._clock = {}, 0.0, None
            self._seen.zero_()
        super().log(logs, start_time)

    # ---- evaluation ----

    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        """Adds the loss with the reference text and its components, over all labels of the data set at once.

        A mean of batches would change with their size and with the number of processes.
        """
        self._evaluated = torch.zeros(2, 4, device=self.args.device)  # sums and counts of the components
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        sums, counts = self.accelerator.reduce(self._evaluated, "sum")
        means = dict(zip(COUNTED_BY, (sums / counts.clamp(min=1)).tolist(), strict=True))
        total = sum(weight * means[name] for name, weight in self.loss_weights.items())
        losses = {f"{name}_loss": mean for name, mean in means.items()} | {"loss": total}
        output.metrics.update({f"{metric_key_prefix}_{name}": loss for name, loss in losses.items()})
        return output

    def _mask_copies(self, inputs):
        """The last batches of several processes are filled up with rows from the start, which must not count again."""
        state, size = self.accelerator.gradient_state, len(inputs["input_ids"])
        if not state.end_of_dataloader or state.remainder <= 0:
            return inputs
        place = self.args.process_index * size + torch.arange(size, device=inputs["input_ids"].device)
        copies = place >= state.remainder  # (B,)
        of_patches = copies.repeat_interleave(inputs["num_patches"])  # (P,)
        masked = {
            "labels": inputs["labels"].masked_fill(copies[:, None], -100),
            "score_labels": inputs["score_labels"].masked_fill(copies, torch.nan),
            "heatmap_labels": inputs["heatmap_labels"].masked_fill(of_patches[:, None, None], torch.nan),
        }
        return {**inputs, **masked}

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Predictions without text and with the reference text; the latter's losses are summed for `evaluation_loop`.

        What is kept has one size for every image and can so be gathered from batches and processes.

        Returns:
            None, the predictions (scores (B,) and fused heatmaps pooled to the h x w cells of one patch (B, h, w),
            both without text, then both with it), and the labels of both (the thumbnail's target), NaN where unknown.
        """
        inputs = self._mask_copies(self._prepare_inputs(inputs))
        cells = inputs["heatmap_labels"]  # (P, h, w)
        with torch.no_grad(), self.compute_loss_context_manager():
            given = model(**inputs, **dict.fromkeys(COUNTS, 1))  # losses are sums
            counts = dict(zip(COUNTS, _count_labels(inputs), strict=True))
            sums = [torch.stack([given[f"{name}_loss"], counts[count]]) for name, count in COUNTED_BY.items()]
            self._evaluated += torch.stack(sums, dim=1)
            if prediction_loss_only:
                return None, None, None
            blank = leave_text_out(inputs, self.model.config, self.processing_class.tokenizer.pad_token_id)
            without = model(**blank, logits_to_keep=1, use_cache=False)
        predictions = []
        for outputs in (without, given):
            pooled = [functional.adaptive_avg_pool2d(heatmap[None], cells.shape[1:])[0] for heatmap in outputs.heatmap]
            predictions += [outputs.score, torch.stack(pooled)]
        thumbnails = inputs["num_patches"].cumsum(0) - 1
        return None, tuple(predictions), (inputs["score_labels"], cells[thumbnails])

    # ---- checkpoints and the Hub ----

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.own_texts:
            os.makedirs(output_dir, exist_ok=True)
            self.own_texts.save(output_dir, self.args.process_index)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.own_texts and checkpoint is not None:
            self.own_texts.load(checkpoint, self.args.process_index)

    def init_hf_repo(self, token: str | None = None, private: bool | None = None) -> None:
        """As in `Trainer`; all uploads leave out training_args.bin, which is a pickle."""
        from heie_hf.hub.repository import leave_out

        super().init_hf_repo(token, private)
        if self.is_world_process_zero():
            leave_out(TRAINING_ARGS_NAME, self.args.output_dir)

    def create_model_card(
        self, license=None, tags=None, model_name=None, finetuned_from=None, dataset=None, **kwargs
    ) -> None:
        """The last step of `push_to_hub` before it uploads the output folder: HEIE's card, and the code beside it.

        The figures of the last evaluation are in the card where `compute_metrics` names them as `heie evaluate` does.
        """
        from heie_hf.hub.card import METRICS, CardFacts, origin, render_card
        from heie_hf.hub.repository import add_code

        if not self.is_world_process_zero():
            return
        history = [item for log in self.state.log_history for item in log.items()]
        logged = {name.removeprefix("eval_"): value for name, value in history if value == value}  # without NaN
        facts = CardFacts(
            repo_id=self.hub_model_id or model_name,
            license=license,
            base_model=finetuned_from or origin(self.model),
            datasets=[dataset] if isinstance(dataset, str) else dataset or [],
            metrics=logged if METRICS.keys() & logged.keys() else None,
            tags=[tags] if isinstance(tags, str) else tags or [],
        )
        add_code(self.args.output_dir)
        render_card(self.args.output_dir, facts).save(os.path.join(self.args.output_dir, "README.md"))


def _count_labels(batch) -> torch.Tensor:
    """(3,): the `COUNTS` of a batch."""
    known = (batch["labels"][:, 1:] != -100, ~batch["heatmap_labels"].isnan(), ~batch["score_labels"].isnan())
    return torch.stack([labels.sum() for labels in known]).float()


def _texts(dataset):
    """Rows by index for `other_texts`, without decoding images; None where there is no index."""
    if isinstance(dataset, Dataset):
        return dataset.select_columns(["id", "description", "regions", "analysis"])
    return dataset if isinstance(dataset, Sequence) else None
