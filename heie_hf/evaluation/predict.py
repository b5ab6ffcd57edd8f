"""From images to shards: the only part of an evaluation that runs the network."""

import time

import numpy as np
import torch
from accelerate import PartialState
from torch.utils.data import DataLoader
from tqdm import tqdm

from heie_hf.metrics.text import text_nll
from heie_hf.processing.image_files_heie import ImageFileError

from .batches import Batch, Batches, TextSource
from .data import SECTIONS, EvaluationData, open_image
from .heads import FILE as HEADS_FILE
from .heads import recorded_inputs, save_heads
from .model import EvaluatedModel
from .store import PredictionStore, Shard


def predict(
    data: EvaluationData,
    model: EvaluatedModel,
    store: PredictionStore,
    *,
    text: TextSource = "generated",
    batch_size: int = 8,
    num_workers: int = 2,
) -> float | None:
    """Fill the store with what it lacks of the data set; on several processes, each does its share.

    The batches are the same for any number of processes, so that the numbers are.

    Args:
        text: the model's own chain of thought, one without text, or the data set's texts (those without a text have
            none). Table 6e.
        num_workers: processes that load and cut images meanwhile.

    Returns:
        images per second of this call, None if there was nothing to do.
    """
    state = PartialState()
    pending = pending_rows(data, store)
    state.wait_for_everyone()  # all have looked before the first writes
    batches = [pending[start : start + batch_size] for start in range(0, len(pending), batch_size)]
    if not batches:
        return None
    network, processor = model.load()
    if state.is_main_process and not (store.folder / HEADS_FILE).exists():
        save_heads(network, store.folder)
    mine = batches[state.process_index :: state.num_processes]
    loader = DataLoader(
        Batches(data.rows, mine, data.keys, processor, text),
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
    )
    start = time.perf_counter()
    hidden = None if state.is_main_process else True  # None: shown on a terminal
    with tqdm(total=sum(map(len, mine)), desc=data.label, unit="image", disable=hidden) as bar:
        for batch in loader:
            store.write(predict_batch(network, processor, batch, text))
            bar.update(len(batch.keys) + len(batch.failures))
    state.wait_for_everyone()
    return len(pending) / (time.perf_counter() - start)


def pending_rows(data: EvaluationData, store: PredictionStore) -> list[int]:
    """Rows without a prediction. Those whose image could not be read count again once it can."""
    unreadable = {key for key, _ in store.failures(data.keys)}
    missing = [index for index, key in enumerate(data.keys) if key not in store.shard_of]
    return [index for index in missing if data.keys[index] not in unreadable or _readable(data.rows[index])]


def _readable(row: dict) -> bool:
    try:
        open_image(row["image"])
    except ImageFileError:
        return False
    return True


def predict_batch(model, processor, batch: Batch, text: TextSource) -> Shard:
    """One pass of the network over a batch, and for each likelihood one more of its language model."""
    if not batch.images:
        empty = np.zeros((0, 1, 1), np.float32)
        return Shard([], batch.failures, empty, empty, np.zeros((0, 2), int), np.zeros((0, 1), np.float32))
    with recorded_inputs(model) as seen, torch.no_grad():
        inputs = _on_device(batch.inputs, model)
        features = model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
        outputs = _run(model, inputs | {"mm_encoder_outputs": {"image": features}}, text)
    length = batch.inputs["input_ids"].shape[1]
    written = processor.post_process(outputs, input_length=length)
    scores = {name: outputs[name].tolist() for name in ("score", "token_score", "map_score")}
    records = [
        {"key": key, **{name: values[i] for name, values in scores.items()}, **_texts(written[i])}
        for i, key in enumerate(batch.keys)
    ]
    if text != "none":
        _add_likelihood(records, "reference", model, processor, batch, batch.texts, features)
    if text == "generated":
        own = [_texts(result) for result in written]
        _add_likelihood(records, "generated", model, processor, batch, own, features)
    # Beside the noise of a 16-bit backbone, 16 bits more do not count.
    kind = np.float32 if model.dtype == torch.float32 else np.float16
    maps = {name: seen[name].cpu().numpy().astype(kind) for name in ("logits", "log_deviation")}
    grid, states = batch.inputs["patch_grid"].numpy(), seen["states"].float().cpu().numpy()
    return Shard(records, batch.failures, **maps, patch_grid=grid, score_states=states)


def _on_device(inputs, model) -> dict[str, torch.Tensor]:
    return {
        name: values.to(model.device, model.dtype if values.is_floating_point() else None)
        for name, values in inputs.items()
    }


def _run(model, inputs: dict, text: TextSource):
    if text == "generated":
        return model.generate(**inputs, do_sample=False, return_dict_in_generate=True)
    return model.assess(**inputs) if text == "none" else model(**inputs, logits_to_keep=1, use_cache=False)


def _texts(result: dict) -> dict[str, str]:
    return {name: result[name] for name in SECTIONS}


def _add_likelihood(
    records: list[dict], name: str, model, processor, batch: Batch, texts: list[dict | None], features
) -> None:
    """nll_<name> in nats and num_tokens_<name> of each image that has such a text."""
    having = [i for i, text in enumerate(texts) if text and any(text.values())]
    if having:
        images, texts = ([values[i] for i in having] for values in (batch.images, texts))
        some = _features_of(features, batch.inputs["num_patches"].tolist(), having)
        nll, num_tokens = text_nll(model, processor, images, texts, some)
        for i, *values in zip(having, nll.tolist(), num_tokens.tolist()):
            records[i] |= dict(zip((f"nll_{name}", f"num_tokens_{name}"), values))


def _features_of(features, num_patches: list[int], images: list[int]):
    """The vision features of some images of a batch, patches first in both tensors."""
    parts = {name: features[name].split(num_patches) for name in ("last_hidden_state", "pooler_output")}
    return type(features)(**{name: torch.cat([of[i] for i in images]) for name, of in parts.items()})


def _unchanged(batch: Batch) -> Batch:
    return batch
