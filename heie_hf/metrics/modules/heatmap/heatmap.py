"""`evaluate` module: heatmap metrics of heie_hf.metrics, averaged over images."""

import datasets
import evaluate

from heie_hf.metrics import heatmap_metrics
from heie_hf.metrics.module_info import pairs_info

_DESCRIPTION = """\
MSE (all images, and those with an empty target), KLD, CC, SIM, NSS and AUC-Judd of predicted heatmaps in [0, 1].
A configuration name (`evaluate.load(path, "kld")`) gives that metric alone."""
_INPUTS = """
Args:
    predictions: heatmaps, each a list of rows of floats in [0, 1].
    references: target heatmaps; a prediction of another size is resized to its reference.
    size, eps, threshold, normalize: see `heie_hf.metrics.image_metrics`.
"""
_CITATION = "Bylinskii et al., What do different evaluation metrics tell us about saliency models?, TPAMI 2019"


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _INPUTS)
class Heatmap(evaluate.Metric):
    def _info(self):
        heatmap = datasets.Sequence(datasets.Sequence(datasets.Value("float32")))
        return pairs_info(heatmap, _DESCRIPTION, _INPUTS, _CITATION)

    def _compute(self, predictions, references, **parameters):
        row = heatmap_metrics(predictions, references, **parameters)
        del row["per_image"]
        return row if self.config_name == "default" else {self.config_name: row[self.config_name]}
