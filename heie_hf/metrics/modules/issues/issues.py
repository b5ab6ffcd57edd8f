"""`evaluate` module: precision, recall and F1 of the issues that explanations name."""

import datasets
import evaluate

from heie_hf.metrics.module_info import pairs_info
from heie_hf.metrics.text import issue_metrics

_DESCRIPTION = "Micro-averaged precision, recall and F1 of sets of issue kinds, one set per image."
_INPUTS = """
Args:
    predictions: per image the kinds of issue that the generated text names.
    references: per image the kinds that are there.
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Issues(evaluate.Metric):
    def _info(self):
        return pairs_info(datasets.Sequence(datasets.Value("string")), _DESCRIPTION, _INPUTS)

    def _compute(self, predictions, references):
        return issue_metrics(predictions, references)
