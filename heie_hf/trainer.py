"""Training: rows of the common schema in, four losses that stay right under every way of batching out."""

import os
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch.nn import functional
from transformers import BatchFeature, Trainer, TrainingArguments
from transformers.trainer import TRAINING_ARGS_NAME

TEXT_SOURCES = ("reference", "none", "swapped")


@dataclass
class HEIETrainingArguments(TrainingArguments):
    """`TrainingArguments` with what HEIE needs; rate and warm-up are the paper's (lr 3e-4, warm-up ratio 0.03)."""

    _VALID_DICT_FIELDS = [*TrainingArguments._VALID_DICT_FIELDS, "loss_weights"]

    loss_weights: dict | str | None = field(
        default=None,
        metadata={
            "help": 'JSON weights of lm, heatmap, laplace, score, such as {"lm": 0.5}; the others as in the config'
        },
    )
    learning_rate: float = field(default=3e-4, metadata={"help": "The highest learning rate."})
    warmup_steps: float = field(default=0.03, metadata={"help": "Warm-up: steps, or a share of them if below 1."})
    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator needs the raw columns."})
    # All of them must be in a batch, or evaluation reports no loss.
    label_names: list[str] | None = field(default_factory=lambda: ["labels", "heatmap_labels", "score_labels"])


@dataclass
class HEIEDataCollator:
    """Turns rows of the common schema (`heie_hf.data.schema`) into a batch with labels, `input_ids` first.

    Scores read from the reference text alone would be lost on the model's own text. `text_mix` therefore draws, per
    row, what the model is shown:
    "reference" its own text; "none" the template without text; "swapped" regions and analysis of another row of the
    batch, which the model is not asked to write (no LM loss).

    Args:
        processor: an `HEIEProcessor`.
        text_mix: probabilities of the three, summing to 1; default: always "reference".
        seed: the draw depends on it and on the rows' ids and order only, so that a resumed run repeats it.

    Raises:
        ValueError: if `text_mix` names anything else or does not sum to 1.
    """

    processor: object
    text_mix: dict[str, float] | None = None
    seed: int = 0

    def __post_init__(self):
        self.text_mix = self.text_mix or {"reference": 1.0}
        if not set(self.text_mix) <= set(TEXT_SOURCES) or not np.isclose(sum(self.text_mix.values()), 1):
            raise ValueError(f"text_mix must give {', '.join(TEXT_SOURCES)} probabilities, not {self.text_mix}")

    def __call__(self, rows: Sequence[dict]) -> BatchFeature:
        images = [row["image"] for row in rows]
        return self.processor(images=images, targets=self.targets(rows), return_tensors="pt")

    def targets(self, rows: Sequence[dict]) -> list[dict]:
        """One dictionary per row, as the processor's `targets` takes it."""
        random = np.random.default_rng([self.seed, zlib.crc32("\n".join(row["id"] for row in rows).encode())])
        sources = random.choice(list(self.text_mix), size=len(rows), p=list(self.text_mix.values()))
        texts = [_explanation(row) for row in rows]
        targets = []
        for index, (row, source) in enumerate(zip(rows, sources, strict=True)):
            others = [text for text in texts[:index] + texts[index + 1 :] if text]
            text = texts[index] if source != "none" else None
            if source == "swapped" and text:
                text = _swap(text, others[random.integers(len(others))]) if others else None
            target = {"explanation": text, "learn_text": source != "swapped"}
            targets.append(target | {"heatmap": row["heatmap"], "score": row["score"]})
        return targets


def _explanation(row: dict) -> dict[str, str] | None:
    sections = {name: row[name] for name in ("description", "regions", "analysis")}
    return sections if any(sections.values()) else None


def _swap(text: dict[str, str], other: dict[str, str]) -> dict[str, str]:
    return other | {"description": text["description"]}


