"""Explanations against reference texts and against listed defects."""

from collections.abc import Iterable, Sequence
from importlib.util import find_spec

import numpy as np


def issue_counts(predicted: Iterable[str], reference: Iterable[str]) -> tuple[int, int, int]:
    """(hits, false alarms, misses) of one image: kinds of issue as sets, naming one twice counts once."""
    predicted, reference = set(predicted), set(reference)
    return len(predicted & reference), len(predicted - reference), len(reference - predicted)


def issue_metrics(predicted: Sequence[Iterable[str]], reference: Sequence[Iterable[str]]) -> dict[str, float | int]:
    """issue_precision, issue_recall, issue_f1 over all issues of all images (micro), and num_issues.

    Args:
        predicted: per image the kinds that the generated text names, as `heie_hf.data.synthetic.issues_in(text)` gives.
        reference: per image the kinds that are there. An image without issues counts by its false alarms.

    Returns:
        NaN where nothing is to be divided by: precision if no text names an issue, recall if there are none.

    Raises:
        ValueError: if the two have different lengths.
    """
    counts = [issue_counts(p, r) for p, r in zip(predicted, reference, strict=True)]
    hits, false_alarms, misses = (sum(column) for column in zip(*counts, strict=True)) if counts else (0, 0, 0)
    return {
        "issue_precision": _ratio(hits, hits + false_alarms),
        "issue_recall": _ratio(hits, hits + misses),
        "issue_f1": _ratio(2 * hits, 2 * hits + false_alarms + misses),
        "num_issues": hits + misses,
    }


def rouge_l(predictions: Sequence[str], references: Sequence[str], *, use_stemmer: bool = False) -> np.ndarray:
    """F1 of the longest common subsequence of words, (n,) in [0, 1], by the rouge_score package (Google's).

    It is what `evaluate.load("rouge")` calls, which itself needs the Hub.
    """
    from rouge_score.rouge_scorer import RougeScorer

    scorer = RougeScorer(["rougeL"], use_stemmer=use_stemmer)
    pairs = zip(predictions, references, strict=True)
    return np.array([scorer.score(reference, prediction)["rougeL"].fmeasure for prediction, reference in pairs])


def bert_score(
    predictions: Sequence[str], references: Sequence[str], model: str, num_layers: int, *, device: str = "cpu"
) -> np.ndarray:
    """BERTScore's F1, (n,), by the bert_score package, without rescaling; 0 where either text is empty.

    Args:
        model: a folder or Hub name of an encoder; the figure depends on it, so report it.
        num_layers: the layer that is compared; bert_score's own choice for roberta-large is 17.

    Raises:
        ImportError: if bert_score is not installed.
    """
    if find_spec("bert_score") is None:
        raise ImportError("BERTScore needs the bert_score package: pip install bert_score")
    from bert_score import BERTScorer

    # bert_score 0.3.13 on Transformers 5 fails on empty texts and on tokenizers that were saved without a length limit.
    filled = [bool(p.strip() and r.strip()) for p, r in zip(predictions, references, strict=True)]
    scorer = BERTScorer(model_type=str(model), num_layers=num_layers, device=device)
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, 512)
    scores = np.zeros(len(filled))
    if any(filled):
        kept = [[text for text, keep in zip(texts, filled) if keep] for texts in (predictions, references)]
        scores[filled] = scorer.score(*kept)[2].numpy()
    return scores


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
