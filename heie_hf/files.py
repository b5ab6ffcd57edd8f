"""Files and folders that are written whole or not at all: whoever looks, even after a kill -9, never finds half.

The content goes into a draft beside its target, `.heie-MACHINE-PROCESS-RANDOM.tmp`, which takes the target's name at
the end. A process that is killed leaves its draft behind; the next one that writes into the same folder removes it.
"""

import contextlib
import errno
import functools
import hashlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import psutil

# What a disk says that takes no more, whatever the file: full, over the quota, read-only, over `ulimit -f`, broken.
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EFBIG, errno.EIO)


@contextlib.contextmanager
def whole_file(path: str | os.PathLike) -> Iterator[Path]:
    """A path to write to; its file replaces `path` when the block ends, or vanishes if the block raises.

    Makes the folder of `path`.

    Raises:
        OSError: the folder cannot be made, or the file cannot be put into its place.
    """
    path = Path(path)
    draft = _new_draft(path)
    try:
        with disk_errors_name(path):
            yield draft
            os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


@contextlib.contextmanager
def whole_folder(path: str | os.PathLike) -> Iterator[Path]:
    """A new folder to fill; it becomes `path` when the block ends, or vanishes if the block raises.

    Makes the parent of `path`.

    Raises:
        FileExistsError: `path` is there already and is not an empty folder.
        OSError: the folder cannot be made, or cannot be put into its place.
    """
    path = Path(path)
    if not is_free(path):
        raise FileExistsError(f"{path} exists and is not an empty folder")
    draft = _new_draft(path)
    draft.mkdir()
    try:
        with disk_errors_name(path):
            yield draft
            if path.exists():
                path.rmdir()
            os.replace(draft, path)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def disk_error_number(error: BaseException) -> int | None:
    """The number, one of `DISK_ERRORS`, if a disk refused to be written; else None.

    Libraries written in Rust (safetensors, tokenizers) have errors of their own and name the number in the text.
    """
    if isinstance(error, OSError):
        number = error.errno
    else:
        in_text = re.search(r"\(os error (\d+)\)", str(error))
        number = int(in_text.group(1)) if in_text else None
    return number if number in DISK_ERRORS else None


@contextlib.contextmanager
def disk_errors_name(path: Path) -> Iterator[None]:
    """An error of the disk names the file that was to be written: a write alone does not, nor does a draft's name."""
    try:
        yield
    except Exception as error:
        number = disk_error_number(error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from error


def is_free(folder: Path) -> bool:
    """Whether `whole_folder` may make this folder: it is not there yet, or it is empty."""
    if not folder.exists():
        return True
    return folder.is_dir() and not any(folder.iterdir())


def _new_draft(path: Path) -> Path:
    """A name beside `path` that nobody uses."""
    folder = path.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    _clear_dead_drafts(folder)
    return folder / f"{_prefix()}{os.getpid()}-{secrets.token_hex(4)}.tmp"


def _prefix() -> str:
    """Names the machine: a process id says nothing about the processes of another one that shares the disk."""
    machine = hashlib.blake2b(socket.gethostname().encode(), digest_size=4).hexdigest()
    return f".heie-{machine}-"


@functools.cache  # once per run: a folder of many files is not listed for each of them
def _clear_dead_drafts(folder: Path) -> None:
    for draft in folder.glob(f"{_prefix()}*.tmp"):
        process_id = int(draft.name.removeprefix(_prefix()).partition("-")[0])
        if psutil.pid_exists(process_id):
            continue
        if draft.is_dir():
            shutil.rmtree(draft, ignore_errors=True)
        else:
            draft.unlink(missing_ok=True)
