"""Annotation: explanations for images with heatmaps, written by any model behind a server with OpenAI's API."""

from .costs import Estimate
from .run import Outcome, annotate, estimate_costs, summary

__all__ = ["Estimate", "Outcome", "annotate", "estimate_costs", "summary"]