class HEIETrainer(Trainer):
    """`Trainer` whose loss is the weighted sum of HEIE's four components, each logged beside it.

    A component is a sum over the global count of its labels: text tokens, heatmap cells and scores of all batches and
    processes of one optimiser step. So 8 x 1, 2 x 4 and 1 x 8 (batch x accumulation) train the same weights, and rows
    without text, heatmap or score can be mixed with others.
    """

    def __init__(self, model=None, args=None, data_collator=None, **kwargs):
        processor = kwargs.setdefault("processing_class", getattr(data_collator, "processor", None))
        super().__init__(model, args, data_collator or HEIEDataCollator(processor), **kwargs)
        self._components: dict[str, torch.Tensor] = {}  # sums since the last log
        self._component_steps = 0.0

    @property
    def loss_weights(self) -> dict[str, float]:
        weights = self.model.config.loss_weights
        unknown = set(self.args.loss_weights or {}) - set(weights)
        if unknown:
            raise ValueError(f"loss_weights has unknown components {sorted(unknown)}; there are {sorted(weights)}")
        return weights | (self.args.loss_weights or {})

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> dict[str, torch.Tensor]:
        """Called by `get_batch_samples` with all batches of a step: the counts, as the model's forward takes them."""
        counts = torch.zeros(3, device=device)
        for batch in batch_samples:
            counts += torch.stack(
                [
                    (batch["labels"][:, 1:] != -100).sum(),
                    (~batch["heatmap_labels"].isnan()).sum(),
                    (~batch["score_labels"].isnan()).sum(),
                ]
            ).to(device)
        if self._is_global:
            counts = self.accelerator.reduce(counts, "sum")
        names = ("num_items_in_batch", "num_heatmap_cells", "num_scores")
        return dict(zip(names, counts.clamp(min=1), strict=True))  # a component without labels is 0, not 0 / 0

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
        """Adds the components to the entries that hold the training loss, averaged over the same steps."""
        if "loss" in logs and self._components:
            sums = self.accelerator.reduce(torch.stack(list(self._components.values())), "mean")
            means = (sums / self._component_steps).tolist()
            logs |= dict(zip(self._components, means, strict=True))
            self._components, self._component_steps = {}, 0.0
        super().log(logs, start_time)

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Keeps what has one size for every image and can so be gathered from batches and processes.

        Returns:
            the loss, the predictions (scores (B,), fused heatmaps pooled to the h x w cells of one patch (B, h, w)),
            and the labels of both (the thumbnail's target), NaN where unknown.
        """
        inputs = self._prepare_inputs(inputs)
        with torch.no_grad(), self.compute_loss_context_manager():
            loss, outputs = self.compute_loss(model, inputs, return_outputs=True)
        if prediction_loss_only:
            return loss, None, None
        cells = inputs["heatmap_labels"]  # (P, h, w)
        pooled = [functional.adaptive_avg_pool2d(heatmap[None], cells.shape[1:])[0] for heatmap in outputs.heatmap]
        thumbnails = inputs["num_patches"].cumsum(0) - 1
        return loss, (outputs.score, torch.stack(pooled)), (inputs["score_labels"], cells[thumbnails])

    def _save(self, output_dir: str | None = None, state_dict: dict | None = None) -> None:
        """As in `Trainer`, but with the model's own key names.

        `save_pretrained` writes InternVL's older key names by default, and a resumed `Trainer` loads with
        strict=False: it would leave out the whole backbone without a word.
        """
        if not self.args.should_save:
            return
        output_dir = output_dir or self.args.output_dir
        os.makedirs(output_dir, exist_ok=True)
        model = self.accelerator.unwrap_model(self.model)
        model.save_pretrained(output_dir, state_dict=state_dict, save_original_format=False)
        self.processing_class.save_pretrained(output_dir)
        torch.save(self.args, os.path.join(output_dir, TRAINING_ARGS_NAME))

    def create_model_card(
        self, license=None, tags=None, model_name=None, finetuned_from=None, dataset=None, **kwargs
    ) -> None:
        """The last step of `push_to_hub` before it uploads the output folder: HEIE's card, and the code beside it.

        The figures of the last evaluation are in the card where `compute_metrics` names them as `heie evaluate` does.
        """
        from heie_hf.model_card import METRICS, CardFacts, origin, render_card
        from heie_hf.repository import add_code

        if not self.is_world_process_zero():
            return
        logged = {name.removeprefix("eval_"): value for log in self.state.log_history for name, value in log.items()}
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
