"""Which text a row is shown: the collator draws it, and what the model must write itself is written here.

With "generated" in `text_source`, the model writes, every `generated_text_steps` optimiser steps, the texts of the
rows that come next. A round never reaches into the next epoch, whose order is not drawn yet.
"""

import itertools
import math

import torch
from transformers import Trainer
from transformers.trainer_utils import has_length

from heie_hf.text_sources import TextSource
from heie_hf.training.collator import HEIEDataCollator
from heie_hf.training.generated_text import GeneratedTexts


class ShownTexts(Trainer):
    """Texts that change from epoch to epoch, and the model's generated ones; these are part of each checkpoint."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.generated_texts: GeneratedTexts | None = None
        collator = self.data_collator
        if isinstance(collator, HEIEDataCollator) and TextSource.GENERATED in collator.text_source:
            self.generated_texts = GeneratedTexts(collator)

    def _run_epoch(self, *, epoch: int, **kwargs) -> None:
        if isinstance(self.data_collator, HEIEDataCollator):
            self.data_collator.set_epoch(epoch)
        super()._run_epoch(epoch=epoch, **kwargs)

    def get_batch_samples(self, epoch_iterator, num_batches: int, device: torch.device):
        """The batches of one optimiser step and their counts; generated texts are put into them here.

        Not in the collator: that runs ahead, and how far must not decide which text a row gets.
        """
        if self.generated_texts is None:
            return super().get_batch_samples(epoch_iterator, num_batches, device)
        self._write_texts_if_due()
        batches, counts = super().get_batch_samples(epoch_iterator, num_batches, device)
        for batch in batches:
            self.generated_texts.insert(batch, self.model.config)
        return batches, counts

    def _write_texts_if_due(self) -> None:
        """Before every `generated_text_steps`-th step of an epoch: the texts of the rows from there to the next round.

        Raises:
            ValueError: if the training data cannot be read ahead.
        """
        loader = self.callback_handler.train_dataloader
        if not has_length(loader):
            raise ValueError('text_source "generated" needs training data with a length: the next rows are read ahead')
        accumulation = self.args.gradient_accumulation_steps
        steps_per_epoch = math.ceil(len(loader) / accumulation)
        epoch, step = divmod(self.state.global_step, steps_per_epoch)
        if step % self.args.generated_text_steps:
            return
        num_steps = min(self.args.generated_text_steps, self.state.max_steps - self.state.global_step)
        loader.set_epoch(epoch)  # read to its end, the sampler goes on to the next epoch by itself: too early
        end = min((step + num_steps) * accumulation, len(loader))
        batches = itertools.islice(loader.batch_sampler, step * accumulation, end)
        self.model.eval()  # `training_step` switches back
        self.generated_texts.write(
            self.model,
            loader.dataset,
            list(itertools.chain.from_iterable(batches)),
            self.args.per_device_eval_batch_size,
            self.accelerator,
            show_progress=self.is_world_process_zero() and not self.args.disable_tqdm,
        )

    def _save_optimizer_and_scheduler(self, output_dir: str) -> None:
        super()._save_optimizer_and_scheduler(output_dir)
        if self.generated_texts:
            self.generated_texts.save(output_dir, self.args.process_index)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if self.generated_texts and checkpoint is not None:
            self.generated_texts.load(checkpoint, self.args.process_index)
