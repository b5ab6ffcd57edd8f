"""Small random InternVL checkpoints in the original layout, with the files that the published ones have."""

import io
import json
from functools import cache
from pathlib import Path

import sentencepiece
import torch
from safetensors.torch import save_file
from tokenizers import ByteLevelBPETokenizer

TEXTS = [
    "Describe the image: six fingers on the left hand, and the clock has thirteen numbers.",
    "Find every implausible region in this AI-generated image and explain what is wrong with it.",
    "Sure. \n### Image Description\nA dog in a garden.\n\n### Problematic Regions Identification\n1. the leg",
    "user\nassistant\nsystem\n",
]
CHAT = ["<|plugin|>", "<|im_end|>", "<|im_start|>"]
IMAGE = ["<img>", "</img>", "<IMG_CONTEXT>", "<quad>", "</quad>"]

_VIT = {
    "hidden_size": 32,
    "num_attention_heads": 2,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "image_size": 56,
    "patch_size": 14,
    "num_channels": 3,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
    "dropout": 0.0,
    "attention_dropout": 0.0,
    "drop_path_rate": 0.1,
    "initializer_factor": 0.1,
    "model_type": "intern_vit_6b",
    "use_flash_attn": True,
}
VIT_300M = _VIT | {"norm_type": "layer_norm", "qkv_bias": True, "qk_normalization": False}
VIT_6B = _VIT | {"norm_type": "rms_norm", "qkv_bias": False, "qk_normalization": True}


def llm_config(architecture: str, **overrides) -> dict:
    """`llm_config` as the published config.json files have it, with entries that a converter must not trip over."""
    return {
        "architectures": [architecture],
        "model_type": architecture.removesuffix("ForCausalLM").lower(),
        "auto_map": {"AutoConfig": "configuration_internlm2.InternLM2Config"},
        "attn_implementation": "flash_attention_2",
        "torch_dtype": "float32",
        "hidden_size": 64,
        "num_attention_heads": 8,
        "num_key_value_heads": 2,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 48,
        "rope_theta": 1000000.0,
        "rope_scaling": {"type": "dynamic", "factor": 2.0},
        "bias": False,
        "tie_word_embeddings": False,
        "use_cache": True,
        "bos_token_id": 1,
        "eos_token_id": 2,
        "pad_token_id": 2,
        "top_k": 50,
        "id2label": {"0": "LABEL_0"},
    } | overrides


def make_original(
    directory: Path,
    architecture: str = "InternLM2ForCausalLM",
    vision: dict = VIT_300M,
    llm: dict | None = None,
    **top,
) -> tuple[dict, dict[str, torch.Tensor]]:
    """Write a checkpoint in three shards; returns its config.json and its tensors."""
    directory.mkdir(parents=True, exist_ok=True)
    write_tokenizer = {"InternLM2ForCausalLM": write_sentencepiece, "LlamaForCausalLM": write_tokenizer_json}
    size = write_tokenizer.get(architecture, write_vocabulary)(directory)
    config = {
        "_commit_hash": None,
        "architectures": ["InternVLChatModel"],
        "auto_map": {"AutoModel": "modeling_internvl_chat.InternVLChatModel"},
        "model_type": "internvl_chat",
        "downsample_ratio": 0.5,
        "dynamic_image_size": True,
        "force_image_size": 56,
        "ps_version": "v2",
        "select_layer": -1,
        "template": "internlm2-chat",
        "torch_dtype": "float32",
        "use_thumbnail": True,
        "llm_config": llm_config(architecture, **{"vocab_size": size, **(llm or {})}),
        "vision_config": vision,
    } | top
    (directory / "config.json").write_text(json.dumps(config))
    tensors = random_tensors(config)
    write_shards(directory, tensors)
    return config, tensors


def random_tensors(config: dict) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    for name, shape in shapes(config).items():
        values = torch.randn(shape, generator=generator)
        is_scale = len(shape) == 1 and not name.endswith("bias")  # norms and ls1, ls2
        fan_in = shape[1] if len(shape) == 2 and "embed" not in name else 1
        tensors[name] = 1 + 0.2 * values if is_scale else values * (1.5 / fan_in**0.5 if fan_in > 1 else 0.3)
    return tensors


