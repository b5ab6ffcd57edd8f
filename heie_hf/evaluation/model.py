"""The model under evaluation: named, told from its earlier states, and loaded only when it is needed."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heie_hf.checkpoints import default_checkpoint
from heie_hf.prediction.load import ModelError, load_pipeline
from heie_hf.prediction.source import model_folder

from .data import folder_name


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


def evaluated_model(model: str | None = None, device: str | None = None, dtype: str = "auto") -> EvaluatedModel:
    """The model of a folder or Hub name (None = the embedded one), not loaded yet; arguments as in `load_pipeline`.

    Raises:
        ModelError: there is no such folder or name; `load` raises it for a model that cannot be loaded.
    """

    @functools.cache
    def load() -> tuple[Any, Any]:
        pipe = load_pipeline(model, device, dtype)
        return pipe.model, pipe.processor

    name = folder_name(model) if model else "(embedded)"
    try:
        weights = fingerprint(model or default_checkpoint())
    except (OSError, ValueError) as error:
        raise ModelError(f"cannot load model {name}: {error}") from error
    return EvaluatedModel(name, load, weights, dtype)


def fingerprint(source: str) -> str:
    """Sizes and times of a model folder's files, or the commit of a name on the Hub, without loading the weights."""
    if Path(source).is_dir():
        facts = []
        for path in sorted(Path(source).iterdir()):
            if path.is_file():
                status = path.stat()
                facts.append((path.name, status.st_size, status.st_mtime_ns))
        return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]
    return model_folder(source).name  # the Hub's cache has a folder for each commit
