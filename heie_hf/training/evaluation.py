"""What is measured during a training: the losses with the reference text, the predictions with it and without text."""

import torch
from torch.nn import functional

from heie_hf.text_sources import TextSource
from heie_hf.training.answers import leave_text_out
from heie_hf.training.collator import HEIEDataCollator
from heie_hf.training.losses import COUNTED_BY, COUNTS, GlobalLosses, count_labels


class TwofoldEvaluation(GlobalLosses):
    """Evaluation that depends neither on the batch size, nor on the number of processes, nor on the training's texts.

    Every row is predicted twice: without text, as the model has none before it writes one, and with the reference
    text, which the losses are of.
    """

    def _get_dataloader(self, *args, is_training: bool = False, **kwargs):
        """For evaluation, the reference text and one wording, whatever the training shows."""
        collator = self.data_collator
        if not is_training and isinstance(collator, HEIEDataCollator):
            first_wording = collator.instructions[:1]
            self.data_collator = HEIEDataCollator(collator.processor, TextSource.REFERENCE, instructions=first_wording)
        try:
            return super()._get_dataloader(*args, is_training=is_training, **kwargs)
        finally:
            self.data_collator = collator

    def evaluation_loop(self, *args, metric_key_prefix: str = "eval", **kwargs):
        """Adds the loss with the reference text and its components, over all labels of the data set at once.

        A mean of batches would change with their size and with the number of processes.
        """
        num_losses = len(COUNTED_BY)
        self._sums_and_counts = torch.zeros(2, num_losses, device=self.args.device)
        output = super().evaluation_loop(*args, metric_key_prefix=metric_key_prefix, **kwargs)
        sums, counts = self.accelerator.reduce(self._sums_and_counts, "sum")
        means = sums / counts.clamp(min=1)
        metrics = output.metrics
        total = 0.0
        for name, mean in zip(COUNTED_BY, means.tolist(), strict=True):
            metrics[f"{metric_key_prefix}_{name}_loss"] = mean
            total += self.loss_weights[name] * mean
        metrics[f"{metric_key_prefix}_loss"] = total
        return output

    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None):
        """Predictions without text and with the reference text; the latter's losses are summed for `evaluation_loop`.

        What is kept has one size for every image and can so be gathered from batches and processes.

        Returns:
            None, the predictions (scores (B,) and fused heatmaps pooled to the h x w cells of one patch (B, h, w),
            both without text, then both with it), and the labels of both (the thumbnail's target), NaN where unknown.
        """
        inputs = self._mask_copies(self._prepare_inputs(inputs))
        with torch.no_grad(), self.compute_loss_context_manager():
            with_text = model(**inputs, **dict.fromkeys(COUNTS, 1))  # losses are sums
            self._add_losses(with_text, inputs)
            if prediction_loss_only:
                return None, None, None
            tokenizer = self.processing_class.tokenizer
            blank = leave_text_out(inputs, self.model.config, tokenizer.pad_token_id)
            without_text = model(**blank, logits_to_keep=1, use_cache=False)
        cells = inputs["heatmap_labels"]  # (P, h, w)
        size = cells.shape[1:]
        predictions = (
            without_text.score,
            _pooled(without_text.heatmap, size),
            with_text.score,
            _pooled(with_text.heatmap, size),
        )
        thumbnails = inputs["num_patches"].cumsum(0) - 1
        labels = (inputs["score_labels"], cells[thumbnails])
        return None, predictions, labels

    def _mask_copies(self, inputs):
        """The last batches of several processes are filled up with rows from the start, which must not count again."""
        state = self.accelerator.gradient_state
        if not state.end_of_dataloader or state.remainder <= 0:
            return inputs
        labels = inputs["labels"]  # (B, L)
        score_labels = inputs["score_labels"]  # (B,)
        heatmap_labels = inputs["heatmap_labels"]  # (P, h, w)
        size = len(labels)
        places = torch.arange(size, device=labels.device)
        places += self.args.process_index * size
        copies = places >= state.remainder  # (B,)
        patches = copies.repeat_interleave(inputs["num_patches"])  # (P,)
        masked = dict(inputs)
        masked["labels"] = labels.masked_fill(copies[:, None], -100)
        masked["score_labels"] = score_labels.masked_fill(copies, torch.nan)
        masked["heatmap_labels"] = heatmap_labels.masked_fill(patches[:, None, None], torch.nan)
        return masked

    def _add_losses(self, outputs, inputs) -> None:
        sums, num_labels = self._sums_and_counts
        counts = dict(zip(COUNTS, count_labels(inputs), strict=True))
        for column, (name, count) in enumerate(COUNTED_BY.items()):
            sums[column] += outputs[f"{name}_loss"]
            num_labels[column] += counts[count]


def _pooled(heatmaps: list[torch.Tensor], size: torch.Size) -> torch.Tensor:
    """Heatmaps of any size to (B, h, w)."""
    pooled = []
    for heatmap in heatmaps:
        cells = functional.adaptive_avg_pool2d(heatmap[None], size)  # (1, h, w)
        pooled.append(cells)
    return torch.cat(pooled)
