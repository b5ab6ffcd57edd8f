"""Data sets in one schema: `load("richhf18k", root=...)`, `load("scenes-folder")`, `load("synthetic")`."""

from .loading import NAMES, BadRowError, load, log_bad_row, raise_bad_row
from .schema import FEATURES

__all__ = ["FEATURES", "NAMES", "BadRowError", "load", "log_bad_row", "raise_bad_row"]
