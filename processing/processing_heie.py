"""The processor: image to prompt and patches, annotation to labels, model output to heatmap, score and explanation."""

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from transformers import BatchFeature
from transformers.image_utils import ImageInput, make_flat_list_of_images
from transformers.processing_utils import MultiModalData, ProcessorMixin

from .explanation_heie import (
    MAP_TOKEN,
    OPENING,
    SCORE_TOKEN,
    TEMPLATE,
    Explanation,
    collapse_map_tokens,
    local_map_token,
    parse,
)
from .results_heie import ImageResult
from .targets_heie import checked_targets

# InternVL3's template, with the assistant's turn marked for `return_assistant_tokens_mask`.
CHAT_TEMPLATE = (
    "{% macro render(content) %}"
    "{% if content is string %}{{ content }}{% else %}{% for part in content %}"
    "{% if part['type'] == 'image' %}{{ '<IMG_CONTEXT>\\n' }}"
    "{% elif part['type'] == 'text' %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{% endmacro %}"
    "{% for message in messages %}"
    "{{ '<|im_start|>' + message['role'] + '\\n' }}"
    "{% if message['role'] == 'assistant' %}"
    "{% generation %}{{ render(message['content']) }}{{ '<|im_end|>' }}{% endgeneration %}{{ '\\n' }}"
    "{% else %}{{ render(message['content']) }}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)

# Wordings of the one task; training draws from all, the first one is the default.
INSTRUCTIONS = (
    "Find every implausible region in this AI-generated image and explain what is wrong with it.",
    "Mark all implausible areas of this AI-generated image and explain each issue.",
    "Where does this AI-generated image look wrong? Locate each problem and explain it.",
    "List the defects of this AI-generated image, show where they are and explain each one.",
    "Inspect this AI-generated image for flaws, point them out and describe each of them.",
    "Which parts of this AI-generated image are implausible, and why?",
    "Check this AI-generated image for errors, locate them all and say what is wrong.",
    "Point out each problem in this AI-generated image and give the reason.",
)


class HEIEProcessor(ProcessorMixin):
    """Image processor and tokenizer of HEIE as one.

    Args:
        image_processor: cuts images, and target heatmaps with them, into patches and thumbnail.
        tokenizer: a fast tokenizer with InternVL's image tokens, `[MAP]`, `[MAP_1]` .. and `[SCORE]`.
        image_seq_length: LLM tokens per patch, (image size / patch size * downsample ratio)^2.
        chat_template: the prompt's Jinja template; InternVL3's by default.

    Raises:
        ValueError: if the tokenizer lacks a map or score token for as many patches as the image processor may cut.
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
        super().__init__(image_processor, tokenizer, chat_template=chat_template or CHAT_TEMPLATE, **kwargs)
        self.image_seq_length = image_seq_length
        self.start_image_token = tokenizer.start_image_token
        self.end_image_token = tokenizer.end_image_token
        self.image_token = tokenizer.context_image_token
        self.image_token_id = tokenizer.context_image_token_id

        known = tokenizer.added_tokens_encoder
        if image_processor.max_patches > len(tokenizer):  # absurd; refused before names are made for all of them
            raise ValueError(f"{len(tokenizer)} tokens are too few for max_patches = {image_processor.max_patches}")
        local_tokens = [local_map_token(patch) for patch in range(1, image_processor.max_patches + 1)]
        missing = [token for token in (MAP_TOKEN, *local_tokens, SCORE_TOKEN) if token not in known]
        if missing:
            raise ValueError(f"the tokenizer lacks the special tokens {', '.join(missing)}")
        self.map_token_id = known[MAP_TOKEN]
        self.local_map_token_ids = [known[token] for token in local_tokens]
        self.score_token_id = known[SCORE_TOKEN]
        self.template_ids = tokenizer(list(TEMPLATE), add_special_tokens=False)["input_ids"]

    @property
    def image_token_ids(self) -> list[int]:
        """All that an image's placeholder expands to; `mm_token_type_ids` marks them."""
        return self.tokenizer.convert_tokens_to_ids([self.image_token, self.start_image_token, self.end_image_token])

    def model_token_config(self) -> dict:
        """The fields of `HEIEConfig` that depend on the tokenizer and the patches."""
        return {
            "map_token_id": self.map_token_id,
            "local_map_token_ids": self.local_map_token_ids,
            "score_token_id": self.score_token_id,
            "template_ids": self.template_ids,
            "special_token_ids": [id for id, token in self.tokenizer.added_tokens_decoder.items() if token.special],
            "eos_token_id": self.tokenizer.eos_token_id,
            "image_token_id": self.image_token_id,
            "max_patches": self.image_processor.max_patches,
        }

    def __call__(
        self,
        images: ImageInput | None = None,
        text: str | list[str] | None = None,
        targets: list[dict] | None = None,
        instruction: str | list[str] | None = None,
        return_tensors: str | None = "pt",
        padding_side: str | None = None,
        **kwargs,
    ) -> BatchFeature:
        """Make a batch of B images (P patches in all) for the model.

        Args:
            images: one image or a list: PIL, array, tensor, path or URL.
            text: prompts with one image placeholder each, as `apply_chat_template` gives them. By default the prompt
                is built from the chat template.
            targets: per image a dict with any of `explanation` (text, or dict of description, regions and analysis),
                `heatmap` ("L" image or (H, W) array in [0, 1], of the image's own size), `score` (in [0, 1], 1 =
                plausible) and `learn_text` (False: the explanation is input only). Missing or None = unknown.
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
            ValueError: for counts, sizes or values that do not fit, with the index of the target.
        """
        if text is not None and instruction is not None:
            raise ValueError("give `text` (whole prompts) or `instruction`, not both")
        if images is not None:
            images = make_flat_list_of_images(self.image_processor.fetch_images(images))
            text = self._prompts(len(images), instruction) if text is None else text
        if targets is None:
            padding_side = padding_side or "left"
            return super().__call__(images, text, return_tensors=return_tensors, padding_side=padding_side, **kwargs)

        targets = checked_targets([targets] if isinstance(targets, dict) else targets, images or [])
        kwargs.pop("truncation", None)  # an answer is never cut: what is longer than max_length is an error
        padding = {key: kwargs.pop(key) for key in ("padding", "max_length", "pad_to_multiple_of") if key in kwargs}
        padding = {"padding": True, "padding_side": padding_side or "right", **padding}
        prompts = super().__call__(images, text, padding=False, **kwargs)
        batch = self._add_answers(prompts, targets, padding)
        batch["heatmap_labels"] = self._heatmap_labels(targets, prompts)
        batch["score_labels"] = np.array([target["score"] for target in targets], dtype=np.float32)
        return BatchFeature(batch, tensor_type=return_tensors)

    def _get_num_multimodal_tokens(self, image_sizes: list[tuple[int, int]] | None = None, **kwargs) -> MultiModalData:
        """Patches and prompt tokens for images of these (height, width); serving engines plan with it."""
        if image_sizes is None:
            return MultiModalData()
        images_kwargs = self._merge_kwargs(**kwargs)["images_kwargs"]
        patches = [self.image_processor.get_number_of_image_patches(*size, images_kwargs) for size in image_sizes]
        tokens = [self.image_seq_length * count + 2 for count in patches]  # with <img> and </img>
        return MultiModalData(num_image_tokens=tokens, num_image_patches=patches)

    def replace_image_token(self, image_inputs: dict, image_idx: int, **kwargs) -> str:
        num_patches = int(image_inputs["num_patches"][image_idx])
        if num_patches - 1 > len(self.local_map_token_ids):
            raise ValueError(f"{num_patches - 1} patches, but only {len(self.local_map_token_ids)} local map tokens")
        placeholders = self.image_token * (self.image_seq_length * num_patches)
        return f"{self.start_image_token}{placeholders}{self.end_image_token}"

    def validate_inputs(self, images=None, text=None, **kwargs):
        super().validate_inputs(images=images, text=text, **kwargs)
        if images is not None and any(prompt.count(self.image_token) != 1 for prompt in text):
            raise ValueError(f"every prompt needs exactly one {self.image_token}: one image, one assessment")

    def _prompts(self, num_images: int, instruction: str | list[str] | None) -> list[str]:
        instructions = instruction or INSTRUCTIONS[0]
        instructions = [instructions] * num_images if isinstance(instructions, str) else instructions
        if len(instructions) != num_images:
            raise ValueError(f"{len(instructions)} instructions for {num_images} images")
        for token in self.tokenizer.added_tokens_encoder:
            if any(token in wording for wording in instructions):
                raise ValueError(f"an instruction contains the special token {token}")
        contents = [[{"type": "image"}, {"type": "text", "text": wording}] for wording in instructions]
        conversations = [[{"role": "user", "content": content}] for content in contents]
        return self.apply_chat_template(conversations, add_generation_prompt=True)

    def _add_answers(self, prompts: BatchFeature, targets: list[dict], padding: dict) -> dict:
        """Append the answers to the prompts, pad, and make the labels."""
        ids, labels = [], []
        sections = self._section_ids([target["explanation"] for target in targets])
        for prompt, num_patches, target, free in zip(prompts["input_ids"], prompts["num_patches"], targets, sections):
            answer, answer_labels = self._answer(free, num_patches - 1)
            learnt = target["learn_text"] and target["explanation"]
            ids.append(prompt + answer)
            labels.append([-100] * len(prompt) + (answer_labels if learnt else [-100] * len(answer)))
        _check_lengths(ids, padding.get("max_length"))
        padded = self.tokenizer.pad({"input_ids": ids}, return_tensors="np", **padding)
        padded_labels = np.full_like(padded["input_ids"], -100)
        padded_labels[padded["attention_mask"] == 1] = np.concatenate(labels)
        return {**prompts, **padded, "labels": padded_labels}

    def _section_ids(self, explanations: list[Explanation]) -> list[list[list[int]]]:
        """Token ids of the three free sections of each explanation; special tokens in them are plain text."""
        texts = [text for e in explanations for text in (e.description, e.regions, e.analysis)]
        ids = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return [ids[start : start + 3] for start in range(0, len(ids), 3)]

    def _answer(self, sections: list[list[int]], num_local: int) -> tuple[list[int], list[int]]:
        """Ids and labels of one answer. Section borders are token borders, as they are while decoding."""
        opening, regions_header, map_lead, analysis_header, score_lead, closing = self.template_ids
        description, regions, analysis = sections
        before = opening + description + regions_header + regions + map_lead + [self.map_token_id]
        after = analysis_header + analysis + score_lead + [self.score_token_id] + closing
        after.append(self.tokenizer.eos_token_id)
        return before + self.local_map_token_ids[:num_local] + after, before + [-100] * num_local + after

    def _heatmap_labels(self, targets: list[dict], prompts: BatchFeature) -> np.ndarray:
        """The target heatmaps, cut as their images were: (P, h, w), NaN where unknown."""
        cells = self.image_processor.heatmap_size
        parts = []
        for target, num_patches, grid in zip(targets, prompts["num_patches"], prompts["patch_grid"]):
            if target["heatmap"] is None:
                parts.append(np.full((num_patches, cells.height, cells.width), np.nan, dtype=np.float32))
            else:
                parts.append(self.image_processor.cut_heatmap(target["heatmap"], grid))
        return np.concatenate(parts)

    def post_process(
        self, outputs, target_sizes: list[tuple[int, int]] | None = None, input_length: int | None = None
    ) -> list[dict]:
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
        texts = self._answer_texts(outputs.get("sequences"), input_length) or [""] * len(heatmaps)
        results = []
        for index, (size, text) in enumerate(zip(target_sizes, texts)):
            numbers = {name: outputs[name][index] for name in ("score", "heatmap", "uncertainty")}
            try:
                results.append(_result(numbers, size, text))
            except ValueError as error:
                place = f"images[{index}]: " if len(heatmaps) > 1 else ""
                raise ValueError(f"{place}{error}") from error
        return results

    def _answer_texts(self, sequences: torch.Tensor | None, input_length: int | None) -> list[str]:
        """The answers in stored form, without prompt, end token and padding."""
        texts = []
        for ids in [] if sequences is None else sequences[:, input_length or 0 :].tolist():
            text = self.tokenizer.decode(ids)
            start = max(text.find(OPENING), 0) if input_length is None else 0
            texts.append(collapse_map_tokens(text[start:].partition(self.tokenizer.eos_token)[0]))
        return texts


def _result(numbers: dict[str, torch.Tensor], size: tuple[int, int], text: str) -> ImageResult:
    not_finite = [name for name, values in numbers.items() if not values.isfinite().all()]
    if not_finite:
        raise ValueError(f"the model gave NaN or infinity ({', '.join(not_finite)})")
    heatmap = _resized(numbers["heatmap"], size).clip(0, 1)
    levels = (heatmap * 255).round().astype(np.uint8)
    explanation = parse(text)
    return ImageResult(
        score=float(numbers["score"]),
        heatmap=Image.fromarray(levels),
        predicted_heatmap=heatmap,
        uncertainty=_resized(numbers["uncertainty"], size),
        description=explanation.description,
        regions=explanation.regions,
        analysis=explanation.analysis,
        text=text,
    )


def _check_lengths(rows: list[list[int]], max_length: int | None) -> None:
    for index, row in enumerate(rows):
        if max_length is not None and len(row) > max_length:
            raise ValueError(f"prompt and answer {index} have {len(row)} tokens, more than max_length={max_length}")


def _resized(values: torch.Tensor, size: tuple[int, int]) -> np.ndarray:
    """A map (h, w) brought to (H, W), bilinear; averaged where it shrinks."""
    resized = F.interpolate(values[None, None].float().cpu(), size=tuple(size), mode="bilinear", antialias=True)
    return resized[0, 0].numpy()


__all__ = ["HEIEProcessor"]
