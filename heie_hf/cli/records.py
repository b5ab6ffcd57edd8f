"""Results on stdout: one JSON line each, as they come, and nothing else.

A command yields its results as dictionaries. What libraries print meanwhile goes to stderr.
"""

import contextlib
import json
import sys
from collections.abc import Iterator
from typing import Any, TextIO


def print_records(records: Iterator[dict[str, Any]] | None, **_: Any) -> None:
    """Run a command to its end and print what it yields: typer's `result_callback`.

    Raises:
        OSError: stdout cannot be written.
        ValueError: a number that is none, which JSON cannot hold.
    """
    if records is None:  # a command without results
        return
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        for record in records:
            line = json.dumps(record, allow_nan=False) + "\n"
            _print(line, stdout)


def _print(line: str, stdout: TextIO) -> None:
    from tqdm import tqdm

    try:
        with tqdm.external_write_mode(sys.stderr):  # a progress bar makes room
            stdout.write(line)
            stdout.flush()
    except OSError as error:
        error.filename = "standard output"
        raise
