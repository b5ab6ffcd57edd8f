"""The `heie` command. One function per subcommand; what takes long to import is imported where it is used.

Exit status: 0, or 1 where an item failed (`heie: PATH: reason` on stderr, the rest goes on), 2 for a usage error.
"""

import contextlib
import functools
import json
import os
import sys
import tempfile
import warnings
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from .image_folder import as_text, find_images, output_names, printable

app = typer.Typer(
    help="Where, how badly and why an AI-generated image is implausible.",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class Dtype(StrEnum):
    auto = "auto"
    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class TextSource(StrEnum):
    generated = "generated"
    none = "none"
    reference = "reference"


class HeatmapSource(StrEnum):
    predicted = "predicted"
    reference = "reference"


Fusion = StrEnum("Fusion", {name: name for name in ("uncertainty", "learned", "fixed", "local", "global")})


class UsageMistake(typer.TyperException):
    """Something the user can put right: one line on stderr, exit status 2."""

    exit_code = 2


Model = Annotated[
    str | None, typer.Option(metavar="FOLDER|HUB_ID", help="HEIE model; without it the small embedded one.")
]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1, mps ...; without it the first accelerator.")]
ModelDtype = Annotated[Dtype, typer.Option(help="Precision of the model; auto is that of its config.")]


class Failures:
    """Reports items that failed, one line each on stderr, and remembers that some did."""

    def __init__(self):
        self.count = 0

    def __call__(self, path: str, reason: str) -> None:
        from tqdm import tqdm

        self.count += 1
        tqdm.write(f"heie: {printable(path)}: {printable(reason)}", file=sys.stderr)


def one_line(error: Exception) -> str:
    """The first line of an error's message."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def writable_folder(folder: Path) -> Path:
    """Make the folder and try it, before any work is done for it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise UsageMistake(f"cannot write to {folder}: {error.strerror}") from error
    return folder


def load_pipeline(model: str | None, device: str | None, dtype: str) -> Any:
    """The `ImplausibilityPipeline` of a model folder or Hub name; None = the embedded model, the first accelerator."""
    import torch
    from safetensors import SafetensorError
    from transformers.utils import logging

    from . import HEIEForImplausibility, HEIEProcessor, ImplausibilityPipeline
    from .checkpoints import default_checkpoint

    logging.disable_progress_bar()
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # no such device; or a PyTorch that was built without it
        raise UsageMistake(f"cannot use device {device!r}: {one_line(error)}") from error
    try:
        source = model or default_checkpoint()
        processor = HEIEProcessor.from_pretrained(source)
        network = HEIEForImplausibility.from_pretrained(source, dtype=dtype)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        raise UsageMistake(f"cannot load model {model or '(embedded)'}: {one_line(error)}") from error
    return ImplausibilityPipeline(model=network, processor=processor, device=device, task="image-implausibility")


def evaluated_model(model: str | None, device: str | None, dtype: str) -> Any:
    """The `EvaluatedModel` of a model folder or Hub name, not loaded yet."""
    from .checkpoints import default_checkpoint
    from .evaluation import EvaluatedModel, fingerprint
    from .evaluation.data import folder_name

    def load() -> tuple[Any, Any]:
        pipe = load_pipeline(model, device, dtype)
        return pipe.model, pipe.processor

    try:
        weights = fingerprint(model or default_checkpoint())
    except (OSError, ValueError) as error:
        raise UsageMistake(f"cannot load model {model or '(embedded)'}: {one_line(error)}") from error
    name = folder_name(model) if model else "(embedded)"
    return EvaluatedModel(name, functools.cache(load), weights, dtype)


@app.command()
def predict(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE|FOLDER", help="Folders count with all below.")],
    output_dir: Annotated[
        Path | None, typer.Option(help="Also write NAME.heatmap.png and NAME.overlay.png here, folders mirrored.")
    ] = None,
    explain: Annotated[bool, typer.Option(help="Without it: heatmap and score only, much faster.")] = True,
    batch_size: Annotated[int, typer.Option(min=1)] = 1,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Refuse larger images; without it Pillow's warning limit, 89 million.")
    ] = None,
    model: Model = None,
    device: Device = None,
    dtype: ModelDtype = Dtype.auto,
) -> None:
    r"""Heatmap, score and explanation of images: one JSON line each on stdout.

    In the JSON, bytes of file names that are not UTF-8 appear as \xNN.
    """
    if output_dir is not None:
        writable_folder(output_dir)
    warnings.filterwarnings("ignore", module="PIL")  # about damaged metadata of images that can be read all the same
    failures = Failures()
    files = find_images(images, failures, output_dir)
    names = dict(zip((file.path for file in files), output_names(files), strict=True))
    pipe = load_pipeline(model, device, dtype)

    from tqdm import tqdm

    from .prediction import predict_files, save_pictures

    paths = tqdm(names, unit="image", disable=None)  # None: only on a terminal
    for path, image, result in predict_files(
        pipe, paths, failures, max_pixels, explain=explain, batch_size=batch_size
    ):
        pictures = {"heatmap": None, "overlay": None}
        if output_dir is not None:
            try:
                pictures = save_pictures(result, image, output_dir, names[path])
            except OSError as error:
                failures(path, f"result not written: {error.strerror or one_line(error)}")
        line = {key: result[key] for key in ("score", "description", "regions", "analysis")}
        with tqdm.external_write_mode(sys.stdout):
            print(json.dumps({"image": as_text(path), **line, **pictures}), flush=True)
    if failures.count:
        raise typer.Exit(1)


