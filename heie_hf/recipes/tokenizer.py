"""The small byte-level BPE tokenizer of a model that is trained from scratch."""

import json
from collections.abc import Iterable, Iterator

from tokenizers import pre_tokenizers, trainers
from transformers import Qwen2Tokenizer

from heie_hf.processing.explanation_heie import TEMPLATE, special_tokens
from heie_hf.processing.processing_heie import INSTRUCTIONS

# InternVL's names and tokens, so that the processor reads this tokenizer as it reads a pretrained one.
IMAGE_TOKENS = {"start_image_token": "<img>", "end_image_token": "</img>", "context_image_token": "<IMG_CONTEXT>"}
CHAT_TOKENS = {"chat_start_token": "<|im_start|>"}
EOS_TOKEN, PAD_TOKEN = "<|im_end|>", "<|endoftext|>"


def train_tokenizer(texts: Iterable[str], vocab_size: int, max_patches: int = 12) -> Qwen2Tokenizer:
    """Train a tokenizer of Qwen2's kind (its pre-tokenizer, byte fallback, NFC) with HEIE's special tokens.

    The fixed texts of the chain of thought and the instructions are learnt along with `texts`, so that a section
    border starts with whole words ("So", "Based"): its first three tokens end a section while decoding.

    Args:
        texts: free sections or whole explanations, as many as are at hand.
        vocab_size: number of ids, the 256 bytes and the special tokens included; few texts may give fewer.
        max_patches: how many local map tokens `[MAP_1]` .. there are.

    Returns:
        A fast tokenizer with `map_token`, `score_token`, `start_image_token` .. and their `_id`, also after a reload.

    Raises:
        ValueError: if `vocab_size` has no room for the 256 bytes and the special tokens.
    """
    named_tokens = IMAGE_TOKENS | CHAT_TOKENS | special_tokens(max_patches)
    num_merged = vocab_size - len(named_tokens) - 2  # the end and the padding token
    if num_merged < 256:
        raise ValueError(f"vocab_size must be at least {vocab_size - num_merged + 256}, not {vocab_size}")

    backend = Qwen2Tokenizer().backend_tokenizer
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=num_merged, initial_alphabet=alphabet, show_progress=False)
    backend.train_from_iterator(_with_fixed_texts(texts), trainer=trainer)
    model = json.loads(backend.to_str())["model"]
    return Qwen2Tokenizer(
        vocab=model["vocab"],
        merges=[tuple(merge) for merge in model["merges"]],
        unk_token=None,
        eos_token=EOS_TOKEN,
        pad_token=PAD_TOKEN,
        extra_special_tokens=named_tokens,
        padding_side="left",
    )


def _with_fixed_texts(texts: Iterable[str]) -> Iterator[str]:
    """Each text with the template once and one of the instructions."""
    for index, text in enumerate(texts):
        yield from (text, *TEMPLATE, INSTRUCTIONS[index % len(INSTRUCTIONS)], "user\nassistant\n")
