"""The `heie` command: its subcommands, one module each. What takes long to import is imported where it is used.

Exit status: 0, or 1 where an item failed (`heie: PATH: reason` on stderr, the rest goes on), a disk is full, or the
reader of stdout is gone; 2 for a usage error; 130 after Ctrl-C.
"""

import sys
from typing import Annotated

import typer

from heie_hf import __version__
from heie_hf.prediction.paths import printable

from . import annotate, convert, evaluate, export, predict, push, synthesize, train
from .failures import disk_failure
from .records import print_records

STATUS_INTERRUPTED = 130  # as a shell says it of a program that ended by SIGINT

app = typer.Typer(
    help="Where, how badly and why an AI-generated image is implausible.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    result_callback=print_records,
)


def version() -> None:
    """Print the version of heie-hf."""
    typer.echo(__version__)


def print_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Options that stand before the subcommand."""


# in the order of the help
app.command()(predict.predict)
app.command(context_settings={"allow_extra_args": True, "ignore_unknown_options": True})(train.train)
app.command()(evaluate.evaluate)
app.command()(evaluate.compare)
app.command()(synthesize.synthesize)
app.command()(annotate.annotate)
app.command()(export.export)
app.command()(convert.convert)
app.command()(push.push)
app.command()(version)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit, with the status that the module's docstring gives."""
    try:
        status = app(arguments, prog_name="heie", standalone_mode=False)
        if status == STATUS_INTERRUPTED:
            say("interrupted")
    except Exception as error:
        status = report(error)
    sys.exit(status)


def report(error: Exception) -> int:
    """Tell the user in one line what went wrong; returns the exit status. A fault of the program is raised again."""
    full_disk = disk_failure(error)
    if full_disk is not None:
        say(full_disk)
        return 1
    if isinstance(error, typer.TyperException):
        say(f"{printable(error.format_message())} (see heie --help)")
        return error.exit_code
    if isinstance(error, OSError) and error.filename is not None:
        say(f"{printable(error.filename)}: {error.strerror}")
        return 1
    raise error


def say(text: str) -> None:
    from tqdm import tqdm

    tqdm.write(f"heie: {text}", file=sys.stderr)  # on a line of its own, also where a progress bar was cut off
