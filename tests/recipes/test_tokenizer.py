"""The tokenizer of a model trained from scratch."""

import pytest
from transformers import AutoTokenizer

from heie_hf.processing.explanation_heie import TEMPLATE, Explanation, render
from heie_hf.recipes.tokenizer import train_tokenizer

TEXTS = [
    render(Explanation(f"A {thing}.", f"1. the {part}", "N/A")) for thing in ("dog", "cat") for part in ("leg", "eye")
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(TEXTS, vocab_size=420, max_patches=3)


def test_any_text_survives(tokenizer):
    for text in [*TEXTS, "café — ☃ 🦘\t\x00\r\n  ", ""]:
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_number_of_ids(tokenizer):
    assert len(tokenizer) == 420 == max(tokenizer.get_vocab().values()) + 1


def test_special_tokens(tokenizer):
    names = ["map", "map_1", "map_3", "score", "start_image", "end_image", "context_image", "eos", "pad"]
    tokens = [
        "[MAP]",
        "[MAP_1]",
        "[MAP_3]",
        "[SCORE]",
        "<img>",
        "</img>",
        "<IMG_CONTEXT>",
        "<|im_end|>",
        "<|endoftext|>",
    ]
    assert [getattr(tokenizer, f"{name}_token") for name in names] == tokens
    assert tokenizer("".join(tokens))["input_ids"] == [getattr(tokenizer, f"{name}_token_id") for name in names]
    assert tokenizer.bos_token is None


def test_a_section_border_starts_with_whole_words(tokenizer):
    """The first two tokens of a literal end the section before it."""
    starts = [tokenizer.decode(tokenizer(text)["input_ids"][:2]) for text in TEMPLATE[1:5]]
    assert starts == ["\n\n###", "\nSo", "\n\n###", "\nBased"]


def test_the_same_texts_give_the_same_tokenizer(tokenizer):
    assert train_tokenizer(iter(TEXTS), 420, 3).get_vocab() == tokenizer.get_vocab()


def test_it_survives_saving(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = AutoTokenizer.from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert (loaded.map_token_id, loaded.score_token) == (tokenizer.map_token_id, "[SCORE]")
    assert loaded.padding_side == "left" and loaded.is_fast
    assert all(loaded(text)["input_ids"] == tokenizer(text)["input_ids"] for text in TEXTS)


def test_a_vocabulary_without_room_for_the_bytes_is_refused():
    with pytest.raises(ValueError, match="at least 267, not 266"):
        train_tokenizer(TEXTS, vocab_size=266, max_patches=3)
