"""What HEIE adds to a backbone's vocabulary: `[MAP]`, `[MAP_1]` .. and `[SCORE]`, and their embedding rows."""

import torch
from transformers import PreTrainedTokenizerBase

from heie_hf.processing.explanation_heie import special_tokens

IMAGE_TOKENS = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
TURN_END = "<|im_end|>"


def named_tokens(max_patches: int) -> dict[str, str]:
    """Attribute name to token: InternVL's image tokens and HEIE's own, as `extra_special_tokens` takes them.

    All of them, because that argument replaces what a checkpoint has stored under its name.
    """
    return IMAGE_TOKENS | special_tokens(max_patches)


def end_turns(tokenizer: PreTrainedTokenizerBase) -> None:
    """Make `<|im_end|>`, which ends every InternVL turn, the end token; InternLM2's tokenizers name `</s>`."""
    if TURN_END in tokenizer.get_vocab():
        tokenizer.eos_token = TURN_END


def new_token_ids(tokenizer: PreTrainedTokenizerBase, max_patches: int) -> list[int]:
    """Ids of HEIE's own tokens, the last ones of an extended tokenizer."""
    return tokenizer.convert_tokens_to_ids(list(special_tokens(max_patches).values()))


@torch.no_grad()
def initialise_rows(weight: torch.Tensor, new_ids: list[int]) -> None:
    """Set the new rows of an embedding or output matrix (rows, D) to the mean of the rows before them, in place."""
    weight[new_ids] = weight[: min(new_ids)].mean(dim=0, dtype=torch.float32).to(weight.dtype)


def extend_rows(weight: torch.Tensor, new_ids: list[int]) -> torch.Tensor:
    """A copy of the matrix (rows, D) with the new rows, and never fewer rows than before."""
    extended = weight.new_zeros(max(len(weight), max(new_ids) + 1), weight.shape[1])
    extended[: len(weight)] = weight
    initialise_rows(extended, new_ids)
    return extended
