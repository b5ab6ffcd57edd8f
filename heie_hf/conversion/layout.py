"""Where each tensor of the native layout lies in the original one."""

from typing import NamedTuple

import torch

from .original_config import ConversionError


class Source(NamedTuple):
    """A tensor of the original checkpoint, or its query (0), key (1) or value (2) rows."""

    name: str
    part: int | None = None


_VISION = {
    "cls_token": "class_embedding",
    "position_embeddings": "position_embedding",
    "patch_embeddings.projection": "patch_embedding",
    "encoder.layer.": "encoder.layers.",
    "layernorm_before": "norm1",
    "layernorm_after": "norm2",
    "lambda_": "ls",
    "projection_layer": "proj",
    "attention.": "attn.",
}
_PROJECTOR = {"layer_norm": "0", "linear_1": "1", "linear_2": "3"}
_INTERNLM2 = {
    "embed_tokens": "tok_embeddings",
    "self_attn.o_proj": "attention.wo",
    "self_attn.": "attention.",
    "mlp.gate_proj": "feed_forward.w1",
    "mlp.down_proj": "feed_forward.w2",
    "mlp.up_proj": "feed_forward.w3",
    "input_layernorm": "attention_norm",
    "post_attention_layernorm": "ffn_norm",
    "lm_head": "output",
}
_PARTS = {"q_proj": 0, "k_proj": 1, "v_proj": 2}


def source_of(key: str, internlm2: bool) -> Source:
    """The original tensor that fills `key`, a name in the state dict of the native (and so the HEIE) model."""
    if key.startswith("model.vision_tower."):
        return _fused(_rename(key, "model.vision_tower.", "vision_model.", _VISION), "qkv")
    if key.startswith("model.multi_modal_projector."):
        return Source(_rename(key, "model.multi_modal_projector.", "mlp1.", _PROJECTOR))
    prefix, original = (
        ("", "language_model.") if key.startswith("lm_head") else ("model.language_model.", "language_model.model.")
    )
    if internlm2:
        return _fused(_rename(key, prefix, original, _INTERNLM2), "wqkv")
    return Source(original + key.removeprefix(prefix))


def _rename(key: str, prefix: str, original_prefix: str, table: dict[str, str]) -> str:
    name = key.removeprefix(prefix)
    for native, original in table.items():
        name = name.replace(native, original)
    return original_prefix + name


def _fused(name: str, fused: str) -> Source:
    for projection, part in _PARTS.items():
        if f".{projection}." in name:
            return Source(name.replace(projection, fused), part)
    return Source(name)


def take_part(tensor: torch.Tensor, source: Source, head_dim: int, num_groups: int) -> torch.Tensor:
    """The rows of `source.part`; the whole tensor where part is None.

    The vision model's qkv is three equal blocks. InternLM2's wqkv is grouped by key-value head: per head `num_groups`
    queries, one key, one value, each of `head_dim` rows. Takes weights (rows, columns) and biases (rows,).
    """
    if source.part is None:
        return tensor
    if "wqkv" not in source.name:
        return tensor.chunk(3)[source.part].contiguous()
    if tensor.shape[0] % (head_dim * (num_groups + 2)):
        raise ConversionError(
            f"{source.name} has {tensor.shape[0]} rows, no multiple of {head_dim * (num_groups + 2)}"
        )
    grouped = tensor.view(-1, num_groups + 2, head_dim, *tensor.shape[1:])  # (kv heads, groups + 2, head_dim, ...)
    part = grouped[:, :num_groups] if source.part == 0 else grouped[:, source.part - 3]
    return part.reshape(-1, *tensor.shape[1:]).contiguous()
