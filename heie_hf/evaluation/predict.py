"""From images to shards: the only part of an evaluation that runs the network."""

import logging
import time

from accelerate import PartialState
from torch.utils.data import DataLoader
from tqdm import tqdm

from heie_hf.processing.image_files_heie import ImageFileError
from heie_hf.text_sources import TextSource

from .batches import Batch, Batches
from .data import EvaluationData, open_image
from .heads import FILE as HEADS_FILE
from .heads import save_heads
from .model import EvaluatedModel
from .predictor import Predictor
from .store import PredictionStore

logger = logging.getLogger("heie_hf.evaluation")


def predict(
    data: EvaluationData,
    model: EvaluatedModel,
    store: PredictionStore,
    *,
    text: TextSource = TextSource.GENERATED,
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
    needs_heads = not (store.folder / HEADS_FILE).exists()
    state.wait_for_everyone()  # all have looked before the first writes
    if not pending and not needs_heads:
        return None
    predictor = Predictor(*model.load(), text)
    if state.is_main_process:
        for damage in store.index.damaged:
            logger.warning(damage)
        if needs_heads:
            save_heads(predictor.model, store.folder)
    start_time = time.perf_counter()
    starts = range(0, len(pending), batch_size)
    batches = [pending[start : start + batch_size] for start in starts]
    own_batches = batches[state.process_index :: state.num_processes]
    loaded = DataLoader(
        Batches(data.rows, own_batches, data.keys, predictor.processor, text),
        batch_size=None,
        num_workers=num_workers,
        collate_fn=_unchanged,
    )
    num_images = sum(map(len, own_batches))
    hidden = None if state.is_main_process else True  # None: shown on a terminal
    with tqdm(total=num_images, desc=data.label, unit="image", disable=hidden) as progress:
        for batch in loaded:
            store.write(predictor(batch))
            progress.update(len(batch.keys) + len(batch.failures))
    state.wait_for_everyone()
    if not pending:
        return None
    return len(pending) / (time.perf_counter() - start_time)


def _unchanged(batch: Batch) -> Batch:
    return batch


def pending_rows(data: EvaluationData, store: PredictionStore) -> list[int]:
    """Rows without a prediction. Those that had none count again once their image can be read."""
    failed = dict(store.failures(data.keys))
    pending = []
    for index, key in enumerate(data.keys):
        if key in store.shard_of:
            continue
        if key not in failed or _readable(data.rows[index]):
            pending.append(index)
    return pending


def _readable(row: dict) -> bool:
    try:
        open_image(row["image"])
    except ImageFileError:
        return False
    return True
