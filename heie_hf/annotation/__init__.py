"""Annotation: texts about images, written by any model behind a server with OpenAI's API.

`annotate`: explanations of what is implausible, in the three stages of Expl-AIGI-Eval.
`distil`: M3-AGIQA's assessments of quality.
"""

from .aspects import read_conversations
from .costs import Estimate
from .distillation import distil, estimate_distillation
from .review import apply_verdicts, write_sheets
from .run import Outcome, annotate, estimate_costs, summary

__all__ = [
    "Estimate",
    "Outcome",
    "annotate",
    "apply_verdicts",
    "distil",
    "estimate_costs",
    "estimate_distillation",
    "read_conversations",
    "summary",
    "write_sheets",
]