def shapes(config: dict) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the layout, spelt out."""
    vision, llm = config["vision_config"], config["llm_config"]
    width, inner, hidden = vision["hidden_size"], vision["intermediate_size"], llm["hidden_size"]
    positions = (vision["image_size"] // vision["patch_size"]) ** 2 + 1
    result = {
        "vision_model.embeddings.class_embedding": (1, 1, width),
        "vision_model.embeddings.position_embedding": (1, positions, width),
        "vision_model.embeddings.patch_embedding.weight": (width, 3, vision["patch_size"], vision["patch_size"]),
        "vision_model.embeddings.patch_embedding.bias": (width,),
        **linear_shapes("mlp1.1", width * 4, hidden),
        **linear_shapes("mlp1.3", hidden, hidden),
        "mlp1.0.weight": (width * 4,),
        "mlp1.0.bias": (width * 4,),
    }
    for layer in range(vision["num_hidden_layers"]):
        at = f"vision_model.encoder.layers.{layer}"
        result |= linear_shapes(f"{at}.attn.qkv", width, 3 * width, bias=vision["qkv_bias"])
        result |= linear_shapes(f"{at}.attn.proj", width, width)
        result |= linear_shapes(f"{at}.mlp.fc1", width, inner) | linear_shapes(f"{at}.mlp.fc2", inner, width)
        vectors = ["ls1", "ls2", "norm1.weight", "norm2.weight"]
        vectors += ["norm1.bias", "norm2.bias"] if vision["norm_type"] == "layer_norm" else []
        vectors += ["attn.q_norm.weight", "attn.k_norm.weight"] if vision["qk_normalization"] else []
        result |= {f"{at}.{vector}": (width,) for vector in vectors}
    return result | {f"language_model.{name}": shape for name, shape in language_shapes(llm).items()}


def language_shapes(llm: dict) -> dict[str, tuple[int, ...]]:
    hidden, inner, architecture = llm["hidden_size"], llm["intermediate_size"], llm["architectures"][0]
    dim = llm.get("head_dim") or hidden // llm["num_attention_heads"]
    queries, keys = llm["num_attention_heads"] * dim, llm["num_key_value_heads"] * dim
    internlm2, qwen2 = architecture == "InternLM2ForCausalLM", architecture == "Qwen2ForCausalLM"
    result = {"model.norm.weight": (hidden,)}
    result[f"model.{'tok_embeddings' if internlm2 else 'embed_tokens'}.weight"] = (llm["vocab_size"], hidden)
    if not llm["tie_word_embeddings"]:
        result["output.weight" if internlm2 else "lm_head.weight"] = (llm["vocab_size"], hidden)
    for layer in range(llm["num_hidden_layers"]):
        at = f"model.layers.{layer}"
        if internlm2:
            result |= linear_shapes(f"{at}.attention.wqkv", hidden, queries + 2 * keys, bias=llm["bias"])
            result |= linear_shapes(f"{at}.attention.wo", queries, hidden, bias=llm["bias"])
            mlp, norms = ("feed_forward.w1", "feed_forward.w3", "feed_forward.w2"), ("attention_norm", "ffn_norm")
        else:
            result |= linear_shapes(f"{at}.self_attn.q_proj", hidden, queries, bias=qwen2)
            result |= linear_shapes(f"{at}.self_attn.k_proj", hidden, keys, bias=qwen2)
            result |= linear_shapes(f"{at}.self_attn.v_proj", hidden, keys, bias=qwen2)
            result |= linear_shapes(f"{at}.self_attn.o_proj", queries, hidden, bias=False)
            mlp = ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
            norms = ("input_layernorm", "post_attention_layernorm")
        if architecture == "Qwen3ForCausalLM":
            result |= {f"{at}.self_attn.{name}_norm.weight": (dim,) for name in "qk"}
        result |= {f"{at}.{name}.weight": (inner, hidden) for name in mlp[:2]}
        result |= {f"{at}.{mlp[2]}.weight": (hidden, inner)} | {f"{at}.{name}.weight": (hidden,) for name in norms}
    return result


def linear_shapes(name: str, columns: int, rows: int, bias: bool = True) -> dict[str, tuple[int, ...]]:
    return {f"{name}.weight": (rows, columns)} | ({f"{name}.bias": (rows,)} if bias else {})


def write_shards(directory: Path, tensors: dict[str, torch.Tensor], count: int = 3) -> None:
    names, weight_map = sorted(tensors), {}
    for index in range(count):
        filename = f"model-{index + 1:05d}-of-{count:05d}.safetensors"
        shard = {name: tensors[name] for name in names[index::count]}
        save_file(shard, directory / filename, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(shard, filename)
    (directory / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


@cache
def sentencepiece_model(**options) -> bytes:
    """A byte-pair model of InternLM2's kind: no dummy prefix, no normalisation, unused pieces kept for chat tokens."""
    model = io.BytesIO()
    settings = dict(model_type="bpe", vocab_size=400, byte_fallback=True, add_dummy_prefix=False)
    settings |= dict(remove_extra_whitespaces=False, normalization_rule_name="identity", hard_vocab_limit=False)
    settings |= dict(user_defined_symbols=[f"[UNUSED_TOKEN_{i}]" for i in range(4)], minloglevel=2)
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(TEXTS * 3), model_writer=model, **settings | options
    )
    return model.getvalue()


