"""What stands beside the loss in the logs: its components, and how fast the training goes."""

import time

import torch

from heie_hf.training.losses import GlobalLosses


class LoggedComponents(GlobalLosses):
    """Each entry with the training loss holds its four components and the speed since the last such entry."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._seen = torch.zeros(2, device=self.args.device)  # images and tokens
        self._begin_entry()

    def _begin_entry(self) -> None:
        self._sums: dict[str, torch.Tensor] = {}  # of each component
        self._steps = 0.0
        self._seen.zero_()
        self._start: float | None = None

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        """The batches of one optimiser step, with their images and tokens counted."""
        if self._start is None:
            self._start = time.perf_counter()
        batches, counts = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            tokens = batch["attention_mask"].sum()
            images = tokens.new_tensor(len(batch["input_ids"]))
            self._seen += torch.stack([images, tokens])
        return batches, counts

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, outputs = super().compute_loss(model, inputs, True, num_items_in_batch)
        if model.training:
            for name, component in self.components(outputs).items():
                self._sums[name] = self._sums.get(name, 0) + component.detach()
            self._steps += 1 / self.current_gradient_accumulation_steps
        return (loss, outputs) if return_outputs else loss

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Adds `lm_loss` .. `score_loss`, `images_per_second` and `tokens_per_second`, of all processes."""
        if "loss" in logs and self._sums:
            sums = torch.cat([torch.stack(list(self._sums.values())), self._seen])
            *components, images, tokens = self.accelerator.reduce(sums, "sum").tolist()
            steps = self._steps * self.args.world_size
            for name, component in zip(self._sums, components, strict=True):
                logs[f"{name}_loss"] = component / steps
            seconds = time.perf_counter() - self._start
            logs["images_per_second"] = images / seconds
            logs["tokens_per_second"] = tokens / seconds
            self._begin_entry()
        super().log(logs, start_time)
