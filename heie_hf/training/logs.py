"""What stands beside the loss in the logs: its components, and how fast the training goes."""

import time

import torch

from heie_hf.training.losses import COUNTED_BY, GlobalLosses


class LoggedComponents(GlobalLosses):
    """Each entry with the training loss holds its four components and the speed since the last such entry."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._begin_entry()

    def _begin_entry(self) -> None:
        device = self.args.device
        self._losses = torch.zeros(len(COUNTED_BY), device=device)  # sums of the components
        self._seen = torch.zeros(2, device=device)  # images and tokens
        self._steps = 0.0
        self._start: float | None = None

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        """The batches of one optimiser step, with their images and tokens counted."""
        if self._start is None:
            self._start = time.perf_counter()
        batches, counts = super().get_batch_samples(epoch_iterator, num_batches, device)
        images, tokens = self._seen
        for batch in batches:
            mask = batch["attention_mask"]
            images += len(mask)
            tokens += mask.sum()
        return batches, counts

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            components = list(self.components(outputs).values())
            losses = torch.stack(components)
            self._losses += losses.detach()
            self._steps += 1 / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds `lm_loss` .. `score_loss`, `images_per_second` and `tokens_per_second`, of all processes."""
        if "loss" in logs and self._steps:
            logs |= self._entry()
            self._begin_entry()
        super().log(logs, start_time)

    def _entry(self) -> dict[str, float]:
        totals = torch.cat([self._losses, self._seen])
        totals = self.accelerator.reduce(totals, "sum")
        *losses, images, tokens = totals.tolist()
        steps = self._steps * self.args.world_size
        seconds = time.perf_counter() - self._start
        entry = {}
        for name, loss in zip(self.loss_weights, losses, strict=True):
            entry[f"{name}_loss"] = loss / steps
        entry["images_per_second"] = images / seconds
        entry["tokens_per_second"] = tokens / seconds
        return entry
