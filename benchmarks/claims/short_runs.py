"""Train a model for some steps and measure it, both kept on disk: what the benchmarks that compare trainings share."""

import json
from collections.abc import Callable
from pathlib import Path

import torch
from datasets import Dataset
from transformers.trainer_utils import get_last_checkpoint

from heie_hf import HEIEForImplausibility, HEIEProcessor, HEIETrainer, HEIETrainingArguments
from heie_hf.evaluation import EvaluatedModel, EvaluationData, evaluate, fingerprint

Parts = tuple[HEIEForImplausibility, HEIEProcessor]
BEGIN, END = "<!-- table -->", "<!-- end of table -->"


def train(start: Callable[[], Parts], rows: Dataset, folder: Path, **settings) -> Path:
    """The folder of a model trained on the rows, made unless it is there; an interrupted training goes on.

    Args:
        start: gives the model as it begins, and its processor.
        settings: of `HEIETrainingArguments`.
    """
    final, checkpoints = folder / "model", folder / "checkpoints"
    if final.exists():
        return final
    model, processor = start()
    common = {"lr_scheduler_type": "cosine", "bf16": True, "use_cpu": not torch.cuda.is_available()}
    common |= {"logging_steps": 25, "save_steps": 100, "save_total_limit": 1, "report_to": "none"}
    arguments = HEIETrainingArguments(str(checkpoints), **common | settings)
    trainer = HEIETrainer(model, arguments, train_dataset=rows, processing_class=processor)
    trainer.train(resume_from_checkpoint=get_last_checkpoint(checkpoints) if checkpoints.exists() else None)
    trainer.save_model(str(folder / "unnamed"))
    (folder / "unnamed").rename(final)
    return final


def measure(
    model: Path,
    rows: Dataset,
    folder: Path,
    load: Callable[[Path], HEIEForImplausibility] = HEIEForImplausibility.from_pretrained,
    **options,
) -> dict:
    """metrics.json of a trained model, made unless it is there; `options` as `heie_hf.evaluation.evaluate` takes."""
    path = folder / "metrics.json"
    if not path.exists():
        data = EvaluationData("scenes", rows, {"dataset": "synthetic"})
        parts = lambda: (load(model).eval(), HEIEProcessor.from_pretrained(model))  # noqa: E731
        evaluated = EvaluatedModel(model.parent.name, parts, fingerprint(str(model)))
        evaluate(data, evaluated, folder, batch_size=16, num_workers=0, **options)
    return json.loads(path.read_text(encoding="utf-8"))


def write_between_marks(page: Path, parts: list[str]) -> None:
    """Replace what stands between the two marks of a page."""
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(before + "\n\n".join([BEGIN, *parts, END]) + after, encoding="utf-8")
