"""`heie train`: from a config to a trained model, resumed where an earlier run stopped.

    metrics = train("examples/configs/tiny-cpu.yaml", ["--max_steps", "100"])

Those who have rows and a model of their own use `HEIETrainer`, as this does.
"""

import logging
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import EarlyStoppingCallback, TrainerCallback, set_seed
from transformers.trainer_utils import get_last_checkpoint

from .recipe import Recipe, TrainingError, read_recipe
from .rows import read_rows
from .start import load_model
from .trainer import HEIETrainer
from .writing import whole_draft

__all__ = ["TrainingError", "make_trainer", "read_recipe", "train"]

logger = logging.getLogger("heie_hf.training")
Say = Callable[[str], None]
#: What makes a folder a model or an adapter.
CONFIGS = ("config.json", "adapter_config.json")


def train(
    config: str | os.PathLike | Mapping[str, Any], overrides: Sequence[str] = (), say: Say = logger.info
) -> dict[str, Any]:
    """Train, save model and processor into `output_dir`, evaluate; then leave the process group, if there is one.

    A run that was interrupted goes on from the last complete checkpoint in `output_dir`. The trained model and its
    processor appear there when all of their files are written.

    Args:
        config: path of a YAML file, or its content; docs/training.md has the fields.
        overrides: what a command line adds, such as ["--max_steps", "10"].
        say: gets a few lines about what happens, in the main process only.

    Returns:
        `model` (the folder), `steps`, `train_loss` (the last one logged), and the figures of the evaluation, named
        eval_..; what is undefined is None.

    Raises:
        TrainingError: before any work, if config, model or data do not fit; its `rows` are those that cannot be used.
        OSError: a checkpoint, the model or a picture cannot be written, as on a full disk; it names that. Nothing of
            it is left, and the next run goes on from the last checkpoint.
    """
    try:
        metrics = _train(read_recipe(config, overrides), say)
    except (TrainingError, OSError):
        _leave_process_group()
        raise
    _leave_process_group()
    return metrics


def _train(recipe: Recipe, say: Say) -> dict[str, Any]:
    folder = recipe.training.output_dir
    checkpoint = last_checkpoint(recipe)
    trainer = make_trainer(recipe, say)
    if trainer.is_world_process_zero():
        say(f"going on from {checkpoint}" if checkpoint else f"beginning in {folder}")
    trainer.train(resume_from_checkpoint=checkpoint)
    save_final(trainer)
    metrics = {"model": folder, "steps": trainer.state.global_step, "train_loss": None}
    for entry in trainer.state.log_history:
        metrics["train_loss"] = entry.get("loss", metrics["train_loss"])
    if trainer.eval_dataset is not None:
        metrics |= trainer.evaluate()
    for name, figure in metrics.items():
        if isinstance(figure, float) and not math.isfinite(figure):
            metrics[name] = None
    return metrics


