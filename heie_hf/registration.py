"""Registers this package's classes with Transformers, once, by being imported."""

from transformers import AutoConfig, AutoImageProcessor, AutoModel, AutoModelForImageTextToText, AutoProcessor
from transformers.pipelines import PIPELINE_REGISTRY

from heie_hf.checkpoints import DEFAULT_CHECKPOINT
from heie_hf.hub.push import push_to_hub
from heie_hf.modeling import HEIEConfig, HEIEForImplausibility
from heie_hf.pipeline_heie import ImplausibilityPipeline
from heie_hf.processing import HEIEImageProcessor, HEIEProcessor

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
