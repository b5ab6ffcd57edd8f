"""What an InternVL checkpoint in the original layout computes, in plain torch: the yardstick for conversions.

Written from the layout (tensor names, the grouping of wqkv, the order of pixel shuffle v2, dynamic NTK), on purpose
without any class of Transformers or of this package.
"""

import math

import torch
import torch.nn.functional as F

Weights = dict[str, torch.Tensor]


def norm(x: torch.Tensor, weights: Weights, name: str, eps: float, rms: bool) -> torch.Tensor:
    if not rms:
        return F.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], eps)
    return x / (x.square().mean(dim=-1, keepdim=True) + eps).sqrt() * weights[f"{name}.weight"]


def linear(x: torch.Tensor, weights: Weights, name: str) -> torch.Tensor:
    return F.linear(x, weights[f"{name}.weight"], weights.get(f"{name}.bias"))


def attend(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, causal: bool) -> torch.Tensor:
    """(b, heads, n, d) each; the last query belongs to the last key."""
    scores = q @ k.transpose(2, 3) / math.sqrt(q.shape[-1])
    if causal:
        past = k.shape[2] - q.shape[2]
        scores = scores.masked_fill(torch.ones_like(scores[0, 0]).triu(past + 1).bool(), -math.inf)
    return (scores.softmax(dim=-1) @ v).transpose(1, 2).flatten(2)


def vision_features(pixels: torch.Tensor, weights: Weights, config: dict) -> torch.Tensor:
    """(b, 3, S, S) to (b, tokens, width of the language model)."""
    vision, eps = config["vision_config"], config["vision_config"]["layer_norm_eps"]
    rms, heads = vision["norm_type"] == "rms_norm", vision["num_attention_heads"]
    patch = weights["vision_model.embeddings.patch_embedding.weight"]
    x = F.conv2d(pixels, patch, weights["vision_model.embeddings.patch_embedding.bias"], stride=vision["patch_size"])
    x = x.flatten(2).transpose(1, 2)
    cls = weights["vision_model.embeddings.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([cls, x], dim=1) + weights["vision_model.embeddings.position_embedding"]
    states = [x]
    for layer in range(vision["num_hidden_layers"]):
        at = f"vision_model.encoder.layers.{layer}"
        q, k, v = linear(norm(x, weights, f"{at}.norm1", eps, rms), weights, f"{at}.attn.qkv").chunk(3, dim=-1)
        if vision["qk_normalization"]:
            q = norm(q, weights, f"{at}.attn.q_norm", eps, rms=True)
            k = norm(k, weights, f"{at}.attn.k_norm", eps, rms=True)
        q, k, v = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in (q, k, v))
        x = x + linear(attend(q, k, v, causal=False), weights, f"{at}.attn.proj") * weights[f"{at}.ls1"]
        hidden = F.gelu(linear(norm(x, weights, f"{at}.norm2", eps, rms), weights, f"{at}.mlp.fc1"))
        x = x + linear(hidden, weights, f"{at}.mlp.fc2") * weights[f"{at}.ls2"]
        states.append(x)
    x = states[config["select_layer"]][:, 1:]
    side = math.isqrt(x.shape[1])
    grid = x.unflatten(1, (side, side))  # (b, rows, columns, width)
    x = torch.cat([grid[:, row::2, column::2] for row in (0, 1) for column in (0, 1)], dim=-1).flatten(1, 2)
    x = linear(norm(x, weights, "mlp1.0", 1e-5, rms=False), weights, "mlp1.1")
    return linear(F.gelu(x), weights, "mlp1.3")


