"""The `heie` command: its subcommands, one module each. What takes long to import is imported where it is used.

Exit status: 0, or 1 where an item failed (`heie: PATH: reason` on stderr, the rest goes on), 2 for a usage error.
"""

import sys
from typing import Annotated

import typer

from heie_hf import __version__
from heie_hf.prediction.paths import printable

from . import convert, evaluate, predict, push, synthesize, train

app = typer.Typer(
    help="Where, how badly and why an AI-generated image is implausible.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def version() -> None:
    """Print the version of heie-hf."""
    print(__version__)


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
app.command()(convert.convert)
app.command()(push.push)
app.command()(version)


def main(arguments: list[str] | None = None) -> None:
    """Run the command and exit, with the status that the module's docstring gives."""
    try:
        status = app(arguments, prog_name="heie", standalone_mode=False)
    except typer.TyperException as mistake:
        print(f"heie: {printable(mistake.format_message())} (see heie --help)", file=sys.stderr)
        status = mistake.exit_code
    sys.exit(status)
