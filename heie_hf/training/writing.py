"""Folders that several processes write into: whole or not there, and a full disk told as everywhere else."""

import contextlib
import errno
import os
import shutil
import tempfile
from collections.abc import Iterator

from heie_hf.files import disk_error_number

#: By one of these an error of `torch.save` is known.
TORCH_WRITES = ("PytorchStreamWriter", "inline_container.cc", "iostream error")


@contextlib.contextmanager
def whole_draft(draft: str | os.PathLike, final: str | os.PathLike, is_mine: bool = True) -> Iterator[None]:
    """Around the writing of a folder `draft`, which is to become `final`: what cannot be finished is removed.

    Args:
        is_mine: whether this process is the one that removes it.

    Raises:
        OSError: the disk refuses, also where torch or safetensors say so in errors of their own; it names `final`.
    """
    try:
        yield
    except Exception as error:
        number = _disk_error_number(error, draft)
        if is_mine:
            shutil.rmtree(draft, ignore_errors=True)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), os.fspath(final)) from error


def _disk_error_number(error: Exception, folder: str | os.PathLike) -> int | None:
    """As `disk_error_number`, also for torch, which does not say why it could not write."""
    message = str(error)
    if isinstance(error, RuntimeError) and any(mark in message for mark in TORCH_WRITES):
        return _try_to_write(folder) or errno.EIO
    return disk_error_number(error)


def _try_to_write(folder: str | os.PathLike, num_bytes: int = 2**20) -> int | None:
    """The number of the error that one meets; None if so much can be written."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(num_bytes))
    except OSError as error:
        return error.errno
    return None