def rotate(x: torch.Tensor, past: int, llm: dict) -> torch.Tensor:
    """Rotary positions of (b, heads, n, d) that follow `past` earlier ones."""
    length, dim = past + x.shape[2], x.shape[-1]
    base, scaling, positions = llm["rope_theta"], llm["rope_scaling"] or {}, torch.arange(past, length).float()
    if scaling.get("type") == "dynamic" and length > llm["max_position_embeddings"]:
        factor = scaling["factor"]
        stretch = factor * length / llm["max_position_embeddings"] - (factor - 1)
        base = base * stretch ** (dim / (dim - 2))
    elif scaling.get("type") == "linear":
        positions = positions / scaling["factor"]
    angles = torch.outer(positions, 1 / base ** (torch.arange(0, dim, 2) / dim)).repeat(1, 2)
    half = torch.cat([-x[..., dim // 2 :], x[..., : dim // 2]], dim=-1)
    return x * angles.cos() + half * angles.sin()


def queries_keys_values(x: torch.Tensor, weights: Weights, at: str, llm: dict) -> tuple[torch.Tensor, ...]:
    """(b, n, D) to (b, heads, n, d), and twice (b, kv heads, n, d)."""
    kv_heads, groups = llm["num_key_value_heads"], llm["num_attention_heads"] // llm["num_key_value_heads"]
    if llm["architectures"] == ["InternLM2ForCausalLM"]:
        qkv = linear(x, weights, f"{at}.attention.wqkv").unflatten(-1, (kv_heads, groups + 2, -1))
        q, k, v = qkv[..., :groups, :].flatten(2, 3), qkv[..., groups, :], qkv[..., groups + 1, :]
    else:
        dim = weights[f"{at}.self_attn.k_proj.weight"].shape[0] // kv_heads
        names = (f"{at}.self_attn.{name}_proj" for name in "qkv")
        q, k, v = (linear(x, weights, name).unflatten(-1, (-1, dim)) for name in names)
    if llm["architectures"] == ["Qwen3ForCausalLM"]:
        q = norm(q, weights, f"{at}.self_attn.q_norm", llm["rms_norm_eps"], rms=True)
        k = norm(k, weights, f"{at}.self_attn.k_norm", llm["rms_norm_eps"], rms=True)
    return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)


def language_logits(x: torch.Tensor, weights: Weights, llm: dict, cache: dict) -> torch.Tensor:
    """Embeddings (b, n, D) to logits (b, n, vocabulary); `cache` keeps rotated keys and values between calls."""
    names = ("self_attn.o_proj", "mlp.gate_proj", "mlp.up_proj", "mlp.down_proj", "input_layernorm")
    names += ("post_attention_layernorm", "lm_head")
    if llm["architectures"] == ["InternLM2ForCausalLM"]:
        names = ("attention.wo", "feed_forward.w1", "feed_forward.w3", "feed_forward.w2", "attention_norm")
        names += ("ffn_norm", "output")
    out, gate, up, down, first_norm, second_norm, head = names
    eps, groups = llm["rms_norm_eps"], llm["num_attention_heads"] // llm["num_key_value_heads"]
    for layer in range(llm["num_hidden_layers"]):
        at = f"language_model.model.layers.{layer}"
        q, k, v = queries_keys_values(norm(x, weights, f"{at}.{first_norm}", eps, rms=True), weights, at, llm)
        past = cache[layer][0].shape[2] if layer in cache else 0
        q, k = rotate(q, past, llm), rotate(k, past, llm)
        if past:
            k, v = torch.cat([cache[layer][0], k], dim=2), torch.cat([cache[layer][1], v], dim=2)
        cache[layer] = (k, v)
        k, v = k.repeat_interleave(groups, dim=1), v.repeat_interleave(groups, dim=1)
        x = x + linear(attend(q, k, v, causal=True), weights, f"{at}.{out}")
        y = norm(x, weights, f"{at}.{second_norm}", eps, rms=True)
        y = F.silu(linear(y, weights, f"{at}.{gate}")) * linear(y, weights, f"{at}.{up}")
        x = x + linear(y, weights, f"{at}.{down}")
    x = norm(x, weights, "language_model.model.norm", eps, rms=True)
    if llm["tie_word_embeddings"]:
        return x @ embeddings(weights, llm).T
    return linear(x, weights, f"language_model.{head}")


def embeddings(weights: Weights, llm: dict) -> torch.Tensor:
    name = "tok_embeddings" if llm["architectures"] == ["InternLM2ForCausalLM"] else "embed_tokens"
    return weights[f"language_model.model.{name}.weight"]


def prompt_logits(
    input_ids: torch.Tensor, pixels: torch.Tensor, image_token: int, weights: Weights, config: dict, cache: dict
) -> torch.Tensor:
    """Logits (1, n, vocabulary) of one prompt whose image tokens stand for the patches `pixels`."""
    x = embeddings(weights, config["llm_config"])[input_ids]
    x[input_ids == image_token] = vision_features(pixels, weights, config).flatten(0, 1)
    return language_logits(x, weights, config["llm_config"], cache)


def greedy(logits: torch.Tensor, weights: Weights, config: dict, cache: dict, steps: int) -> list[int]:
    """The tokens that follow a prompt with these logits and this cache."""
    tokens = [int(logits[0, -1].argmax())]
    while len(tokens) < steps:
        x = embeddings(weights, config["llm_config"])[torch.tensor([tokens[-1:]])]
        logits = language_logits(x, weights, config["llm_config"], cache)
        tokens.append(int(logits[0, -1].argmax()))
    return tokens