def write_sentencepiece(directory: Path, **options) -> int:
    """tokenizer.model and tokenizer_config.json as InternVL2's; three ids of unused pieces hold the chat tokens."""
    model = sentencepiece_model(**options)
    (directory / "tokenizer.model").write_bytes(model)
    pieces = sentencepiece.SentencePieceProcessor(model_proto=model)
    ids = {token: pieces.piece_to_id(f"[UNUSED_TOKEN_{index + 1}]") for index, token in enumerate(CHAT)}
    ids |= {token: pieces.get_piece_size() + index for index, token in enumerate(IMAGE)}
    write_tokenizer_config(directory, ids | {"<unk>": 0, "<s>": 1, "</s>": 2}, "InternLM2Tokenizer", "</s>")
    return pieces.get_piece_size() + len(IMAGE)


def write_vocabulary(directory: Path) -> int:
    """vocab.json, merges.txt and added_tokens.json as the checkpoints with Qwen2 have them."""
    size = _byte_level_backend(directory).get_vocab_size()
    ids = {token: size + index for index, token in enumerate(["<|endoftext|>", *CHAT, *IMAGE])}
    (directory / "added_tokens.json").write_text(json.dumps(ids))
    write_tokenizer_config(directory, ids, "Qwen2Tokenizer", "<|im_end|>")
    return size + len(ids)


def write_tokenizer_json(directory: Path) -> int:
    """tokenizer.json, as the checkpoint with Llama 3 has it."""
    backend = _byte_level_backend(directory)
    backend.add_special_tokens(["<s>", "</s>", *CHAT, *IMAGE])
    backend.save(str(directory / "tokenizer.json"))
    for name in ("vocab.json", "merges.txt"):
        (directory / name).unlink()
    ids = {token: backend.token_to_id(token) for token in ["<s>", "</s>", *CHAT, *IMAGE]}
    write_tokenizer_config(directory, ids, "PreTrainedTokenizerFast", "<|im_end|>")
    return backend.get_vocab_size()


def _byte_level_backend(directory: Path) -> ByteLevelBPETokenizer:
    backend = ByteLevelBPETokenizer()
    backend.train_from_iterator(TEXTS, vocab_size=320, min_frequency=1, show_progress=False)
    backend.save_model(str(directory))
    return backend


def write_tokenizer_config(directory: Path, ids: dict[str, int], tokenizer_class: str, eos: str) -> None:
    flags = {"lstrip": False, "normalized": False, "rstrip": False, "single_word": False, "special": True}
    config = {
        "added_tokens_decoder": {str(index): {"content": token, **flags} for token, index in ids.items()},
        "additional_special_tokens": [*CHAT, *IMAGE],
        "bos_token": "<s>" if "<s>" in ids else None,
        "eos_token": eos,
        "pad_token": "<|endoftext|>" if "<|endoftext|>" in ids else "</s>",
        "unk_token": "<unk>" if "<unk>" in ids else None,
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
        "tokenizer_class": tokenizer_class,
    }
    if tokenizer_class == "InternLM2Tokenizer":
        config["auto_map"] = {"AutoTokenizer": ["tokenization_internlm2.InternLM2Tokenizer", None]}
    (directory / "tokenizer_config.json").write_text(json.dumps(config))