def _leave_process_group() -> None:
    """An interpreter that exits while it is in one aborts."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def make_trainer(recipe: Recipe, say: Say = logger.info) -> HEIETrainer:
    """Model, rows and trainer of a run, everything checked.

    Raises:
        TrainingError: see `train`.
    """
    arguments = recipe.training
    say = say if arguments.process_index == 0 else _nothing
    _check_run(recipe)
    set_seed(arguments.seed)  # new weights depend on it
    model, processor = load_model(recipe)
    learning = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    say(f"{learning:,} of {sum(parameter.numel() for parameter in model.parameters()):,} parameters learn")
    with arguments.main_process_first(desc="reading the data"):  # the others find it in the cache
        rows, eval_rows = _read_all(recipe, model, processor, say)
    try:
        trainer = HEIETrainer(
            model,
            arguments,
            train_dataset=rows,
            eval_dataset=eval_rows,
            processing_class=processor,
            callbacks=_callbacks(recipe),
        )
        if not any(trainer.loss_weights.values()):
            raise TrainingError("loss_weights are all 0")
        return trainer
    except (ValueError, ImportError, RuntimeError) as error:
        raise TrainingError(error) from error


def _nothing(message: str) -> None:
    pass


def _check_run(recipe: Recipe) -> None:
    """Raises TrainingError for what would stop the run, or lose its result, only later."""
    arguments, data = recipe.training, recipe.data
    if int(os.environ.get("WORLD_SIZE", 1)) > arguments.world_size:  # each would train alone, into the same folder
        raise TrainingError("several processes without a GPU each need use_cpu: true")
    if arguments.eval_strategy != "no" and not data.eval_datasets:
        raise TrainingError(f"eval_strategy: {arguments.eval_strategy.value} needs eval_datasets")
    if data.early_stopping_patience and not (arguments.metric_for_best_model and arguments.eval_strategy != "no"):
        raise TrainingError("early_stopping_patience needs eval_strategy and metric_for_best_model")
    try:
        os.makedirs(arguments.output_dir, exist_ok=True)
        tempfile.TemporaryFile(dir=arguments.output_dir).close()
    except OSError as error:
        raise TrainingError(f"cannot write to {arguments.output_dir}: {error.strerror}") from error


def _read_all(recipe: Recipe, model: Any, processor: Any, say: Say) -> tuple[Dataset, Dataset | None]:
    """The rows to train on and those to evaluate on, None if no data set is named for that."""
    data = recipe.data
    limit = data.max_length or model.config.text_config.max_position_embeddings
    common = {"seed": recipe.training.seed, "skip_bad_rows": data.skip_bad_rows, "say": say}
    rows = read_rows(data.train_datasets, processor, limit, data.max_train_samples, **common)
    if not data.eval_datasets:
        return rows, None
    eval_rows = read_rows(data.eval_datasets, processor, limit, data.max_eval_samples, **common)
    shared = len(set(rows["id"]) & set(eval_rows["id"]))
    if shared:
        say(f"{shared} ids are both trained and evaluated on: if they are the same images, the figures flatter")
    return rows, eval_rows


def _callbacks(recipe: Recipe) -> list[TrainerCallback]:
    patience = recipe.data.early_stopping_patience
    return [EarlyStoppingCallback(patience)] if patience else []


def last_checkpoint(recipe: Recipe) -> str | None:
    """The checkpoint to go on from: the one that is named, or the last one in `output_dir`; None at the beginning.

    Raises:
        TrainingError: it is not there; or it is an adapter's and the run has none, or the other way round.
    """
    folder = recipe.training.output_dir
    last = recipe.training.resume_from_checkpoint
    if not last and os.path.isdir(folder):
        last = get_last_checkpoint(folder)
    if last and not os.path.isdir(last):
        raise TrainingError(f"resume_from_checkpoint: {last} is no folder")
    if last and Path(last, "adapter_config.json").is_file() != bool(recipe.adapter.lora_rank):
        raise TrainingError(f"{last} is of a run with another lora_rank: name another output_dir")
    return last


def save_final(trainer: HEIETrainer) -> None:
    """Model and processor into `output_dir`.

    They are written elsewhere first, and the config is moved last: a folder that can be loaded is whole.

    Raises:
        OSError: they cannot be written; what stood there before still does.
    """
    target = Path(trainer.args.output_dir)
    draft = target / "_final"
    is_main = trainer.is_world_process_zero()
    if is_main:
        shutil.rmtree(draft, ignore_errors=True)  # what a killed run left
    trainer.accelerator.wait_for_everyone()
    if trainer.is_fsdp_enabled:
        trainer.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
    with whole_draft(draft, target, is_main):
        trainer.save_model(str(draft))  # on all processes: what is sharded is gathered
    if is_main:
        _move_files(draft, target)
    trainer.accelerator.wait_for_everyone()


def _move_files(draft: Path, target: Path) -> None:
    for name in CONFIGS:
        (target / name).unlink(missing_ok=True)
    for path in sorted(draft.iterdir(), key=lambda path: path.name in CONFIGS):
        os.replace(path, target / path.name)
    draft.rmdir()
