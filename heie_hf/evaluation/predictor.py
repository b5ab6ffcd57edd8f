"""From one batch to one shard: a pass of the network, the text that it wrote, and how likely it finds a text."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from heie_hf.metrics.text import text_nll
from heie_hf.processing.explanation_heie import parse
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
        records: dict[int, dict] = {}
        for position in sound_images(outputs, batch.num_patches):
            scores = {name: outputs[name][position].item() for name in SCORES}
            records[position] = {"key": batch.keys[position], **scores, **written[position]}
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
        sequences = outputs.get("sequences")
        if sequences is None:
            return [asdict(parse(""))] * len(batch.images)
        prompt_length = batch.inputs["input_ids"].shape[1]
        answers = self.processor.tokenizer.batch_decode(sequences[:, prompt_length:])
        return [asdict(parse(answer)) for answer in answers]

    def _add_likelihood(
        self, records: dict[int, dict], name: str, batch: Batch, texts: Sequence[dict | None], features
    ) -> None:
        """nll_<name> in nats and num_tokens_<name> of each image that has such a text."""
        positions = []
        for position in records:
            sections = texts[position]
            if sections and any(sections.values()):
                positions.append(position)
        if not positions:
            return
        chosen_images = [batch.images[position] for position in positions]
        chosen_texts = [texts[position] for position in positions]
        chosen_features = _features_of(positions, features, batch.num_patches)
        nll, num_tokens = text_nll(self.model, self.processor, chosen_images, chosen_texts, chosen_features)
        for position, image_nll, image_tokens in zip(positions, nll.tolist(), num_tokens.tolist()):
            if np.isfinite(image_nll):
                records[position][f"nll_{name}"] = image_nll
                records[position][f"num_tokens_{name}"] = image_tokens

    def _shard(self, batch: Batch, outputs, records: dict[int, dict]) -> Shard:
        failures = list(batch.failures)
        for position, key in enumerate(batch.keys):
            if position not in records:
                failures.append({"key": key, "reason": NOT_FINITE})
        positions = list(records)
        patches = _patches_of(positions, batch.num_patches)
        # Beside the noise of a 16-bit backbone, 16 bits more do not count.
        map_type = np.float32 if self.model.dtype == torch.float32 else np.float16
        return Shard(
            records=list(records.values()),
            failures=failures,
            logits=outputs.patch_logits[patches].cpu().numpy().astype(map_type),
            log_deviation=outputs.patch_log_deviation[patches].cpu().numpy().astype(map_type),
            patch_grid=batch.inputs["patch_grid"][positions].numpy(),
            score_states=outputs.score_states[positions].float().cpu().numpy(),
        )


def sound_images(outputs, num_patches: list[int]) -> list[int]:
    """Positions of the images of which everything that is kept, and every fusion of it, is a finite number."""
    patch_values = (outputs.patch_logits, outputs.patch_log_deviation.exp())  # (P, h, w)
    image_values = (outputs.score_states, *(outputs[name][:, None] for name in SCORES))  # (B, ..)
    patch_is_sound = torch.cat(patch_values, dim=1).isfinite().all(dim=(1, 2))
    image_is_sound = torch.cat(image_values, dim=1).isfinite().all(dim=1)
    sound = []
    for position, patches in enumerate(patch_is_sound.split(num_patches)):
        if image_is_sound[position] and patches.all():
            sound.append(position)
    return sound


def _patches_of(positions: list[int], num_patches: list[int]) -> list[int]:
    """Numbers of the patches that belong to some of a batch's images."""
    starts = np.cumsum([0, *num_patches]).tolist()
    patches = []
    for position in positions:
        patches += range(starts[position], starts[position + 1])
    return patches


def _features_of(positions: list[int], features, num_patches: list[int]):
    """The vision features of some of a batch's images; patches come first in both tensors."""
    patches = _patches_of(positions, num_patches)
    return type(features)(
        last_hidden_state=features.last_hidden_state[patches],
        pooler_output=features.pooler_output[patches],
    )
