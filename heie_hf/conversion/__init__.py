"""Starting points: HEIE from native InternVL checkpoints and from those in the original layout."""

from .backbone import from_backbone
from .checkpoint import convert
from .original_config import ConversionError

__all__ = ["ConversionError", "convert", "from_backbone"]