@app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})
def train(
    context: typer.Context,
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Its fields: docs/training.md.")],
) -> None:
    """Fine-tune, or train from scratch; interrupted, run it again and it goes on. Fields: --field value after CONFIG.

    Prints the final evaluation as one JSON line. On several processes: accelerate launch -m heie_hf.cli train ...
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loading processes are forked
    from accelerate import PartialState

    from .training import TrainingError
    from .training import train as run

    failures = Failures()
    try:
        with contextlib.redirect_stdout(sys.stderr):  # the trainer prints its logs there
            metrics = run(config, context.args, say=lambda text: print(f"heie: {text}", file=sys.stderr))
    except TrainingError as error:
        for row in error.rows[:10]:
            failures(*row)
        raise UsageMistake(one_line(error)) from error
    if PartialState().is_main_process:
        print(json.dumps(metrics), flush=True)


@app.command()
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
    text: Annotated[TextSource, typer.Option(help="What the chain of thought holds.")] = TextSource.generated,
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
) -> None:
    """Every figure of the paper's tables with its interval, and a report; after a kill, run it again and it goes on.

    Prints the figures as one JSON line per result. On several processes: accelerate launch -m heie_hf.cli evaluate ...
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # the loading processes are forked
    import datasets
    import torch
    from accelerate import PartialState

    from .evaluation import EvaluationError, read_all
    from .evaluation import evaluate as run
    from .metrics.judge import Judge

    if judge_url and not judge:
        raise UsageMistake("--judge-url is of no use without --judge MODEL")
    writable_folder(output_dir)
    if not sys.stderr.isatty():
        datasets.disable_progress_bars()
    on_cpu = device == "cpu" or (device is None and not torch.accelerator.is_available())  # PartialState must be told
    state = PartialState(cpu=on_cpu, timeout=timedelta(days=7))  # the first to be ready waits for the last
    device = device or (str(state.device) if state.num_processes > 1 else None)
    failures = Failures()
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
            fusions=[each.value for each in fusion or []] or [None],
            bertscore=bertscore,
            judge=Judge(judge, **({"base_url": judge_url} if judge_url else {})) if judge else None,
            batch_size=batch_size,
            num_workers=num_workers,
        )
    except EvaluationError as error:
        raise UsageMistake(one_line(error)) from error
    for failure in dict.fromkeys(failure for result in results for failure in result.failures):
        failures(*failure)
    for result in results:
        speed = {"images_per_second": result.metrics["run"]["images_per_second"]}
        print(json.dumps({"result": result.label, **result.flat, **speed}), flush=True)
    if failures.count:
        raise typer.Exit(1)


@app.command()
def compare(
    a: Annotated[Path, typer.Argument(metavar="A", help="A folder with results of heie evaluate.")],
    b: Annotated[Path, typer.Argument(metavar="B", help="Another, on the same images or some of them.")],
) -> None:
    """Is the difference of two results real? Paired bootstrap on their common images, one JSON line per figure."""
    from dataclasses import asdict

    from .evaluation import EvaluationError, compare_results

    try:
        differences, num_images = compare_results(a, b)
    except (FileNotFoundError, EvaluationError) as error:
        raise UsageMistake(one_line(error)) from error
    for difference in differences:
        print(json.dumps({**asdict(difference), "num_images": num_images, "verdict": difference.verdict}))


@app.command()
def synthesize(
    num_images: Annotated[int, typer.Option(min=1)],
    output_dir: Annotated[Path, typer.Option(help="Folder for images, heatmaps and JSON lines.")],
    seed: Annotated[int, typer.Option(min=0, help="Image i of a seed is always the same.")] = 0,
) -> None:
    """Draw synthetic scenes with planted defects, in the layout of Expl-AIGI-Eval."""
    from .data.synthetic import synthesize

    synthesize(num_images, seed, writable_folder(output_dir))


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="InternVL checkpoint, original or native layout.")],
    target: Annotated[Path, typer.Argument(metavar="TARGET", help="New folder for the HEIE checkpoint.")],
) -> None:
    """Make a HEIE checkpoint of an InternVL one: its backbone, new tokens and heads that are still to be trained."""
    from .conversion import convert as run

    try:
        run(source, target)
    except (OSError, ValueError) as error:
        raise UsageMistake(one_line(error)) from error
    print(json.dumps({"model": as_text(target)}))


@app.command()
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
) -> None:
    """Publish a saved model: weights, processor, a model card, and the code for those who have not installed heie-hf.

    Log in first (hf auth login, or HF_TOKEN). REPO with --to-folder only names the model in its card.
    """
    if (repo is None and to_folder is None) or (to_folder is not None and (private or revision)):
        raise UsageMistake("give REPO, or --to-folder without --private and --revision")
    from dataclasses import replace

    from huggingface_hub.utils import disable_progress_bars

    from .checkpoints import default_checkpoint
    from .hub import PushError, clear_errors, push_saved
    from .model_card import EMBEDDED, CardFacts
    from .repository import write_repository

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
                print(json.dumps({"folder": str(to_folder), "files": sorted(os.listdir(to_folder))}))
            else:
                commit = push_saved(source, repo, facts, private=private or None, revision=revision)
                print(json.dumps({"repository": str(commit.repo_url), "commit": commit.oid}))
    except PushError as error:
        Failures()(str(to_folder or repo), one_line(error))
        raise typer.Exit(1) from error


@app.command()
def version() -> None:
    """Print the version of heie-hf."""
    from . import __version__

    print(__version__)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit, with the status that the module's docstring gives."""
    try:
        status = app(arguments, prog_name="heie", standalone_mode=False)
    except typer.TyperException as mistake:
        print(f"heie: {printable(mistake.format_message())} (see heie --help)", file=sys.stderr)
        status = mistake.exit_code
    sys.exit(status)


if __name__ == "__main__":
    main()
