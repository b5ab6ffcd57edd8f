"""The tokenizer of a converted checkpoint gives the ids of the original one."""

import json
import re

import pytest
import sentencepiece
from transformers import AutoProcessor, AutoTokenizer, Qwen2Tokenizer

from heie_hf.conversion import ConversionError, convert
from tests.conversion.originals import CHAT, IMAGE, TEXTS, make_original, sentencepiece_model, write_sentencepiece

UNSEEN = [
    "  two  blanks,\ttab and\nnewline ",
    "ümläute, 漢字 and 🙂",
    "<|im_start|>user\n<img><IMG_CONTEXT></img> why?<|im_end|>",
    "[UNUSED_TOKEN_0] stays a piece of its own",
    "",
]


def slow_ids(text, pieces, special):
    """InternLM2's tokenizer as its slow code works: split at the special tokens, sentencepiece for the rest."""
    ids = []
    for part in re.split(f"({'|'.join(map(re.escape, special))})", text):
        ids += [special[part]] if part in special else pieces.encode(part)
    return ids


@pytest.mark.parametrize("text", TEXTS + UNSEEN)
def test_internlm2_ids_are_those_of_sentencepiece(original, converted, text):
    tokenizer = AutoTokenizer.from_pretrained(converted("internlm2"))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model())
    special = {token: pieces.piece_to_id(f"[UNUSED_TOKEN_{index + 1}]") for index, token in enumerate(CHAT)}
    special |= {token: len(pieces) + index for index, token in enumerate(IMAGE)}
    ids = tokenizer(text, add_special_tokens=False).input_ids
    assert ids == slow_ids(text, pieces, special)
    assert tokenizer.decode(ids) == text
    assert tokenizer(text).input_ids == [1, *ids]  # <s> first, as the original does


def test_a_dummy_prefix_is_kept(tmp_path):
    """Llama's sentencepiece models put a blank before every text, InternLM2's do not."""
    make_original(tmp_path / "source", "InternLM2ForCausalLM")
    write_sentencepiece(tmp_path / "source", add_dummy_prefix=True)
    tokenizer = AutoTokenizer.from_pretrained(convert(tmp_path / "source", tmp_path / "target"))
    pieces = sentencepiece.SentencePieceProcessor(model_proto=sentencepiece_model(add_dummy_prefix=True))
    ids = tokenizer(TEXTS[0], add_special_tokens=False).input_ids
    assert ids == pieces.encode(TEXTS[0])
    assert tokenizer.decode(ids) == TEXTS[0]


@pytest.mark.parametrize("kind", ["internlm2", "qwen2", "llama"])
def test_special_tokens_keep_their_ids_and_new_ones_follow(original, converted, kind):
    directory, config, _ = original(kind)
    tokenizer = AutoTokenizer.from_pretrained(converted(kind))
    stored = json.loads((directory / "tokenizer_config.json").read_text())["added_tokens_decoder"]
    assert {token["content"]: int(index) for index, token in stored.items()}.items() <= tokenizer.get_vocab().items()
    first = config["llm_config"]["vocab_size"]
    new_ids = tokenizer.convert_tokens_to_ids(["[MAP]", "[MAP_1]", "[MAP_4]", "[SCORE]"])
    assert new_ids == [first, first + 1, first + 4, first + 5]
    assert len(tokenizer) == first + 6
    assert tokenizer.map_token_id == first and tokenizer.score_token_id == first + 5
    assert tokenizer.context_image_token == "<IMG_CONTEXT>"
    assert tokenizer.eos_token == "<|im_end|>"
    assert tokenizer.pad_token_id is not None


def test_qwen2_ids_are_those_of_its_own_files(original, converted):
    source = Qwen2Tokenizer.from_pretrained(original("qwen2")[0])
    tokenizer = AutoTokenizer.from_pretrained(converted("qwen2"))
    for text in TEXTS + UNSEEN:
        assert tokenizer(text).input_ids == source(text).input_ids


def prompt_of(directory):
    processor = AutoProcessor.from_pretrained(directory)
    conversation = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "Why?"}]}]
    return processor.apply_chat_template(conversation, add_generation_prompt=True)


def test_prompts_close_turns_as_the_original_does(converted):
    internvl2 = "<s><|im_start|>user\n<IMG_CONTEXT>\nWhy?<|im_end|><|im_start|>assistant\n"
    internvl2_5 = "<|im_start|>user\n<IMG_CONTEXT>\nWhy?<|im_end|>\n<|im_start|>assistant\n"
    assert prompt_of(converted("internlm2")) == internvl2
    assert prompt_of(converted("qwen2")) == internvl2_5


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "tokenizer.model").unlink(), "no tokenizer found"),
        (lambda folder: (folder / "tokenizer_config.json").unlink(), "lack the added tokens <img>, </img>"),
        (lambda folder: write_sentencepiece(folder, normalization_rule_name="nmt_nfkc"), "without normalisation"),
        (lambda folder: write_sentencepiece(folder, model_type="unigram", vocab_size=330), "not a byte-pair model"),
        (lambda folder: (folder / "tokenizer.model").write_bytes(sentencepiece_model(vocab_size=390)), "has a gap"),
    ],
)
def test_an_unsuitable_tokenizer_is_refused(tmp_path, change, message):
    make_original(tmp_path / "source")
    change(tmp_path / "source")
    with pytest.raises(ConversionError, match=message):
        convert(tmp_path / "source", tmp_path / "target")
