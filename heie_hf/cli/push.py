"""`heie push`: a saved model goes to the Hub, or into a folder as it would lie there."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from heie_hf.prediction.paths import as_text

from .failures import Failures, UsageMistake, disk_failure, one_line
from .options import Model


def push(
    repo: Annotated[str | None, typer.Argument(metavar="REPO", help="OWNER/NAME, or NAME alone for your own.")] = None,
    to_folder: Annotated[
        Path | None, typer.Option(help="Write the same files into this new folder instead; nothing is sent.")
    ] = None,
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    revision: Annotated[str | None, typer.Option(help="Branch; made if it does not exist.")] = None,
    metrics: Annotated[Path | None, typer.Option(help="metrics.json of heie evaluate, for the model card.")] = None,
    license: Annotated[str | None, typer.Option(help="Of the weights; for the model card.")] = None,
    base_model: Annotated[str | None, typer.Option(metavar="HUB_ID", help="For the model card.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(metavar="HUB_ID", help="Trained on; for the model card; may be repeated.")
    ] = None,
    model: Model = None,
) -> Iterator[dict[str, Any]]:
    """Publish a saved model: weights, processor, a model card, and the code for those who have not installed heie-hf.

    Log in first (hf auth login, or HF_TOKEN). REPO with --to-folder only names the model in its card.
    """
    if (repo is None and to_folder is None) or (to_folder is not None and (private or revision)):
        raise UsageMistake("give REPO, or --to-folder without --private and --revision")
    from dataclasses import replace

    from huggingface_hub.utils import disable_progress_bars

    from heie_hf.checkpoints import default_checkpoint
    from heie_hf.hub.card import EMBEDDED, CardFacts
    from heie_hf.hub.push import PushError, clear_errors, push_saved
    from heie_hf.hub.repository import write_repository

    if not sys.stderr.isatty():
        disable_progress_bars()
    stated = {"license": license, "base_model": base_model, "datasets": dataset, "repo_id": repo}
    try:
        with clear_errors(repo or ""):
            stated["metrics"] = json.loads(metrics.read_text(encoding="utf-8")) if metrics else None
            stated = {name: value for name, value in stated.items() if value is not None}
            facts = replace(CardFacts() if model else EMBEDDED, **stated)
            source = model or default_checkpoint()
            if to_folder is not None:
                write_repository(source, to_folder, facts)
                yield {"folder": as_text(to_folder), "files": sorted(os.listdir(to_folder))}
            else:
                commit = push_saved(source, repo, facts, private=private or None, revision=revision)
                yield {"repository": str(commit.repo_url), "commit": commit.oid}
    except PushError as error:
        if disk_failure(error):
            raise
        Failures()(str(to_folder or repo), one_line(error))
        raise typer.Exit(1) from error
