"""What goes in and what comes out: image, prompt and targets to tensors; outputs to heatmap, score and text."""

from .explanation_heie import Explanation
from .image_processing_heie import HEIEImageProcessor
from .processing_heie import HEIEProcessor

__all__ = ["Explanation", "HEIEImageProcessor", "HEIEProcessor"]
