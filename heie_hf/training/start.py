"""The model that a training run starts from: loaded or drawn at random, partly frozen, or given a LoRA adapter."""

import difflib
from dataclasses import fields
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors import SafetensorError
from torch import nn
from transformers import BitsAndBytesConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.integrations import is_deepspeed_zero3_enabled

from heie_hf.checkpoints import default_checkpoint
from heie_hf.conversion import from_backbone
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.prediction.load import check_fit, quiet
from heie_hf.processing.processing_heie import HEIEProcessor

from .recipe import AdapterArguments, ModelArguments, Recipe, TrainingError

HEADS = ("mapper", "fuser", "scorer")
MODULES = {
    "vision": ["model.vision_tower"],
    "projector": ["model.multi_modal_projector"],
    "language": ["model.language_model", "lm_head"],
}
#: Linear layers of each part, as peft's `target_modules`: Qwen2, Qwen3, Llama, Mistral; InternViT.
LORA_TARGETS = {
    "language": r"model\.language_model\..*_proj",
    "vision": r"model\.vision_tower\..*\.(q_proj|k_proj|v_proj|projection_layer|fc1|fc2)",
}
#: Weights that a change of fusion, score_source or calibration adds or takes away; they start at their neutral values.
OPTIONAL_WEIGHTS = ("fuser.", "scorer.token_logit", "scorer.gate.")


def load_model(recipe: Recipe) -> tuple[HEIEForImplausibility | PeftModel, HEIEProcessor]:
    """The model, ready to be trained, and its processor.

    Raises:
        TrainingError: it cannot be loaded, or the arguments do not fit it or each other.
    """
    arguments, adapter = recipe.model, recipe.adapter
    _check_combination(arguments, adapter)
    try:
        source = arguments.model_name_or_path or default_checkpoint()
        if Path(source, "adapter_config.json").is_file():
            raise TrainingError(f"{source} is a LoRA adapter: merge it into its model first, see docs/training.md")
        config_dict, _ = PreTrainedConfig.get_config_dict(source)
        load = _load_heie if config_dict.get("model_type") == HEIEConfig.model_type else _load_backbone
        model, processor = load(source, config_dict, recipe)
        _limit_patches(processor, arguments.max_patches)
        return prepare(model, recipe), processor
    except TrainingError:
        raise
    except (OSError, ValueError, RuntimeError, ImportError, SafetensorError, StrictDataclassError) as error:
        name = arguments.model_name_or_path or "the embedded model"
        raise TrainingError(f"cannot load {name}: {error}") from error


def _check_combination(arguments: ModelArguments, adapter: AdapterArguments) -> None:
    if arguments.quantization != "none" and not adapter.lora_rank:
        raise TrainingError("quantised weights cannot be trained: set lora_rank, or quantization: none")
    if adapter.lora_rank and arguments.freeze:
        raise TrainingError("freeze goes without an adapter: with lora_rank, lora_parts says what learns")
    if adapter.lora_rank and (arguments.config_overrides or arguments.from_scratch):
        raise TrainingError(
            "an adapter is loaded onto its model as stored: config_overrides and from_scratch go without lora_rank"
        )


def _load_backbone(source: str, config_dict: dict, recipe: Recipe) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    """New heads on a native InternVL checkpoint."""
    arguments = recipe.model
    needs = {
        "from_scratch": arguments.from_scratch,
        "an adapter": recipe.adapter.lora_rank,
        "DeepSpeed ZeRO-3": is_deepspeed_zero3_enabled(),
    }
    for what, needed in needs.items():
        if needed:
            raise TrainingError(f"{what} needs a HEIE checkpoint. First: heie convert {source} FOLDER")
    check_names(arguments.config_overrides, HEIEConfig)
    return from_backbone(source, **arguments.config_overrides, **_config_settings(arguments))


def _config_settings(arguments: ModelArguments) -> dict[str, str]:
    settings = {}
    if arguments.dtype != "auto":
        settings["dtype"] = arguments.dtype
    if arguments.attn_implementation is not None:
        settings["attn_implementation"] = arguments.attn_implementation
    return settings


def _load_heie(source: str, config_dict: dict, recipe: Recipe) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    arguments = recipe.model
    config = HEIEConfig.from_dict(overridden(config_dict, arguments.config_overrides) | _config_settings(arguments))
    processor = HEIEProcessor.from_pretrained(source, trust_remote_code=False)
    check_fit(processor, config)
    if arguments.from_scratch:
        return new_model(config), processor
    settings = {}
    if arguments.quantization != "none":
        settings["quantization_config"] = _quantization(recipe)
    with quiet():
        model, info = HEIEForImplausibility.from_pretrained(
            _absolute(source),  # a saved adapter names it
            config=config,
            dtype=arguments.dtype,
            ignore_mismatched_sizes=True,  # so that they come back in the info
            output_loading_info=True,
            trust_remote_code=False,
            **settings,
        )
    _check_weights(info)
    return model, processor


