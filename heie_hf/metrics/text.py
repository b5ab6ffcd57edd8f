"""Explanations against listed defects and reference texts, and how likely a model finds a text."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Literal

import numpy as np

SECTIONS = ("description", "regions", "analysis")


def issue_counts(predicted: Iterable[str], reference: Iterable[str]) -> tuple[int, int, int]:
    """(hits, false alarms, misses) of one image: kinds of issue as sets, naming one twice counts once."""
    predicted, reference = set(predicted), set(reference)
    return len(predicted & reference), len(predicted - reference), len(reference - predicted)


def issue_metrics(predicted: Sequence[Iterable[str]], reference: Sequence[Iterable[str]]) -> dict[str, float | int]:
    """issue_precision, issue_recall, issue_f1 over all issues of all images (micro), and num_issues.

    Args:
        predicted: per image the kinds that the generated text names, as `heie_hf.data.synthetic.issues_in` finds.
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


def bert_score_layer(model: str) -> int:
    """The layer of an encoder that bert_score compares: its authors' choice for models they tried, else the last.

    Raises:
        ImportError: if bert_score is not installed.
        OSError: if there is no such model.
    """
    _require_bert_score()
    from bert_score.utils import model2layers
    from transformers import AutoConfig

    return model2layers.get(model, AutoConfig.from_pretrained(model).num_hidden_layers)


def bert_score(
    predictions: Sequence[str],
    references: Sequence[str],
    model: str,
    num_layers: int | None = None,
    *,
    device: str | None = None,
) -> np.ndarray:
    """BERTScore's F1, (n,), by the bert_score package, without rescaling; 0 where either text is empty.

    Args:
        model: a folder or Hub name of an encoder; the figure depends on it, so report it.
        num_layers: the layer that is compared, by default `bert_score_layer(model)`.
        device: by default the first GPU, or the CPU.

    Raises:
        ImportError, OSError: as `bert_score_layer` does.
    """
    _require_bert_score()
    from bert_score import BERTScorer

    num_layers = bert_score_layer(model) if num_layers is None else num_layers

    # bert_score 0.3.13 on Transformers 5 fails on empty texts and on tokenizers without a length limit.
    filled = [bool(p.strip() and r.strip()) for p, r in zip(predictions, references, strict=True)]
    scorer = BERTScorer(model_type=str(model), num_layers=num_layers, device=device)
    scorer._tokenizer.model_max_length = min(scorer._tokenizer.model_max_length, 512)
    scores = np.zeros(len(filled))
    if any(filled):
        kept = [[text for text, keep in zip(texts, filled) if keep] for texts in (predictions, references)]
        scores[filled] = scorer.score(*kept)[2].numpy()
    return scores


def _require_bert_score() -> None:
    if find_spec("bert_score") is None:
        raise ImportError("BERTScore needs the bert_score package: pip install bert_score")


def perplexity(
    model,
    processor,
    rows: Sequence[Mapping],
    text: Literal["reference", "generated"] = "reference",
    batch_size: int = 8,
) -> dict[str, float | int]:
    """`perplexity_<text>` and `num_tokens_<text>`: e^(mean NLL per token) of the free text, all images together.

    Args:
        rows: rows of the data schema; "reference" reads their description, regions and analysis, and leaves out rows
            that have none of them.
        text: the rows' own text, or the text that the model writes greedily for their images. The two answer different
            questions: the first falls as the model learns the data, the second as it grows sure of itself.
    """
    nll, num_tokens = [], []
    for start in range(0, len(rows), batch_size):
        batch = [rows[index] for index in range(start, min(start + batch_size, len(rows)))]
        if text == "reference":
            batch = [row for row in batch if any(row.get(section) for section in SECTIONS)]
        if batch:
            images = [row["image"] for row in batch]
            texts = batch if text == "reference" else generate_texts(model, processor, images)
            for sums, values in zip((nll, num_tokens), text_nll(model, processor, images, texts)):
                sums.extend(values)
    value = float(np.exp(np.sum(nll) / np.sum(num_tokens))) if np.sum(num_tokens) else float("nan")
    return {f"perplexity_{text}": value, f"num_tokens_{text}": int(np.sum(num_tokens))}


def generate_texts(model, processor, images: Sequence) -> list[dict[str, str]]:
    """The model's own greedy description, regions and analysis for each image."""
    inputs = processor(images=list(images), return_tensors="pt").to(model.device, model.dtype)
    outputs = model.generate(**inputs, do_sample=False, return_dict_in_generate=True)
    sizes = [(image.height, image.width) for image in images]
    results = processor.post_process(outputs, target_sizes=sizes, input_length=inputs["input_ids"].shape[1])
    return [{section: result[section] for section in SECTIONS} for result in results]


def text_nll(
    model, processor, images: Sequence, texts: Sequence[Mapping[str, str]], features=None
) -> tuple[np.ndarray, np.ndarray]:
    """Negative log-likelihood in nats of each image's free text, teacher-forced, and its number of tokens: (B,) each.

    The free text is description, regions and analysis. The fixed texts around them do not count: they are forced while
    decoding and would pull every perplexity towards 1.

    Args:
        texts: per image the sections by name; missing and None are empty.
        features: what `model.get_image_features` gave for these images, so that the vision tower need not run again.
    """
    import torch

    targets = [{"explanation": {section: text.get(section) or "" for section in SECTIONS}} for text in texts]
    batch = processor(images=list(images), targets=targets, return_tensors="pt").to(model.device, model.dtype)
    ids, is_answer, counts = batch["input_ids"], batch["labels"] != -100, batch["num_patches"].tolist()
    free = torch.stack([_free_text(*row, model.config) for row in zip(ids, is_answer, counts)])
    start = max(1, int(is_answer.any(dim=0).int().argmax()))  # first answer token; no logits are needed before it
    inputs = {name: values for name, values in batch.items() if not name.endswith("labels")}
    if features is not None:
        inputs["mm_encoder_outputs"] = {"image": features}
    with torch.inference_mode():
        logits = model(**inputs, logits_to_keep=ids.shape[1] - start + 1).logits[:, :-1]  # (B, L - start, vocabulary)
    free, ids = free[:, start:], ids[:, start:]
    nll = torch.zeros(free.shape, device=logits.device)
    nll[free] = torch.nn.functional.cross_entropy(logits[free].float(), ids[free], reduction="none")
    return nll.double().sum(dim=1).cpu().numpy(), free.sum(dim=1).cpu().numpy()


def _free_text(ids, is_answer, num_patches: int, config):
    """Mask (L,) of the tokens between the fixed texts of one row's chain of thought."""
    import torch

    from heie_hf.modeling.generation_heie import chain_of_thought_literals

    opening, *borders = chain_of_thought_literals(config, num_patches)
    mask, tokens = torch.zeros_like(is_answer), ids.tolist()
    if not is_answer.any():  # no text at all
        return mask
    start = int(is_answer.nonzero()[0]) + len(opening)
    for border in borders:
        end = next(i for i in range(start, len(tokens)) if tokens[i : i + len(border)] == border)
        mask[start:end] = True
        start = end + len(border)
    return mask


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
