"""The files of an evaluation: written whole or not at all, and one clear line for those that cannot be read."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from heie_hf.files import whole_file


class EvaluationError(ValueError):
    """Something that was asked for cannot be evaluated; says what and why."""


class DamagedFileError(EvaluationError):
    """A file of an earlier evaluation cannot be read; says which and what to do."""


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Whatever is wrong with the content of a file becomes one error that names it.

    Args:
        remedy: what the user can do about it.

    Raises:
        DamagedFileError: the block cannot make sense of the file.
        OSError: there is no such file, or the system does not let it be read.
    """
    try:
        yield
    except Exception as error:  # zip, zlib, NumPy, JSON, safetensors and Arrow each have kinds of their own
        from_system = isinstance(error, OSError) and error.errno is not None
        if from_system:
            raise
        message = str(error).strip() or type(error).__name__
        reason = message.splitlines()[0]
        raise DamagedFileError(f"{path} is damaged ({reason}); {remedy}") from error


def save_text(text: str, path: Path) -> None:
    """UTF-8; what cannot be encoded (half a surrogate pair) becomes "?"."""
    with whole_file(path) as draft:
        draft.write_bytes(text.encode("utf-8", "replace"))


def save_json(value: dict, path: Path) -> None:
    """Strict JSON.

    Raises:
        ValueError: there is a NaN or an infinity, which JSON does not know.
    """
    save_text(json.dumps(value, indent=2, allow_nan=False) + "\n", path)


def parse_object(text: str | bytes) -> dict:
    """A JSON object.

    Raises:
        ValueError, RecursionError: it is something else, not strict JSON, or nested absurdly deep.
    """
    value = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
