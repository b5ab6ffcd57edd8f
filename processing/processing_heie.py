"""The processor: image to prompt and patches, annotation to labels, model output to heatmap, score and explanation."""

import numpy as np
import torch
from transformers import BatchFeature
from transformers.image_utils import ImageInput, make_flat_list_of_images
from transformers.processing_utils import MultiModalData, ProcessorMixin

from .explanation_heie import (
    MAP_TOKEN,
    OPENING,
    SCORE_TOKEN,
    SECTIONS,
    TEMPLATE,
    Explanation,
    collapse_map_tokens,
    local_map_token,
)
from .prompts_heie import CHAT_TEMPLATE, INSTRUCTIONS
from .results_heie import ImageResult, image_result
from .targets_heie import checked_targets

Texts = str | list[str]
Sizes = list[tuple[int, int]]  # height and width of each image

IMAGE_TOKEN_NAMES = ("start_image_token", "end_image_token", "context_image_token")
PADDING_ARGUMENTS = ("padding", "max_length", "pad_to_multiple_of")
ASSESSED = ("score", "heatmap", "uncertainty")  # what a result needs of the model's outputs besides the text


class HEIEProcessor(ProcessorMixin):
    """Image processor and tokenizer of HEIE as one.

    Args:
        image_processor: cuts images, and target heatmaps with them, into patches and thumbnail.
        tokenizer: a fast tokenizer with InternVL's image tokens, `[MAP]`, `[MAP_1]` .. and `[SCORE]`.
        image_seq_length: LLM tokens per patch, (image size / patch size * downsample ratio)^2.
        chat_template: the prompt's Jinja template; InternVL3's by default.

    Raises:
        ValueError: if the tokenizer lacks a vocabulary, an image token, or a map or score token for as many patches as
            the image processor may cut.
    """

    result_class = ImageResult

    # The chat template writes every special token itself.
    text_kwargs = {"padding": True, "add_special_tokens": False}

    def __init__(
        self,
        image_processor=None,
        tokenizer=None,
        image_seq_length: int = 256,
        chat_template: str | None = None,
        **kwargs,
    ):
        chat_template = chat_template or CHAT_TEMPLATE
        super().__init__(image_processor, tokenizer, chat_template=chat_template, **kwargs)
        self.image_seq_length = image_seq_length
        _check_image_tokens(tokenizer)
        self.start_image_token = tokenizer.start_image_token
        self.end_image_token = tokenizer.end_image_token
        self.image_token = tokenizer.context_image_token
        self.image_token_id = tokenizer.context_image_token_id

        local_tokens = _local_tokens(image_processor.max_patches, len(tokenizer))
        ids = _special_ids(tokenizer, [MAP_TOKEN, *local_tokens, SCORE_TOKEN])
        self.map_token_id = ids[0]
        self.local_map_token_ids = ids[1:-1]
        self.score_token_id = ids[-1]
        template = tokenizer(list(TEMPLATE), add_special_tokens=False)
        self.template_ids = template["input_ids"]
        if not all(self.template_ids):
            raise ValueError("the tokenizer has no vocabulary for the answer's fixed texts: is tokenizer.json there?")

    @property
    def image_token_ids(self) -> list[int]:
        """All that an image's placeholder expands to; `mm_token_type_ids` marks them."""
        tokens = [self.image_token, self.start_image_token, self.end_image_token]
        return self.tokenizer.convert_tokens_to_ids(tokens)

    def model_token_config(self) -> dict:
        """The fields of `HEIEConfig` that depend on the tokenizer and the patches."""
        special_token_ids = []
        for token_id, token in self.tokenizer.added_tokens_decoder.items():
            if token.special:
                special_token_ids.append(token_id)
        return {
            "map_token_id": self.map_token_id,
            "local_map_token_ids": self.local_map_token_ids,
            "score_token_id": self.score_token_id,
            "template_ids": self.template_ids,
            "special_token_ids": special_token_ids,
            "num_token_ids": max(self.tokenizer.get_vocab().values()) + 1,
            "eos_token_id": self.tokenizer.eos_token_id,
            "image_token_id": self.image_token_id,
            "max_patches": self.image_processor.max_patches,
        }

    def __call__(
        self,
        images: ImageInput | None = None,
        text: Texts | None = None,
        targets: list[dict] | None = None,
        instruction: Texts | None = None,
        return_tensors: str | None = "pt",
        padding_side: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Make a batch of B images (P patches in all) for the model.

        Args:
            images: one image or several, in any form: path, URL, bytes, PIL, array, tensor (uint8 in 0..255, floats in
                [0, 1]), a batch of arrays as its images; see `upright_images`.
            text: prompts with one image placeholder each, as `apply_chat_template` gives them. By default the prompt
                is built from the chat template.
            targets: per image a dict with any of `explanation` (text, or dict of description, regions and analysis),
                `heatmap` (a grey image, read and turned as images are, or an (H, W) array in [0, 1]; of the image's
                own size), `score` (in [0, 1], 1 = plausible) and `learn_text` (False: the explanation is input only).
                Missing or None = unknown.
            instruction: wording of the task, one for all images or one per image; by default `INSTRUCTIONS[0]`.
            padding_side: "left" by default, "right" with targets.

        Returns:
            `input_ids` and `attention_mask` (B, L), `pixel_values` (P, 3, S, S), `num_patches` (B,), `patch_grid`
            (B, 2: columns, rows). With targets the answers follow the prompts, and there are also `labels` (B, L),
            `heatmap_labels` (P, h, w) in [0, 1] and `score_labels` (B,), the last two NaN where unknown.

            `labels` are -100 outside the answers, on local map tokens (they are always forced) and on answers without
            text to learn. The fixed texts are learnt although decoding completes them: to end a section, the model
            itself writes the first three tokens of the next one.

        Raises:
            ValueError: for an image that cannot be used, and for counts, sizes or values that do not fit; with the
                path or the index of the image or target.
        """
        if text is not None and instruction is not None:
            raise ValueError("give `text` (whole prompts) or `instruction`, not both")
        if images is not None:
            images = self.image_processor.fetch_images(images)
            images = make_flat_list_of_images(images)
            if text is None:
                text = self._prompts(len(images), instruction)
        if targets is None:
            padding_side = padding_side or "left"
            return super().__call__(images, text, return_tensors=return_tensors, padding_side=padding_side, **kwargs)

        if isinstance(targets, dict):
            targets = [targets]
        targets = checked_targets(targets, images or [])
        padding = {"padding": True, "padding_side": padding_side or "right"}
        for key in PADDING_ARGUMENTS:
            if key in kwargs:
                padding[key] = kwargs.pop(key)
        kwargs.pop("truncation", None)  # an answer is never cut: what is longer than max_length is an error
        prompts = super().__call__(images, text, padding=False, **kwargs)
        batch = self._add_answers(prompts, targets, padding)
        batch["heatmap_labels"] = self._heatmap_labels(targets, prompts)
        scores = [target["score"] for target in targets]
        batch["score_labels"] = np.array(scores, dtype=np.float32)
        return BatchFeature(batch, tensor_type=return_tensors)

    def _get_num_multimodal_tokens(self, image_sizes: Sizes | None = None, **kwargs) -> MultiModalData:
        """Patches and prompt tokens for images of these (height, width); serving engines plan with it."""
        if image_sizes is None:
            return MultiModalData()
        merged_kwargs = self._merge_kwargs(**kwargs)
        images_kwargs = merged_kwargs["images_kwargs"]
        patches, tokens = [], []
        for height, width in image_sizes:
            count = self.image_processor.get_number_of_image_patches(height, width, images_kwargs)
            patches.append(count)
            tokens.append(self.image_seq_length * count + 2)  # with <img> and </img>
        return MultiModalData(num_image_tokens=tokens, num_image_patches=patches)

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        num_patches = int(image_inputs["num_patches"][image_idx])
        num_local = num_patches - 1
        most = len(self.local_map_token_ids)
        if num_local > most:
            raise ValueError(f"{num_local} patches, but only {most} local map tokens")
        num_tokens = self.image_seq_length * num_patches
        placeholders = self.image_token * num_tokens
        return f"{self.start_image_token}{placeholders}{self.end_image_token}"

    def validate_inputs(self, images=None, text=None, **kwargs):
        super().validate_inputs(images=images, text=text, **kwargs)
        if images is None:
            return
        for prompt in text:
            if prompt.count(self.image_token) != 1:
                raise ValueError(f"every prompt needs exactly one {self.image_token}: one image, one assessment")

    def _prompts(self, num_images: int, instruction: Texts | None) -> list[str]:
        instructions = instruction or INSTRUCTIONS[0]
        if isinstance(instructions, str):
            instructions = [instructions] * num_images
        if len(instructions) != num_images:
            raise ValueError(f"{len(instructions)} instructions for {num_images} images")
        conversations = []
        for wording in instructions:
            self._check_wording(wording)
            content = [{"type": "image"}, {"type": "text", "text": wording}]
            conversations.append([{"role": "user", "content": content}])
        return self.apply_chat_template(conversations, add_generation_prompt=True)

    def _check_wording(self, wording: str) -> None:
        for token in self.tokenizer.added_tokens_encoder:
            if token in wording:
                raise ValueError(f"an instruction contains the special token {token}")

    def _add_answers(self, prompts: BatchFeature, targets: list[dict], padding: dict) -> dict:
        """Append the answers to the prompts, pad, and make the labels."""
        ids, labels = [], []
        explanations = [target["explanation"] for target in targets]
        sections = self._section_ids(explanations)
        for prompt, num_patches, target, free in zip(prompts["input_ids"], prompts["num_patches"], targets, sections):
            answer, answer_labels = self._answer(free, num_patches - 1)
            is_learnt = target["learn_text"] and target["explanation"]
            if not is_learnt:
                answer_labels = [-100] * len(answer)
            prompt_labels = [-100] * len(prompt)
            ids.append(prompt + answer)
            labels.append(prompt_labels + answer_labels)
        _check_lengths(ids, padding.get("max_length"))
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="np", **padding)
        padded_labels = np.full_like(padded["input_ids"], -100)
        is_text = padded["attention_mask"] == 1
        padded_labels[is_text] = np.concatenate(labels)
        return {**prompts, **padded, "labels": padded_labels}

    def _section_ids(self, explanations: list[Explanation]) -> list[list[list[int]]]:
        """Token ids of the three free sections of each explanation; special tokens in them are plain text."""
        sections_of_each = []
        for explanation in explanations:
            texts = [getattr(explanation, section) for section in SECTIONS]
            encoded = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)
            sections_of_each.append(encoded["input_ids"])
        return sections_of_each

    def _answer(self, sections: list[list[int]], num_local: int) -> tuple[list[int], list[int]]:
        """Ids and labels of one answer. Section borders are token borders, as they are while decoding."""
        opening, regions_header, map_lead, analysis_header, score_lead, closing = self.template_ids
        description, regions, analysis = sections
        local_map_tokens = self.local_map_token_ids[:num_local]
        before = opening + description + regions_header + regions + map_lead
        before.append(self.map_token_id)
        after = analysis_header + analysis + score_lead
        after.append(self.score_token_id)
        after += closing
        after.append(self.tokenizer.eos_token_id)
        ids = before + local_map_tokens + after
        labels = before + [-100] * num_local + after
        return ids, labels

    def _heatmap_labels(self, targets: list[dict], prompts: BatchFeature) -> np.ndarray:
        """The target heatmaps, cut as their images were: (P, h, w), NaN where unknown."""
        cells = self.image_processor.heatmap_size
        parts = []
        for target, num_patches, grid in zip(targets, prompts["num_patches"], prompts["patch_grid"]):
            if target["heatmap"] is None:
                part = np.full((num_patches, cells.height, cells.width), np.nan, dtype=np.float32)
            else:
                part = self.image_processor.cut_heatmap(target["heatmap"], grid)
            parts.append(part)
        return np.concatenate(parts)

    def post_process(self, outputs, target_sizes: Sizes | None = None, input_length: int | None = None) -> list[dict]:
        """The model's outputs in the frame of each image.

        Args:
            outputs: of `generate(..., return_dict_in_generate=True)`, `assess` or `forward`: B maps in `heatmap` and
                `uncertainty`, `score` (B,), and `sequences` (B, L), prompt included, where text was written.
            target_sizes: (height, width) of each image; by default the maps keep their own size.
            input_length: length of the padded prompts; by default the answer starts at its opening words.

        Returns:
            Per image an `ImageResult` (a dict) of `score` in [0, 1], `heatmap` ("L" image), `predicted_heatmap`
            (H, W) float32 in [0, 1], `uncertainty` (H, W) float32 (the deviation s), and `description`, `regions`,
            `analysis` and `text` (the stored form), which are "" without `sequences`.

        Raises:
            ValueError: if there are not as many target sizes as images, or if the model gave NaN or infinity.
        """
        heatmaps = outputs["heatmap"]
        if target_sizes is None:
            target_sizes = [heatmap.shape for heatmap in heatmaps]
        if len(target_sizes) != len(heatmaps):
            raise ValueError(f"{len(target_sizes)} target sizes for {len(heatmaps)} images")
        texts = [""] * len(heatmaps)
        if outputs.get("sequences") is not None:
            texts = self._answer_texts(outputs["sequences"], input_length)
        results = []
        for index, (size, text) in enumerate(zip(target_sizes, texts)):
            numbers = {name: outputs[name][index] for name in ASSESSED}
            try:
                result = image_result(numbers, size, text)
            except ValueError as error:
                if len(heatmaps) == 1:
                    raise
                raise ValueError(f"images[{index}]: {error}") from error
            results.append(result)
        return results

    def _answer_texts(self, sequences: torch.Tensor, input_length: int | None) -> list[str]:
        """The answers in stored form, without prompt, end token and padding."""
        texts = []
        for ids in sequences[:, input_length or 0 :].tolist():
            text = self.tokenizer.decode(ids)
            if input_length is None:
                start = text.find(OPENING)
                text = text[max(start, 0) :]
            answer, _, _ = text.partition(self.tokenizer.eos_token)
            texts.append(collapse_map_tokens(answer))
        return texts


def _special_ids(tokenizer, tokens: list[str]) -> list[int]:
    known = tokenizer.added_tokens_encoder
    missing = [token for token in tokens if token not in known]
    if missing:
        raise ValueError(f"the tokenizer lacks the special tokens {', '.join(missing)}")
    return [known[token] for token in tokens]


def _check_image_tokens(tokenizer) -> None:
    missing = [name for name in IMAGE_TOKEN_NAMES if getattr(tokenizer, name, None) is None]
    if missing:
        raise ValueError(f"the tokenizer lacks InternVL's {', '.join(missing)}")


def _local_tokens(max_patches: int, num_tokens: int) -> list[str]:
    if max_patches > num_tokens:  # absurd; refused before names are made for all of them
        raise ValueError(f"{num_tokens} tokens are too few for max_patches = {max_patches}")
    return [local_map_token(patch) for patch in range(1, max_patches + 1)]


def _check_lengths(rows: list[list[int]], max_length: int | None) -> None:
    for index, row in enumerate(rows):
        if max_length is not None and len(row) > max_length:
            raise ValueError(f"prompt and answer {index} have {len(row)} tokens, more than max_length={max_length}")


__all__ = ["HEIEProcessor"]
