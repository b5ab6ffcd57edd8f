"""Explanations against listed defects and reference texts, and how likely a model finds a text."""

from collections.abc import Iterable, Mapping, Sequence
from importlib.util import find_spec
from typing import Literal

import numpy as np

from heie_hf.processing.explanation_heie import SECTIONS


def issue_counts(predicted: Iterable[str], reference: Iterable[str]) -> tuple[int, int, int]:
    """(hits, false alarms, misses) of one image: kinds of issue as sets, naming one twice counts once.

    Raises:
        ValueError: for a text in place of a set of kinds.
    """
    if isinstance(predicted, str) or isinstance(reference, str):
        raise ValueError("kinds of issue are a set or list of texts, not one text")
    predicted = set(predicted)
    reference = set(reference)
    hits = predicted & reference
    false_alarms = predicted - reference
    misses = reference - predicted
    return len(hits), len(false_alarms), len(misses)


def issue_metrics(predicted: Sequence[Iterable[str]], reference: Sequence[Iterable[str]]) -> dict[str, float | int]:
    """issue_precision, issue_recall, issue_f1 over all issues of all images (micro), and num_issues.

    Args:
        predicted: per image the kinds that the generated text names, as `heie_hf.data.synthetic.issues_in` finds.
        reference: per image the kinds that are there. An image without issues counts by its false alarms.

    Returns:
        NaN where nothing is to be divided by: precision if no text names an issue, recall if there are none.

    Raises:
        ValueError: if the two have different lengths; naming the image by its number, as `issue_counts` does.
    """
    hits = false_alarms = misses = 0
    for index, (named, there) in enumerate(zip(predicted, reference, strict=True)):
        try:
            counts = issue_counts(named, there)
        except ValueError as error:
            raise ValueError(f"image {index}: {error}") from error
        hits += counts[0]
        false_alarms += counts[1]
        misses += counts[2]
    num_named = hits + false_alarms
    num_there = hits + misses
    return {
        "issue_precision": _ratio(hits, num_named),
        "issue_recall": _ratio(hits, num_there),
        "issue_f1": _ratio(2 * hits, num_named + num_there),
        "num_issues": num_there,
    }


def rouge_l(predictions: Sequence[str], references: Sequence[str], *, use_stemmer: bool = False) -> np.ndarray:
    """F1 of the longest common subsequence of words, (n,) in [0, 1], by the rouge_score package (Google's).

    It is what `evaluate.load("rouge")` calls, which itself needs the Hub.

    Raises:
        ValueError: if the two have different lengths, or one that is no text; names it by its number.
    """
    from rouge_score.rouge_scorer import RougeScorer

    _check_texts(predictions, references)
    scorer = RougeScorer(["rougeL"], use_stemmer=use_stemmer)
    scores = np.zeros(len(predictions))
    for index, reference in enumerate(references):
        overlap = scorer.score(reference, predictions[index])["rougeL"]
        scores[index] = overlap.fmeasure
    return scores


