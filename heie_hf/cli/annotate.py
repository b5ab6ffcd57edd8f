"""`heie annotate`: explanations for images with heatmaps, by models behind servers with OpenAI's API."""

import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from .failures import Failures, UsageMistake, one_line, writable_folder

#: Environment variables with the keys; never an option, which others could read in the list of processes.
VISION_KEY, TEXT_KEY = "HEIE_VISION_API_KEY", "HEIE_TEXT_API_KEY"


def annotate(
    dataset: Annotated[str, typer.Option(metavar="NAME|FOLDER", help="Images with heatmaps, see docs/datasets.md.")],
    output_dir: Annotated[Path, typer.Option(help="Folder for the new data set; run it again and it goes on.")],
    vision_model: Annotated[str, typer.Option(metavar="MODEL", help=f"Looks at pictures; key: {VISION_KEY}.")],
    vision_url: Annotated[str, typer.Option(metavar="URL", help="Its server, with OpenAI's API.")],
    text_model: Annotated[
        str | None, typer.Option(metavar="MODEL", help=f"Brings texts into form; key: {TEXT_KEY}. Default: the same.")
    ] = None,
    text_url: Annotated[str | None, typer.Option(metavar="URL", help="Its server. Default: the same.")] = None,
    root: Annotated[str | None, typer.Option(metavar="FOLDER", help="The data set's files.")] = None,
    split: Annotated[str | None, typer.Option(help="Of the data set; default: its first.")] = None,
    samples: Annotated[int, typer.Option(min=1, help="Texts per image: several for training, one otherwise.")] = 1,
    max_images: Annotated[int | None, typer.Option(min=1, help="Only the first ones.")] = None,
    budget: Annotated[int | None, typer.Option(min=1, metavar="TOKENS", help="Stop when so many are used.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, help="Requests under way at once.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only estimate calls and tokens.")] = False,
) -> Iterator[dict[str, Any]]:
    """Write explanations for images with heatmaps, in the three stages of Expl-AIGI-Eval (HEIE, section 3.4).

    Prints counts and costs as one JSON line. What was answered before is not asked, or paid, again.
    """
    import datasets

    from heie_hf.annotation import annotate as run
    from heie_hf.annotation import estimate_costs, summary
    from heie_hf.chat import Chat, ChatError
    from heie_hf.data import load

    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    failures = Failures()
    try:
        rows = load(dataset, root=root, split=split, on_bad_row=failures)
    except (OSError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    rows = rows.select(range(min(max_images or len(rows), len(rows))))
    if dry_run:
        yield asdict(estimate_costs(rows, samples))
        return
    writable_folder(output_dir)
    common = {"cache": output_dir / "answers.jsonl", "concurrency": concurrency}
    try:
        vision = Chat(vision_model, vision_url, key_variable=VISION_KEY, **common)
        text = vision
        if text_model or text_url:
            text_key = TEXT_KEY if text_url else VISION_KEY
            text = Chat(text_model or vision_model, text_url or vision_url, key_variable=text_key, **common)
        outcome = run(rows, output_dir, vision, text, samples, budget, failures, Path(dataset).name)
    except (ChatError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    yield summary(outcome)
    if outcome.is_over_budget:
        failures(str(output_dir), "the budget is used up: run it again with more to go on")
    if failures.count:
        raise typer.Exit(1)
