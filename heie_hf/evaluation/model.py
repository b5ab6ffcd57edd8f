"""The model under evaluation: named, told from its earlier states, and loaded only when it is needed."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class EvaluatedModel:
    """A model that is loaded only if images have no prediction yet.

    Args:
        name: the folder's name or the Hub's, as results show it.
        load: gives model and processor.
        fingerprint: changes with the weights. Predictions of another fingerprint or `dtype` are not mixed with these.
    """

    name: str
    load: Callable[[], tuple[Any, Any]]
    fingerprint: str = ""
    dtype: str = "auto"

    @property
    def identity(self) -> dict[str, str]:
        return {"model": self.name, "weights": self.fingerprint, "dtype": self.dtype}


def fingerprint(source: str) -> str:
    """Sizes and times of a model folder's files, or the commit of a name on the Hub, without loading the weights."""
    if Path(source).is_dir():
        files = sorted(path for path in Path(source).iterdir() if path.is_file())
        stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
        return hashlib.sha256(repr(stats).encode()).hexdigest()[:16]
    from heie_hf import HEIEConfig

    return str(HEIEConfig.from_pretrained(source)._commit_hash)
