"""Evaluation: predictions kept on disk, every figure with its interval, reports, comparisons.

result, = evaluate(read_data("scenes"), EvaluatedModel("heie-tiny", load), "results")
differences, num_images = compare_results("results-a", "results-b")
"""

from .comparison import Difference, compare_results
from .data import EvaluationData, read_all, read_data
from .kept_files import DamagedFileError, EvaluationError
from .model import EvaluatedModel, evaluated_model, fingerprint
from .results import Result
from .run import evaluate
from .samples import load_samples

__all__ = [
    "DamagedFileError",
    "Difference",
    "EvaluatedModel",
    "EvaluationData",
    "EvaluationError",
    "Result",
    "compare_results",
    "evaluate",
    "evaluated_model",
    "fingerprint",
    "load_samples",
    "read_all",
    "read_data",
]