def overridden(config_dict: dict, overrides: dict) -> dict:
    """A stored config with other values; those of a part, such as mapper_config, are merged into it.

    Raises:
        TrainingError: for a name that the config does not know.
    """
    check_names(overrides, HEIEConfig)
    config, merged = HEIEConfig.from_dict(config_dict), dict(overrides)
    for name, value in overrides.items():
        part = getattr(config, name)
        if isinstance(value, dict) and isinstance(part, PreTrainedConfig):
            check_names(value, type(part), f"{name}.")
            merged[name] = config_dict.get(name, {}) | value
    return config_dict | merged


def check_names(values: dict, config_class: type[PreTrainedConfig], prefix: str = "") -> None:
    """Raises TrainingError for a name that is no field: the config itself would keep it without a word."""
    known = [field.name for field in fields(config_class)]
    for name in values:
        if name not in known:
            near = difflib.get_close_matches(str(name), known, n=1)
            hint = f"; is {near[0]} meant?" if near else ""
            raise TrainingError(f"config_overrides: unknown field {prefix}{name}{hint}")


def new_model(config: HEIEConfig) -> HEIEForImplausibility:
    """Random weights. InternVL's start is meant for pretrained weights: no positions, and blocks that hardly act."""
    config.vision_config.layer_scale_init_value = 1.0
    model = HEIEForImplausibility(config)
    embeddings = model.model.vision_tower.embeddings
    for parameter in (embeddings.cls_token, embeddings.position_embeddings):
        nn.init.trunc_normal_(parameter, std=0.02)
    return model


def _quantization(recipe: Recipe) -> BitsAndBytesConfig:
    """4 bits as in QLoRA (arXiv 2305.14314): normal floats, their scales quantised too."""
    if recipe.model.quantization == "8bit":
        return BitsAndBytesConfig(load_in_8bit=True)
    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.bfloat16 if recipe.training.bf16 else torch.float32,
    )


def _absolute(source: str) -> str:
    return str(Path(source).resolve()) if Path(source).is_dir() else source


def _check_weights(info: dict) -> None:
    unfit = []
    for name, stored, made in sorted(info["mismatched_keys"]):
        unfit.append(f"{name} is {tuple(stored)}, not {tuple(made)}")
    for kind in ("missing", "unexpected"):
        for name in sorted(info[f"{kind}_keys"]):
            if not name.startswith(OPTIONAL_WEIGHTS):
                unfit.append(f"{name} is {kind}")
    if unfit:
        raise TrainingError(f"{len(unfit)} weights of the checkpoint do not fit the config, the first: {unfit[0]}")


def _limit_patches(processor: HEIEProcessor, max_patches: int | None) -> None:
    most = len(processor.local_map_token_ids)
    if max_patches is not None and not 2 <= max_patches <= most:
        raise TrainingError(f"max_patches must be from 2 to {most}, as many as the model has map tokens for")
    processor.image_processor.max_patches = max_patches or processor.image_processor.max_patches


def prepare(model: HEIEForImplausibility, recipe: Recipe) -> HEIEForImplausibility | PeftModel:
    """Freeze what does not learn; what learns is float32, since small steps are lost in 16 bits.

    Raises:
        TrainingError: parts of the backbone would meet in two precisions.
    """
    for part in recipe.model.freeze:
        for name in MODULES[part]:
            model.get_submodule(name).requires_grad_(False)
    is_adapted = bool(recipe.adapter.lora_rank)
    if is_deepspeed_zero3_enabled():  # it keeps float32 copies itself, and the weights here are only shards
        return add_adapter(model, recipe.adapter) if is_adapted else model
    if is_adapted:
        for name in HEADS:
            getattr(model, name).float()
        return add_adapter(model, recipe.adapter)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    backbone = (*model.model.parameters(), *model.lm_head.parameters())
    dtypes = {parameter.dtype for parameter in backbone}
    if len(dtypes) > 1 and not (recipe.training.bf16 or recipe.training.fp16):
        raise TrainingError("a part rests in 16 bits beside one that learns in float32: set bf16: true")
    return model


def add_adapter(model: HEIEForImplausibility, arguments: AdapterArguments) -> PeftModel:
    """LoRA on the linear layers of some parts; heads and the rows of HEIE's own tokens are trained themselves."""
    config = model.config
    new_tokens = [config.map_token_id, *config.local_map_token_ids, config.score_token_id]
    targets = [LORA_TARGETS[part] for part in arguments.lora_parts]
    heads = []
    for name in HEADS:
        if list(getattr(model, name).parameters()):  # a fuser may have no weights
            heads.append(name)
    lora = LoraConfig(
        r=arguments.lora_rank,
        lora_alpha=arguments.lora_alpha,
        lora_dropout=arguments.lora_dropout,
        target_modules="|".join(targets),
        modules_to_save=heads,
        # Where both are one matrix, peft keeps them so.
        trainable_token_indices={"embed_tokens": new_tokens, "lm_head": new_tokens},
    )
    return get_peft_model(model, lora)
