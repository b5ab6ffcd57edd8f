"""`heie evaluate` and `heie compare`: figures of a model, and which differences of figures are real."""

import os
import sys
from collections.abc import Iterator
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from heie_hf.text_sources import EVALUATION_SOURCES

from .failures import Failures, UsageMistake, one_line, writable_folder
from .options import Device, Dtype, Model, ModelDtype

EvaluatedText = StrEnum("EvaluatedText", {source.name: source.value for source in EVALUATION_SOURCES})

# What `heie_hf.evaluation` and the model's config name; they take too long to import for `heie --help`.
HeatmapSource = StrEnum("HeatmapSource", {name: name for name in ("predicted", "reference")})
Fusion = StrEnum("Fusion", {name: name for name in ("uncertainty", "learned", "fixed", "local", "global")})


def evaluate(
    dataset: Annotated[list[str], typer.Option(metavar="NAME|FOLDER", help="Data set; may be repeated.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for metrics.json, report.html and the predictions.")],
    root: Annotated[
        list[str] | None, typer.Option(metavar="FOLDER|-", help="The data set's files; one per data set, - for none.")
    ] = None,
    split: Annotated[
        list[str] | None, typer.Option(metavar="NAME|-", help="One per data set; - for its first.")
    ] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="[DATASET:]NAME=VALUE", help="For the loader, such as images=FOLDER.")
    ] = None,
    text: Annotated[EvaluatedText, typer.Option(help="What the chain of thought holds.")] = EvaluatedText.GENERATED,
    heatmap: Annotated[HeatmapSource, typer.Option(help="What the scorer reads.")] = HeatmapSource.predicted,
    fusion: Annotated[
        list[Fusion] | None,
        typer.Option(metavar="|".join(Fusion), help="Not the model's own; no new inference; may be repeated."),
    ] = None,
    bertscore: Annotated[
        str | None, typer.Option(metavar="FOLDER|HUB_ID", help="BERTScore of the generated texts, by this encoder.")
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Language model that rates the texts; key: HEIE_JUDGE_API_KEY."),
    ] = None,
    judge_url: Annotated[
        str | None, typer.Option(metavar="URL", help="The judge's server, with OpenAI's API; by default the Hub's.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1)] = 8,
    num_workers: Annotated[int, typer.Option(min=0, help="Processes that load images and compute metrics.")] = 2,
    model: Model = None,
    device: Device = None,
    dtype: ModelDtype = Dtype.auto,
) -> Iterator[dict[str, Any]]:
    """Every figure of the paper's tables with its interval, and a report; after a kill, run it again and it goes on.

    Prints the figures as one JSON line per result. On several processes: accelerate launch -m heie_hf.cli evaluate ...
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loading processes are forked
    import datasets
    import torch
    from accelerate import PartialState

    from heie_hf.evaluation import EvaluationError, evaluated_model, read_all
    from heie_hf.evaluation import evaluate as run
    from heie_hf.metrics.judge import Judge
    from heie_hf.prediction.load import ModelError

    if judge_url and not judge:
        raise UsageMistake("--judge-url is of no use without --judge MODEL")
    rater = None
    if judge:
        address = {"base_url": judge_url} if judge_url else {}
        try:
            rater = Judge(judge, **address)
        except ValueError as error:
            raise UsageMistake(f"--judge-url: {error}") from error
    writable_folder(output_dir)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    on_cpu = device == "cpu" or (device is None and not torch.accelerator.is_available())  # PartialState must be told
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=7))  # the first to be ready waits for the last
    if device is None and state.num_processes > 1:
        device = str(state.device)
    try:
        with state.main_process_first():
            data = read_all(dataset, root or [], split or [], option or [])
    except (OSError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    try:
        results = run(
            data,
            evaluated_model(model, device, dtype.value),
            output_dir,
            text=text.value,
            heatmap=heatmap.value,
            fusions=fusion or [None],
            bertscore=bertscore,
            judge=rater,
            batch_size=batch_size,
            num_workers=num_workers,
        )
    except (EvaluationError, ModelError) as error:
        raise UsageMistake(one_line(error)) from error
    report = Failures()
    failures = [failure for result in results for failure in result.failures]
    for place, reason in dict.fromkeys(failures):  # those of one data set come with each fusion
        report(place, reason)
    for result in results:
        speed = result.metrics["run"]["images_per_second"]
        yield {"result": result.label, **result.flat, "images_per_second": speed}
    if report.count:
        raise typer.Exit(1)


def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A folder with results of heie evaluate.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another, on the same images or some of them.")],
) -> Iterator[dict[str, Any]]:
    """Is the difference of two results real? Paired bootstrap on their common images, one JSON line per figure."""
    from dataclasses import asdict

    from heie_hf.evaluation import EvaluationError, compare_results

    try:
        differences, _ = compare_results(a, b)
    except (FileNotFoundError, EvaluationError) as error:
        raise UsageMistake(one_line(error)) from error
    for difference in differences:
        yield {**asdict(difference), "verdict": difference.verdict}
