"""Images on their way into the network: read, cut and tokenised by the worker processes of a DataLoader."""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from datasets import Dataset

from heie_hf.processing.image_files_heie import ImageFileError

from .data import open_image, reference_text

TextSource = Literal["generated", "none", "reference"]


@dataclass(frozen=True)
class Batch:
    """Images on their way into the network; `inputs` is what the processor made of them, None without any image."""

    keys: list[str]
    images: list
    texts: list[dict[str, str] | None]
    inputs: Any
    failures: list[dict]


class Batches(torch.utils.data.Dataset):
    """Loads batch after batch, in the worker processes of a DataLoader."""

    def __init__(self, rows: Dataset, batches: list[list[int]], keys: list[str], processor, text: TextSource):
        self.rows, self.batches, self.keys, self.processor, self.text = rows, batches, keys, processor, text

    def __len__(self) -> int:
        return len(self.batches)

    def __getitem__(self, number: int) -> Batch:
        batch = Batch([], [], [], None, [])
        for index in self.batches[number]:
            row = self.rows[index]
            try:
                batch.images.append(open_image(row["image"]))
            except ImageFileError as error:
                batch.failures.append({"key": self.keys[index], "reason": str(error)})
            else:
                batch.keys.append(self.keys[index])
                batch.texts.append(reference_text(row))
        inputs = self._inputs(batch.images, batch.texts) if batch.images else None
        return Batch(batch.keys, batch.images, batch.texts, inputs, batch.failures)

    def _inputs(self, images: list, texts: list[dict[str, str] | None]):
        if self.text != "reference":
            return self.processor(images=images, return_tensors="pt")
        targets = [{"explanation": text} for text in texts]
        inputs = self.processor(images=images, targets=targets, return_tensors="pt")
        return {name: values for name, values in inputs.items() if not name.endswith("labels")}
