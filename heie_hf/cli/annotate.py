"""`heie annotate`: explanations for images with heatmaps, by models behind servers with OpenAI's API."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from .failures import Failures, UsageMistake, one_line, writable_folder

#: Environment variables with the keys; never an option, which others could read in the list of processes.
VISION_KEY, TEXT_KEY = "HEIE_VISION_API_KEY", "HEIE_TEXT_API_KEY"


class Task(StrEnum):
    implausibility = "implausibility"
    quality = "quality"


class Hint(StrEnum):
    none = "none"
    mos = "mos"


def annotate(
    output_dir: Annotated[Path, typer.Option(help="Folder for the new data set; run it again and it goes on.")],
    dataset: Annotated[
        str | None, typer.Option(metavar="NAME|FOLDER", help="Images with heatmaps, see docs/datasets.md.")
    ] = None,
    vision_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"Looks at pictures; key: {VISION_KEY}.")
    ] = None,
    vision_url: Annotated[str | None, typer.Option(metavar="URL", help="Its server, with OpenAI's API.")] = None,
    task: Annotated[
        Task,
        typer.Option(help="implausibility: HEIE's explanations. quality: M3-AGIQA's assessments, no heatmaps needed."),
    ] = Task.implausibility,
    text_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"Brings texts into form; key: {TEXT_KEY}. Default: the same.")
    ] = None,
    text_url: Annotated[str | None, typer.Option(metavar="URL", help="Its server. Default: the same.")] = None,
    root: Annotated[str | None, typer.Option(metavar="FOLDER", help="The data set's files.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the data set; default: its first.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Texts per image: several for training, one otherwise.")] = 1,
    aspects: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,C", help="For quality: out of quality, correspondence, authenticity; default: all known."
        ),
    ] = None,
    hint: Annotated[Hint, typer.Option(help="For quality: mos tells the model people's ratings.")] = Hint.none,
    max_images: Annotated[int | None, typer.Option(min=1, help="Only the first ones.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="That this run may cost.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate calls and tokens.")] = False,
    sheet: Annotated[
        list[str] | None,
        typer.Option(
            metavar="RATER", help="Write a page on which this person judges texts of --output-dir; repeat it."
        ),
    ] = None,
    sheet_size: Annotated[int, typer.Option(min=1, help="Texts on a page, drawn by chance.")] = 100,
    review: Annotated[
        list[Path] | None,
        typer.Option(exists=True, metavar="CSV", help="Leave out what this filled-in sheet calls wrong; repeat it."),
    ] = None,
) -> Iterator[dict[str, Any]]:
    """Write explanations for images with heatmaps, in the three stages of Expl-AIGI-Eval (HEIE, section 3.4).

    Or, with --task quality, assessments of images with opinion scores, as M3-AGIQA is distilled from.

    Prints counts and costs as one JSON line. What was answered before is not asked, or paid, again. With --sheet or
    --review, texts that are there are checked by people, and nothing is asked.
    """
    if sheet or review:
        yield _check_by_people(output_dir, sheet or [], sheet_size, review or [])
        return
    for option, value in (("dataset", dataset), ("vision-model", vision_model), ("vision-url", vision_url)):
        if value is None:
            raise UsageMistake(f"missing option --{option}")
    if task is Task.quality and (samples > 1 or text_model or text_url):
        raise UsageMistake(
            "--samples, --text-model and --text-url do not go with --task quality: one call gives its texts"
        )
    if task is Task.implausibility and (aspects or hint is Hint.mos):
        raise UsageMistake("--aspects and --hint go with --task quality")
    from heie_hf.annotation import annotate as write_explanations
    from heie_hf.annotation import distil, estimate_costs, estimate_distillation, summary
    from heie_hf.chat import ChatError

    failures = Failures()
    rows = _load(dataset, root, split, max_images, failures)
    source = Path(dataset).name
    vision = _client(vision_model, vision_url, VISION_KEY, output_dir, concurrency)
    if task is Task.quality:
        columns = _columns(source, aspects)
        estimate = estimate_distillation(rows, columns)
        run = partial(distil, rows, output_dir, vision, columns, hint is Hint.mos)
    else:
        text = vision
        if text_model or text_url:
            text_key = TEXT_KEY if text_url else VISION_KEY
            text = _client(text_model or vision_model, text_url or vision_url, text_key, output_dir, concurrency)
        estimate = estimate_costs(rows, samples)
        run = partial(write_explanations, rows, output_dir, vision, text, samples)
    if dry_run:
        yield asdict(estimate)
        return
    writable_folder(output_dir)
    tokens = estimate.prompt_tokens + estimate.completion_tokens
    print(f"heie: {estimate.images} images, about {estimate.calls} calls, about {tokens:,} tokens", file=sys.stderr)
    try:
        outcome = run(budget, failures, source)
    except ChatError as error:
        raise UsageMistake(one_line(error)) from error
    yield summary(outcome)
    if outcome.is_over_budget:
        failures(str(output_dir), "the budget is used up: run it again with more to go on")
    if failures.count:
        raise typer.Exit(1)


def _load(dataset: str, root: str | None, split: str | None, max_images: int | None, failures: Failures) -> Any:
    import datasets

    from heie_hf.data import load

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    try:
        rows = load(dataset, root=root, split=split, on_bad_row=failures)
    except (OSError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    number = min(max_images or len(rows), len(rows))
    return rows.select(range(number))


def _columns(source: str, aspects: str | None) -> dict[str, str]:
    """Aspect to the column with its opinion score, of those that are wanted."""
    from heie_hf.annotation.aspects import columns_of

    known = columns_of(source)
    if aspects is None:
        return known
    columns = {}
    for aspect in aspects.split(","):
        if aspect.strip() not in known:
            raise UsageMistake(f"--aspects: {source} has opinions on {', '.join(known)}, none on {aspect.strip()!r}")
        columns[aspect.strip()] = known[aspect.strip()]
    return columns


def _client(model: str, url: str, key_variable: str, output_dir: Path, concurrency: int) -> Any:
    from heie_hf.chat import Chat

    try:
        return Chat(model, url, output_dir / "answers.jsonl", concurrency, key_variable=key_variable)
    except ValueError as error:
        raise UsageMistake(one_line(error)) from error


def _check_by_people(output_dir: Path, raters: list[str], sheet_size: int, sheets: list[Path]) -> dict[str, Any]:
    from heie_hf.annotation.review import apply_verdicts, write_sheets

    result = {}
    try:
        if sheets:
            result |= apply_verdicts(output_dir, sheets)
        if raters:
            number = write_sheets(output_dir, raters, sheet_size)
            result |= {"sheets": str(output_dir / "sheets"), "texts": number}
    except (FileNotFoundError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    return result
