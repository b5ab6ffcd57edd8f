"""Images on their way into the network: read, cut and tokenised by the worker processes of a DataLoader."""

from dataclasses import dataclass, field
from typing import Any

import torch
from datasets import Dataset

from heie_hf.processing.image_files_heie import ImageFileError
from heie_hf.text_sources import TextSource

from .data import open_image, reference_text


@dataclass
class Batch:
    """The images of some rows.

    Args:
        keys, images, texts: of the B images that can be read; the text is None where the data set has none.
        inputs: what the processor made of them, None without any image.
        failures: `key` and `reason` of the images that cannot be read.
    """

    keys: list[str] = field(default_factory=list)
    images: list = field(default_factory=list)
    texts: list[dict[str, str] | None] = field(default_factory=list)
    inputs: Any = None
    failures: list[dict] = field(default_factory=list)

    @property
    def num_patches(self) -> list[int]:
        """N_i + 1 of each image."""
        return self.inputs["num_patches"].tolist()


class Batches(torch.utils.data.Dataset):
    """Loads batch after batch, in the worker processes of a DataLoader."""

    def __init__(self, rows: Dataset, batches: list[list[int]], keys: list[str], processor, text: TextSource):
        self.rows = rows
        self.batches = batches
        self.keys = keys
        self.processor = processor
        self.text = text

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        batch = Batch()
        for index in self.batches[number]:
            row = self.rows[index]
            key = self.keys[index]
            try:
                image = open_image(row["image"])
            except ImageFileError as error:
                batch.failures.append({"key": key, "reason": str(error)})
                continue
            batch.keys.append(key)
            batch.images.append(image)
            batch.texts.append(reference_text(row))
        if batch.images:
            batch.inputs = self._inputs(batch)
        return batch

    def _inputs(self, batch: Batch) -> dict[str, torch.Tensor]:
        if self.text != TextSource.REFERENCE:
            return self.processor(images=batch.images, return_tensors="pt")
        targets = [{"explanation": text} for text in batch.texts]
        inputs = self.processor(images=batch.images, targets=targets, return_tensors="pt")
        for name in ("labels", "heatmap_labels", "score_labels"):
            del inputs[name]
        return inputs
