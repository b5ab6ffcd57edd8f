"""Four losses that are the same under every way of batching: sums over the labels of a whole optimiser step."""

import torch
from transformers import Trainer

#: Which count each loss is divided by, as the model's forward names them: text tokens, heatmap cells, scores.
COUNTED_BY = {
    "lm": "num_items_in_batch",
    "heatmap": "num_heatmap_cells",
    "laplace": "num_heatmap_cells",
    "score": "num_scores",
}
COUNTS = ("num_items_in_batch", "num_heatmap_cells", "num_scores")


class GlobalLosses(Trainer):
    """The weighted sum of HEIE's four components, each over the global count of its labels.

    Global: of all batches and processes of one optimiser step. So 8 x 1, 2 x 4 and 1 x 8 (batch x accumulation) train
    the same weights, and rows without text, heatmap or score can be mixed with others.
    """

    @property
    def loss_weights(self) -> dict[str, float]:
        """Of the model's config, with those of the arguments in their place.

        Raises:
            ValueError: for a component that there is not.
        """
        weights = self.model.config.loss_weights
        others = self.args.loss_weights or {}
        unknown = sorted(set(others) - set(weights))
        if unknown:
            raise ValueError(f"loss_weights has unknown components {unknown}; there are {sorted(weights)}")
        return weights | others

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The weighted sum of the components; `num_items_in_batch` are the three counts, None counts this batch."""
        counts = num_items_in_batch or self._get_num_items_in_batch([inputs], self.args.device)
        outputs = model(**inputs, **counts)
        components = self.components(outputs)
        loss = 0
        for name, weight in self.loss_weights.items():
            loss = loss + weight * components[name]
        return (loss, outputs) if return_outputs else loss

    def components(self, outputs) -> dict[str, torch.Tensor]:
        """The four losses of a forward pass by name, as this process contributes them."""
        # DDP averages the gradients of the processes, and a sum over a global count must not be averaged.
        scale = self.accelerator.num_processes if self._counts_are_global else 1
        components = {}
        for name in self.loss_weights:
            loss = outputs[f"{name}_loss"]
            components[name] = scale * loss
        return components

    def _get_num_items_in_batch(self, batch_samples: list, device: torch.device) -> dict[str, torch.Tensor]:
        """Called by `get_batch_samples` with all batches of a step: the counts, as the model's forward takes them."""
        counts = torch.zeros(len(COUNTS), device=device)
        for batch in batch_samples:
            counts += count_labels(batch).to(device)
        if self._counts_are_global:
            counts = self.accelerator.reduce(counts, "sum")
        counts = counts.clamp(min=1)  # a component without labels is 0, not 0 / 0
        return dict(zip(COUNTS, counts, strict=True))

    @property
    def _counts_are_global(self) -> bool:
        return self.args.average_tokens_across_devices and self.args.world_size > 1


def count_labels(batch) -> torch.Tensor:
    """(3,): the `COUNTS` of a batch."""
    predicted = batch["labels"][:, 1:]  # no position predicts the first token
    tokens = predicted != -100
    cells = ~batch["heatmap_labels"].isnan()
    scores = ~batch["score_labels"].isnan()
    counts = torch.stack([tokens.sum(), cells.sum(), scores.sum()])
    return counts.float()
