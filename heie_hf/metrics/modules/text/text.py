"""`evaluate` module: how alike generated and reference texts are."""

import datasets
import evaluate

from heie_hf.metrics.module_info import pairs_info
from heie_hf.metrics.text import bert_score, rouge_l

_DESCRIPTION = "ROUGE-L and, with a model for it, BERTScore: F1 of each pair of texts, averaged over the pairs."
_INPUTS = """
Args:
    predictions: generated texts.
    references: reference texts.
    model: folder or Hub name of BERTScore's encoder; without it there is no BERTScore.
    num_layers: its layer that is compared; by default as in `heie_hf.metrics.text.bert_score`.
"""
_CITATION = "Lin, ROUGE: A package for automatic evaluation of summaries, 2004; Zhang et al., BERTScore, ICLR 2020"


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Text(evaluate.Metric):
    def _info(self):
        return pairs_info(datasets.Value("string"), _DESCRIPTION, _INPUTS, _CITATION)

    def _compute(self, predictions, references, model=None, num_layers=None):
        row = {"rouge_l": float(rouge_l(predictions, references).mean())}
        if model is not None:
            row["bert_score"] = float(bert_score(predictions, references, model, num_layers).mean())
        return row
