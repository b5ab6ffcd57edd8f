"""`evaluate` module: score metrics of heie_hf.metrics."""

import datasets
import evaluate

from heie_hf.metrics import score_metrics
from heie_hf.metrics.module_info import pairs_info

_DESCRIPTION = """\
PLCC, SRCC, KRCC and RMSE of predicted scores. A configuration name (`evaluate.load(path, "srcc")`) gives one alone."""
_INPUTS = """
Args:
    predictions: scores.
    references: target scores on the same scale; images with NaN are left out.
"""
_CITATION = "Video Quality Experts Group, Final report on the validation of objective models, 2000"


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Score(evaluate.Metric):
    def _info(self):
        return pairs_info(datasets.Value("float64"), _DESCRIPTION, _INPUTS, _CITATION)

    def _compute(self, predictions, references):
        row = score_metrics(predictions, references)
        return row if self.config_name == "default" else {self.config_name: row[self.config_name]}
