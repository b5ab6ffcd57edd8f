"""The configuration of an InternVL checkpoint in the original (remote-code) layout, read as the native one."""

from dataclasses import fields

from transformers import CONFIG_MAPPING, PreTrainedConfig


class ConversionError(ValueError):
    """The source cannot be converted; the message says why in one line."""


# `llm_config["architectures"][0]` -> native model_type. InternLM2 is Llama with other names and a fused wqkv.
LANGUAGE_MODELS = {
    "InternLM2ForCausalLM": "llama",
    "LlamaForCausalLM": "llama",
    "Qwen2ForCausalLM": "qwen2",
    "Qwen3ForCausalLM": "qwen3",
}

# What the originals assume for a field that config.json leaves out, where it differs from the native defaults.
_VISION_DEFAULTS = {
    "hidden_size": 3200,
    "num_attention_heads": 25,
    "intermediate_size": 12800,
    "num_hidden_layers": 48,
    "image_size": 224,
    "norm_type": "rms_norm",
    "qkv_bias": False,
    "qk_normalization": True,
    "dropout": 0.0,
    "initializer_factor": 0.1,
}
_INTERNLM2_DEFAULTS = {"vocab_size": 103168, "bias": True}


def is_internlm2(original: dict) -> bool:
    """Whether the language model of this original config.json is InternLM2."""
    return original["llm_config"].get("architectures") == ["InternLM2ForCausalLM"]


def native_config(original: dict) -> dict:
    """Arguments of `InternVLConfig` (and so of `HEIEConfig`) for an original config.json.

    Raises:
        ConversionError: for what the native classes cannot express: another language model, pixel shuffle v1,
            position embeddings for another size than the patches', a qk-norm epsilon other than 1e-6.
    """
    vision, text = _vision_config(original), _text_config(original["llm_config"])
    if original.get("ps_version", "v1") != "v2":
        raise ConversionError("pixel shuffle v1 (it transposes the image) has no native counterpart; only v2 has")
    if (original.get("force_image_size") or vision["image_size"]) != vision["image_size"]:
        raise ConversionError(
            f"force_image_size {original['force_image_size']} differs from the vision model's {vision['image_size']}"
        )
    ratio = original.get("downsample_ratio", 0.5)
    side = int(vision["image_size"] // vision["patch_size"] * ratio)
    return {
        "vision_config": vision,
        "text_config": text,
        "downsample_ratio": ratio,
        "vision_feature_layer": original.get("select_layer", -1),
        "image_seq_length": side * side,
        # The native default, True, would silently replace lm_head by the input embeddings.
        "tie_word_embeddings": text["tie_word_embeddings"],
        "dtype": original.get("torch_dtype") or original.get("dtype") or "float32",
    }


def _vision_config(original: dict) -> dict:
    vision = _VISION_DEFAULTS | original["vision_config"]
    renamed = {
        "attention_bias": vision["qkv_bias"],
        "use_qk_norm": vision["qk_normalization"],
        "projection_dropout": vision["dropout"],
        "layer_scale_init_value": vision["initializer_factor"],
    }
    if renamed["use_qk_norm"] and vision.get("layer_norm_eps", 1e-6) != 1e-6:
        raise ConversionError(f"the native qk-norm has a fixed epsilon of 1e-6, not {vision['layer_norm_eps']}")
    return _known_fields("internvl_vision", vision) | {"patch_size": vision.get("patch_size", 14)} | renamed


def _text_config(llm: dict) -> dict:
    architecture = (llm.get("architectures") or [None])[0]
    if architecture not in LANGUAGE_MODELS:
        raise ConversionError(
            f"language model {architecture} is not supported, only {', '.join(LANGUAGE_MODELS)}; "
            "a native checkpoint (its name ends in -hf) needs no conversion"
        )
    if architecture == "InternLM2ForCausalLM":
        llm = _INTERNLM2_DEFAULTS | llm
        llm = llm | {"attention_bias": llm["bias"]}
        if llm.get("rope_pos_id_version", "default") != "default":
            raise ConversionError(f"rotary positions {llm['rope_pos_id_version']!r} have no native counterpart")
    model_type = LANGUAGE_MODELS[architecture]
    text = {"tie_word_embeddings": False} | _known_fields(model_type, llm)
    return text | {"model_type": model_type, "rope_parameters": _rope_parameters(llm)}


def _rope_parameters(llm: dict) -> dict:
    """Old `rope_theta` and `rope_scaling` ({"type": "dynamic", "factor": 2.0}) as one native dict."""
    scaling = dict(llm.get("rope_parameters") or llm.get("rope_scaling") or {})
    legacy_type = scaling.pop("type", "default")
    return {"rope_type": legacy_type, "rope_theta": llm.get("rope_theta", 10000.0)} | scaling


def _known_fields(model_type: str, values: dict) -> dict:
    """The values that the native config class of this type declares itself (not what every config has)."""
    own, common = fields(CONFIG_MAPPING[model_type]), {field.name for field in fields(PreTrainedConfig)}
    return {field.name: values[field.name] for field in own if field.name in values and field.name not in common}
