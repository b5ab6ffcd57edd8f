"""Annotation: explanations for images with heatmaps, written by any model behind a server with OpenAI's API."""

from .costs import Estimate
from .review import apply_verdicts, write_sheets
from .run import Outcome, annotate, estimate_costs, summary

__all__ = ["Estimate", "Outcome", "annotate", "apply_verdicts", "estimate_costs", "summary", "write_sheets"]
