"""Drawn scenes with planted defects: pictures, pixel-exact masks, heatmaps, scores and texts, from a seed.

scene = draw_scene(seed=0, index=0)
rows = load(num_images=100, seed=0)
"""

from .benchmark import SPLITS, Split
from .export import load, synthesize
from .labels import Defect
from .scene import Scene, draw_pair, draw_scene
from .vocabulary import DEFECTS, PARTS
from .wording import issues_in

__all__ = [
    "DEFECTS",
    "PARTS",
    "SPLITS",
    "Defect",
    "Scene",
    "Split",
    "draw_pair",
    "draw_scene",
    "issues_in",
    "load",
    "synthesize",
]
