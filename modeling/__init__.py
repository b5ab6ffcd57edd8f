"""The network, importable as `heie_hf.modeling`."""

from .configuration_heie import HEIEConfig, HEIEMapperConfig, HEIEScorerConfig
from .modeling_heie import HEIEForImplausibility
from .outputs_heie import HEIEGenerateOutput, HEIEOutput

__all__ = [
    "HEIEConfig",
    "HEIEForImplausibility",
    "HEIEGenerateOutput",
    "HEIEMapperConfig",
    "HEIEOutput",
    "HEIEScorerConfig",
]
