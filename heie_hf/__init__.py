"""heie-hf: where, how badly and why an AI-generated image is implausible (HEIE, CVPR 2025, arXiv 2411.17261).

Importing this package registers its classes with Transformers' Auto classes and `pipeline`, in either order of the two
imports. The import itself loads neither PyTorch nor Transformers: what is named here is imported when first used, and
the registration happens as soon as Transformers is there (see `heie_hf.registration_watch`).
"""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

_FOLDER = Path(__file__).resolve().parent
if not (_FOLDER / "modeling").is_dir():  # a checkout: the rooms modeling/ and processing/ stand beside this folder
    __path__.append(str(_FOLDER.parent))

from heie_hf.registration_watch import RegistrationWatch  # noqa: E402

__version__ = "0.1.0"

if TYPE_CHECKING:
    from heie_hf.conversion import from_backbone
    from heie_hf.modeling import HEIEConfig, HEIEForImplausibility, HEIEGenerateOutput, HEIEOutput
    from heie_hf.pipeline_heie import ImplausibilityPipeline
    from heie_hf.processing import HEIEImageProcessor, HEIEProcessor
    from heie_hf.training import HEIEDataCollator, HEIETrainer, HEIETrainingArguments

__all__ = [
    "HEIEConfig",
    "HEIEDataCollator",
    "HEIEForImplausibility",
    "HEIEGenerateOutput",
    "HEIEImageProcessor",
    "HEIEOutput",
    "HEIEProcessor",
    "HEIETrainer",
    "HEIETrainingArguments",
    "ImplausibilityPipeline",
    "from_backbone",
]

# Where the public names are; the modules themselves can be written as attributes too: heie_hf.metrics.mse
_HOMES = {
    "HEIEConfig": "modeling",
    "HEIEDataCollator": "training",
    "HEIEForImplausibility": "modeling",
    "HEIEGenerateOutput": "modeling",
    "HEIEImageProcessor": "processing",
    "HEIEOutput": "modeling",
    "HEIEProcessor": "processing",
    "HEIETrainer": "training",
    "HEIETrainingArguments": "training",
    "ImplausibilityPipeline": "pipeline_heie",
    "from_backbone": "conversion",
}
_ROOMS = ("checkpoints", "data", "hub", "metrics", "modeling", "pipeline_heie", "processing")


def __getattr__(name: str):
    if name in _HOMES:
        home = importlib.import_module(f"heie_hf.{_HOMES[name]}")
        return getattr(home, name)
    if name in _ROOMS:
        return importlib.import_module(f"heie_hf.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, *_ROOMS})


if "transformers" in sys.modules:
    importlib.import_module("heie_hf.registration")
else:
    sys.meta_path.insert(0, RegistrationWatch())
