"""Training: rows of the common schema in, four losses that stay right under every way of batching out."""

from heie_hf.training.arguments import HEIETrainingArguments
from heie_hf.training.checkpoints import WholeCheckpoints
from heie_hf.training.collator import HEIEDataCollator
from heie_hf.training.evaluation import TwofoldEvaluation
from heie_hf.training.logs import LoggedComponents
from heie_hf.training.publishing import PublishedModels
from heie_hf.training.reports import Overlays, evaluation_metrics
from heie_hf.training.shown_texts import ShownTexts


class HEIETrainer(LoggedComponents, ShownTexts, TwofoldEvaluation, WholeCheckpoints, PublishedModels):
    """`Trainer` for HEIE; each of its bases says what it adds.

    By default the collator is a `HEIEDataCollator`, and evaluation reports `evaluation_metrics`. What a
    `HEIEDataCollator` leaves open, text source and seed, is as `args` say, with or without one being passed.

    Raises:
        ValueError: if collator and `args` name different text sources.
    """

    def __init__(self, model=None, args=None, data_collator=None, **kwargs):
        args = args or HEIETrainingArguments()
        processor = kwargs.setdefault("processing_class", getattr(data_collator, "processor", None))
        kwargs.setdefault("compute_metrics", evaluation_metrics)
        if data_collator is None:
            data_collator = HEIEDataCollator(processor)
        if isinstance(data_collator, HEIEDataCollator):
            data_collator = data_collator.completed(args.text_source, args.seed, kwargs.get("train_dataset"))
        super().__init__(model, args, data_collator, **kwargs)
        self.add_callback(Overlays(self.callback_handler, args.num_overlays))
