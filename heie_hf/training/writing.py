"""Folders of weights written whole or not at all, and a full disk told in one way, whoever meets it."""

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator

from safetensors import SafetensorError

#: By one of these an error of `torch.save` is known.
TORCH_WRITES = ("PytorchStreamWriter", "inline_container.cc", "iostream error")


@contextlib.contextmanager
def whole_draft(draft: str | os.PathLike, final: str | os.PathLike, is_mine: bool = True) -> Iterator[None]:
    """Around the writing of a folder `draft`, which is to become `final`: what cannot be finished is removed.

    Unlike `heie_hf.files.whole_folder` it is for several processes that write into one folder.

    Args:
        is_mine: whether this process is the one that removes it.

    Raises:
        OSError: see `write_errors_name`.
    """
    try:
        with write_errors_name(final, draft):
            yield
    except Exception:
        if is_mine:
            shutil.rmtree(draft, ignore_errors=True)
        raise


@contextlib.contextmanager
def write_errors_name(path: str | os.PathLike, folder: str | os.PathLike) -> Iterator[None]:
    """Whatever keeps files from being written becomes an `OSError` with this path, the one that a user knows.

    Args:
        folder: where the files are really written.

    Raises:
        OSError: also for what torch and safetensors say in errors of their own.
    """
    try:
        yield
    except (OSError, RuntimeError, SafetensorError) as error:
        number = _error_number(error, folder)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), os.fspath(path)) from error


def _error_number(error: Exception, folder: str | os.PathLike) -> int | None:
    """`errno` of an error while writing; None if it is of another kind."""
    if isinstance(error, OSError):
        return error.errno
    message = str(error)
    number = re.search(r"\(os error (\d+)\)", message)  # of safetensors
    if number:
        return int(number[1])
    if any(mark in message for mark in TORCH_WRITES):  # torch leaves the reason out
        return _try_to_write(folder) or errno.EIO
    return None


def _try_to_write(folder: str | os.PathLike, num_bytes: int = 2**20) -> int | None:
    """`errno` of what happens then; None if nothing does."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(num_bytes))
    except OSError as error:
        return error.errno
    return None
