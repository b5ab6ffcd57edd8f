"""`heie train`: fine-tuning, or training from scratch, by a recipe."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from .failures import Failures, UsageMistake, one_line


def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Its fields: docs/training.md.")],
) -> Iterator[dict[str, Any]]:
    """Fine-tune, or train from scratch; interrupted, run it again and it goes on. Fields: --field value after CONFIG.

    Prints the final evaluation as one JSON line. On several processes: accelerate launch -m heie_hf.cli train ...
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loading processes are forked
    from accelerate import PartialState

    from heie_hf.training.run import TrainingError
    from heie_hf.training.run import train as run

    failures = Failures()
    try:
        metrics = run(config, context.args, say=lambda text: print(f"heie: {text}", file=sys.stderr))
    except TrainingError as error:
        for row in error.rows[:10]:
            failures(*row)
        raise UsageMistake(one_line(error)) from error
    if PartialState().is_main_process:
        yield metrics
