"""Tokenizers of original InternVL checkpoints, built from their files; no code of the checkpoint is run."""

import json
from pathlib import Path

from tokenizers import AddedToken, Tokenizer, decoders, normalizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast, Qwen2Tokenizer
from transformers.convert_slow_tokenizer import generate_merges

from .new_tokens import IMAGE_TOKENS
from .original_config import ConversionError

_BPE, _USER_DEFINED = 2, 4  # sentencepiece's numbers for a model type and a piece type

#: Special tokens of a sentencepiece model whose tokenizer_config.json does not name them.
DEFAULT_ROLES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "</s>"}


def original_tokenizer(source: Path, named_tokens: dict[str, str]) -> PreTrainedTokenizerBase:
    """The fast tokenizer of an original checkpoint, from tokenizer.json, vocab.json (Qwen2) or tokenizer.model.

    The classes are named here: `AutoTokenizer` would ask whether to run the checkpoint's own code.

    Args:
        named_tokens: attribute name to special token; those that the vocabulary lacks are appended to it.

    Raises:
        ConversionError: if the directory has none of the three files, or they lack InternVL's image tokens.
    """
    known = [token.content for token in _added_tokens(source).values()]
    missing = [token for token in IMAGE_TOKENS.values() if token not in known]
    if missing:
        listed = ", ".join(missing)
        raise ConversionError(f"the files of the tokenizer lack the added tokens {listed}")
    if (source / "tokenizer.json").is_file():
        return PreTrainedTokenizerFast.from_pretrained(
            source, extra_special_tokens=named_tokens, trust_remote_code=False
        )
    if (source / "vocab.json").is_file():
        return Qwen2Tokenizer.from_pretrained(source, extra_special_tokens=named_tokens, trust_remote_code=False)
    if (source / "tokenizer.model").is_file():
        return _from_sentencepiece(source, named_tokens)
    raise ConversionError("no tokenizer found: neither tokenizer.json nor vocab.json nor tokenizer.model")


def _from_sentencepiece(source: Path, named_tokens: dict[str, str]) -> PreTrainedTokenizerFast:
    """InternLM2's (and Llama's) tokenizer.

    InternLM2 gives ids of unused pieces to its chat tokens: the added token of an id replaces the piece there. (Stock
    `LlamaTokenizer` appends such tokens instead, and all their ids are wrong.)
    """
    config = _read_json(source / "tokenizer_config.json")
    model = _read_model(source / "tokenizer.model")
    added = _added_tokens(source)
    pieces = []
    for index, piece in enumerate(model.pieces):
        pieces.append(str(added.get(index, piece.piece)))
    backend = _backend(model, pieces)
    for index, token in sorted(added.items()):
        backend.add_special_tokens([token])
        if backend.token_to_id(token.content) != index:
            raise ConversionError(f"token {token.content} should have id {index}, but the vocabulary has a gap there")
    roles = {}
    for role, default in DEFAULT_ROLES.items():
        roles[role] = _content(config.get(role) or default)
    if config.get("add_bos_token", True):
        _begin_with(roles["bos_token"], backend)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        extra_special_tokens=named_tokens,
        model_max_length=config.get("model_max_length"),
        **roles,
    )


def _begin_with(bos: str, backend: Tokenizer) -> None:
    """Have every text begin with this token."""
    backend.post_processor = processors.TemplateProcessing(
        single=f"{bos} $A",
        pair=f"{bos} $A {bos}:1 $B:1",
        special_tokens=[(bos, backend.token_to_id(bos))],
    )


def _backend(model, pieces: list[str]) -> Tokenizer:
    """sentencepiece's byte-pair model over `pieces` (by id) as one of the `tokenizers` library."""
    if model.trainer_spec.model_type != _BPE or model.normalizer_spec.precompiled_charsmap:
        raise ConversionError("tokenizer.model is not a byte-pair model without normalisation, as InternLM2's is")
    vocab, scores, fixed = {}, {}, {}
    for index, (piece, entry) in enumerate(zip(pieces, model.pieces)):
        vocab[piece] = index
        scores[piece] = entry.score
        if entry.type == _USER_DEFINED:
            fixed[piece] = entry.piece
    bpe = BPE(
        vocab,
        generate_merges(vocab, scores, skip_tokens=fixed),
        unk_token=pieces[model.trainer_spec.unk_id],
        fuse_unk=True,
        byte_fallback=model.trainer_spec.byte_fallback,
    )
    backend = Tokenizer(bpe)
    blanks = [normalizers.Replace(" ", "▁")]
    text = [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    if model.normalizer_spec.add_dummy_prefix:
        blanks.insert(0, normalizers.Prepend("▁"))
        text.append(decoders.Strip(" ", left=1))
    backend.normalizer = normalizers.Sequence(blanks)
    backend.decoder = decoders.Sequence(text)
    for piece, former in fixed.items():
        if piece == former:
            backend.add_tokens([AddedToken(piece, normalized=True)])
    return backend


def _read_model(path: Path):
    try:
        from sentencepiece import sentencepiece_model_pb2
    except ImportError as error:
        raise ConversionError(
            "reading tokenizer.model needs two more packages: pip install sentencepiece protobuf"
        ) from error
    return sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())


def _added_tokens(source: Path) -> dict[int, AddedToken]:
    """Id to token, from added_tokens.json, tokenizer.json and tokenizer_config.json; the last one found counts."""
    contents = {}
    for content, index in _read_json(source / "added_tokens.json").items():
        contents[index] = content
    for entry in _read_json(source / "tokenizer.json").get("added_tokens", []):
        contents[entry["id"]] = entry["content"]
    decoder = _read_json(source / "tokenizer_config.json").get("added_tokens_decoder", {})
    for index, entry in decoder.items():
        contents[int(index)] = entry["content"]
    tokens = {}
    for index, content in contents.items():
        tokens[index] = AddedToken(content, special=True, normalized=False)
    return tokens


def _content(token: str | dict) -> str:
    return token["content"] if isinstance(token, dict) else token


def _read_json(path: Path) -> dict:
    if not path.is_file():
        return {}
    return json.loads(path.read_text(encoding="utf-8"))
