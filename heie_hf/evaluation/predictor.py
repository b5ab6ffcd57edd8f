"""From one batch to one shard: a pass of the network, the text that it wrote, and how likely it finds a text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from heie_hf.metrics.text import text_nll
from heie_hf.processing.explanation_heie import SECTIONS, parse
from heie_hf.text_sources import TextSource

from .batches import Batch
from .store import Shard

SCORES = ("score", "token_score", "map_score")
NOT_FINITE = "the model gave NaN or infinity"


@dataclass(frozen=True)
class Predictor:
    """A model with its processor; `text` is what stands in the chain of thought."""

    model: Any
    processor: Any
    text: TextSource

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Shard:
        """One pass of the network over a batch, and for each likelihood one more of its language model.

        An image for which the network gives NaN or infinity is among the shard's failures.
        """
        if not batch.images:
            return Shard.of_failures(batch.failures)
        inputs = self._on_device(batch.inputs)
        features = self.model.get_image_features(inputs.pop("pixel_values"), return_dict=True)
        inputs["mm_encoder_outputs"] = {"image": features}
        outputs = self._run(inputs)
        written = self._written_texts(outputs, batch)
        records: dict[int, dict] = {}  # by their position in the batch
        for position in sound_images(outputs, batch.num_patches):
            record = {"key": batch.keys[position]}
            for name in SCORES:
                record[name] = outputs[name][position].item()
            records[position] = record | written[position]
        if self.text != TextSource.NONE:
            self._add_likelihood(records, "reference", batch, batch.texts, features)
        if self.text == TextSource.GENERATED:
            self._add_likelihood(records, "generated", batch, written, features)
        return self._shard(batch, outputs, records)

    def _on_device(self, inputs) -> dict[str, torch.Tensor]:
        moved = {}
        for name, values in inputs.items():
            dtype = self.model.dtype if values.is_floating_point() else None
            moved[name] = values.to(self.model.device, dtype)
        return moved

    def _run(self, inputs: dict):
        if self.text == TextSource.GENERATED:
            return self.model.generate(**inputs, do_sample=False, return_dict_in_generate=True)
        if self.text == TextSource.NONE:
            return self.model.assess(**inputs)
        return self.model(**inputs, logits_to_keep=1, use_cache=False)

    def _written_texts(self, outputs, batch: Batch) -> list[dict[str, str]]:
        """The sections that the model wrote, empty where it was not to write."""
        if self.text != TextSource.GENERATED:
            return [dict.fromkeys(SECTIONS, "") for _ in batch.images]
        prompt_length = batch.inputs["input_ids"].shape[1]
        answer_ids = outputs.sequences[:, prompt_length:]
        answers = self.processor.tokenizer.batch_decode(answer_ids)
        return [asdict(parse(answer)) for answer in answers]

    def _add_likelihood(
        self, records: dict[int, dict], name: str, batch: Batch, texts: Sequence[dict | None], features
    ) -> None:
        """nll_<name> in nats and num_tokens_<name> of each image that has such a text."""
        positions = []
        chosen_images, chosen_texts = [], []
        for position in records:
            sections = texts[position]
            if sections and any(sections.values()):
                positions.append(position)
                chosen_images.append(batch.images[position])
                chosen_texts.append(sections)
        if not positions:
            return
        chosen_features = _features_of(positions, features, batch.num_patches)
        nll, num_tokens = text_nll(self.model, self.processor, chosen_images, chosen_texts, chosen_features)
        for number, position in enumerate(positions):
            if np.isfinite(nll[number]):
                record = records[position]
                record[f"nll_{name}"] = float(nll[number])
                record[f"num_tokens_{name}"] = int(num_tokens[number])

    def _shard(self, batch: Batch, outputs, records: dict[int, dict]) -> Shard:
        failures = list(batch.failures)
        for position, key in enumerate(batch.keys):
            if position not in records:
                failures.append({"key": key, "reason": NOT_FINITE})
        positions = list(records)
        patches = _patches_of(positions, batch.num_patches)
        # Beside the noise of a 16-bit backbone, 16 bits more do not count.
        map_type = torch.float32 if self.model.dtype == torch.float32 else torch.float16
        logits = outputs.patch_logits[patches].to("cpu", map_type)
        log_deviation = outputs.patch_log_deviation[patches].to("cpu", map_type)
        score_states = outputs.score_states[positions].to("cpu", torch.float32)
        return Shard(
            records=list(records.values()),
            failures=failures,
            logits=logits.numpy(),
            log_deviation=log_deviation.numpy(),
            patch_grid=batch.inputs["patch_grid"][positions].numpy(),
            score_states=score_states.numpy(),
        )


def sound_images(outputs, num_patches: list[int]) -> list[int]:
    """Positions of the images of which everything that is kept, and every fusion of it, is a finite number."""
    image_is_sound = outputs.score_states.isfinite().all(dim=1)  # (B,)
    for name in SCORES:
        image_is_sound &= outputs[name].isfinite()
    deviation = outputs.patch_log_deviation.exp()
    cell_is_sound = outputs.patch_logits.isfinite() & deviation.isfinite()  # (P, h, w)
    cells_of_images = cell_is_sound.split(num_patches)
    sound = []
    for position, cells in enumerate(cells_of_images):
        if image_is_sound[position] and cells.all():
            sound.append(position)
    return sound


def _patches_of(positions: list[int], num_patches: list[int]) -> list[int]:
    """Numbers of the patches that belong to some of a batch's images."""
    patches = []
    start = 0
    for position, count in enumerate(num_patches):
        if position in positions:
            patches.extend(range(start, start + count))
        start += count
    return patches


def _features_of(positions: list[int], features, num_patches: list[int]):
    """The vision features of some of a batch's images; patches come first in both tensors."""
    patches = _patches_of(positions, num_patches)
    return type(features)(
        last_hidden_state=features.last_hidden_state[patches],
        pooler_output=features.pooler_output[patches],
    )
