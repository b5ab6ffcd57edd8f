"""Training: `heie train`, the trainer, and what it feeds on."""

from .arguments import HEIETrainingArguments
from .collator import HEIEDataCollator
from .recipe import TrainingError, read_recipe
from .run import make_trainer, train
from .trainer import HEIETrainer

__all__ = [
    "HEIEDataCollator",
    "HEIETrainer",
    "HEIETrainingArguments",
    "TrainingError",
    "make_trainer",
    "read_recipe",
    "train",
]
