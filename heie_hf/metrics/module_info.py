"""What the `evaluate` modules in modules/ tell about themselves."""

import datasets
import evaluate
from datasets.features.features import FeatureType


def pairs_info(kind: FeatureType, description: str, inputs: str, citation: str = "") -> evaluate.MetricInfo:
    """Info of a metric whose predictions and references are both of `kind`; `inputs` describes its arguments."""
    features = datasets.Features({"predictions": kind, "references": kind})
    return evaluate.MetricInfo(
        description=description, citation=citation, features=features, inputs_description=inputs
    )