def bert_score_layer(model: str) -> int:
    """The layer of an encoder that bert_score compares: its authors' choice for models they tried, else the last.

    Raises:
        ImportError: if bert_score is not installed.
        OSError: if there is no such model.
    """
    _require_bert_score()
    from bert_score.utils import model2layers
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(model, trust_remote_code=False)
    return model2layers.get(model, config.num_hidden_layers)


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
        ValueError: as `rouge_l` does.
    """
    _require_bert_score()
    from bert_score import BERTScorer

    _check_texts(predictions, references)
    if num_layers is None:
        num_layers = bert_score_layer(model)
    scorer = BERTScorer(model_type=str(model), num_layers=num_layers, device=device)
    # bert_score 0.3.13 on Transformers 5 fails on tokenizers without a length limit, and on empty texts.
    tokenizer = scorer._tokenizer
    tokenizer.model_max_length = min(tokenizer.model_max_length, 512)
    filled = []
    for index, reference in enumerate(references):
        if reference.strip() and predictions[index].strip():
            filled.append(index)
    scores = np.zeros(len(references))
    if filled:
        candidates = [predictions[index] for index in filled]
        originals = [references[index] for index in filled]
        _, _, f1 = scorer.score(candidates, originals)
        scores[filled] = f1.numpy()
    return scores


def _check_texts(predictions: Sequence[str], references: Sequence[str]) -> None:
    if len(predictions) != len(references):
        raise ValueError(f"there are {len(predictions)} predictions and {len(references)} references")
    for name, texts in (("prediction", predictions), ("reference", references)):
        for index, text in enumerate(texts):
            if not isinstance(text, str):
                raise ValueError(f"{name} {index} is no text but {text!r:.40}")


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
    nll, num_tokens = 0.0, 0
    for start in range(0, len(rows), batch_size):
        batch = []
        stop = min(start + batch_size, len(rows))
        for index in range(start, stop):
            row = rows[index]
            if text == "generated" or any(row.get(section) for section in SECTIONS):
                batch.append(row)
        if not batch:
            continue
        images = [row["image"] for row in batch]
        texts = batch
        if text == "generated":
            texts = generate_texts(model, processor, images)
        nll_of_rows, num_tokens_of_rows = text_nll(model, processor, images, texts)
        nll += nll_of_rows.sum()
        num_tokens += int(num_tokens_of_rows.sum())
    value = float("nan")
    if num_tokens:
        value = float(np.exp(nll / num_tokens))
    return {f"perplexity_{text}": value, f"num_tokens_{text}": num_tokens}


def generate_texts(model, processor, images: Sequence) -> list[dict[str, str]]:
    """The model's own greedy description, regions and analysis for each image."""
    inputs = processor(images=list(images), return_tensors="pt")
    inputs = inputs.to(model.device, model.dtype)
    outputs = model.generate(**inputs, do_sample=False, return_dict_in_generate=True)
    sizes = [(image.height, image.width) for image in images]
    prompt_length = inputs["input_ids"].shape[1]
    texts = []
    for result in processor.post_process(outputs, target_sizes=sizes, input_length=prompt_length):
        texts.append({section: result[section] for section in SECTIONS})
    return texts


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

    targets = []
    for text in texts:
        sections = {section: text.get(section) or "" for section in SECTIONS}
        targets.append({"explanation": sections})
    batch = processor(images=list(images), targets=targets, return_tensors="pt")
    batch = batch.to(model.device, model.dtype)
    is_answer = batch.pop("labels") != -100  # (B, L)
    for name in ("heatmap_labels", "score_labels"):
        batch.pop(name, None)
    if features is not None:
        batch["mm_encoder_outputs"] = {"image": features}
    ids = batch["input_ids"]
    is_free = torch.zeros_like(is_answer)
    for index, num_patches in enumerate(batch["num_patches"].tolist()):
        is_free[index] = _free_text(ids[index], is_answer[index], num_patches, model.config)
    is_answer_of_any = is_answer.any(dim=0).int()
    start = max(1, int(is_answer_of_any.argmax()))  # first answer token; no logits are needed before it
    is_free = is_free[:, start:]  # (B, L - start)
    ids = ids[:, start:]
    with torch.inference_mode():
        outputs = model(**batch, logits_to_keep=ids.shape[1] + 1)
    logits = outputs.logits[:, :-1]  # (B, L - start, vocabulary)
    free_logits = logits[is_free].float()
    free_ids = ids[is_free]
    nll = torch.zeros(is_free.shape, device=logits.device)
    nll[is_free] = torch.nn.functional.cross_entropy(free_logits, free_ids, reduction="none")
    sums = nll.double().sum(dim=1)
    num_tokens = is_free.sum(dim=1)
    return sums.cpu().numpy(), num_tokens.cpu().numpy()


def _free_text(ids, is_answer, num_patches: int, config):
    """Mask (L,) of the tokens between the fixed texts of one row's chain of thought."""
    import torch

    from heie_hf.modeling.generation_heie import chain_of_thought_literals

    mask = torch.zeros_like(is_answer)
    if not is_answer.any():  # no text at all
        return mask
    opening, *borders = chain_of_thought_literals(config, num_patches)
    tokens = ids.tolist()
    start = int(is_answer.nonzero()[0]) + len(opening)
    for border in borders:
        end = _index_of(border, tokens, start)
        mask[start:end] = True
        start = end + len(border)
    return mask


def _index_of(run: list[int], tokens: list[int], start: int) -> int:
    """Where the run of tokens begins, looked for from `start`."""
    for index in range(start, len(tokens)):
        if tokens[index : index + len(run)] == run:
            return index
    raise ValueError("a fixed text of the chain of thought is missing")


def _ratio(numerator: int, denominator: int) -> float:
    return numerator / denominator if denominator else float("nan")
