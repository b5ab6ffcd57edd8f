"""What goes wrong, told to the user in one line."""

import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import typer

from heie_hf.files import disk_error_number
from heie_hf.prediction.paths import printable


class UsageMistake(typer.TyperException):
    """Something the user can put right: one line on stderr, exit status 2."""

    exit_code = 2


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


def disk_failure(error: BaseException) -> str | None:
    """The line about a disk that takes no more; None if the error is another one.

    It may lie below: a library wraps it, a command takes it for a usage mistake.
    """
    for cause in _chain(error):
        number = disk_error_number(cause)
        if number is not None:
            place = getattr(cause, "filename", None) or "output"
            return f"cannot write {printable(place)}: {os.strerror(number)}"
    return None


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error and those that it came from; an error that was raised again may come from itself."""
    told = set()
    while error is not None and id(error) not in told:
        yield error
        told.add(id(error))
        error = error.__cause__ or error.__context__
