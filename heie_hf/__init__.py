"""heie-hf: where, how badly and why an AI-generated image is implausible (HEIE, CVPR 2025, arXiv 2411.17261).

Importing this package registers its classes with Transformers' Auto classes and `pipeline`.
"""

import importlib
from pathlib import Path

_FOLDER = Path(__file__).resolve().parent
if not (_FOLDER / "modeling").is_dir():  # a checkout: the rooms modeling/ and processing/ stand beside this folder
    __path__.append(str(_FOLDER.parent))

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor  # noqa: E402
from transformers.pipelines import PIPELINE_REGISTRY  # noqa: E402

from heie_hf.checkpoints import DEFAULT_CHECKPOINT  # noqa: E402
from heie_hf.hub.push import push_to_hub  # noqa: E402
from heie_hf.modeling import HEIEConfig, HEIEForImplausibility, HEIEGenerateOutput, HEIEOutput  # noqa: E402
from heie_hf.pipeline_heie import ImplausibilityPipeline  # noqa: E402
from heie_hf.processing import HEIEImageProcessor, HEIEProcessor  # noqa: E402

__version__ = "0.1.0"

AutoConfig.register("heie", HEIEConfig)
AutoModel.register(HEIEConfig, HEIEForImplausibility)
AutoModelForImageTextToText.register(HEIEConfig, HEIEForImplausibility)
AutoImageProcessor.register(
    HEIEConfig, image_processor_classes={"pil": HEIEImageProcessor, "torchvision": HEIEImageProcessor}
)
AutoProcessor.register(HEIEConfig, HEIEProcessor)
PIPELINE_REGISTRY.register_pipeline(
    "image-implausibility",
    pipeline_class=ImplausibilityPipeline,
    pt_model=(AutoModelForImageTextToText,),
    default={"model": (str(DEFAULT_CHECKPOINT), "main")},
    type="multimodal",
)

# The travelling classes cannot know the files of their neighbours; the installed ones push them along.
for _cls in (HEIEForImplausibility, HEIEProcessor, ImplausibilityPipeline):
    _cls.push_to_hub = push_to_hub

# Imported when first used: training and conversion need libraries that inference does not.
_LAZY = {
    "HEIETrainer": "heie_hf.training",
    "HEIETrainingArguments": "heie_hf.training",
    "HEIEDataCollator": "heie_hf.training",
    "from_backbone": "heie_hf.conversion",
}

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


def __getattr__(name: str):
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *_LAZY])
