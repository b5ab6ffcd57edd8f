"""HEIE on a pretrained InternVL backbone: weights kept, new tokens and new heads added."""

from transformers import AutoTokenizer, PreTrainedTokenizerBase
from transformers.configuration_utils import PreTrainedConfig

from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.processing.image_processing_heie import HEIEImageProcessor
from heie_hf.processing.processing_heie import CHAT_TEMPLATE, HEIEProcessor

from .new_tokens import end_turns, initialise_rows, named_tokens, new_token_ids
from .original_config import ConversionError

HEADS = ("mapper.", "fuser.", "scorer.")  # what a backbone does not have


def from_backbone(name_or_path: str, **config_overrides) -> tuple[HEIEForImplausibility, HEIEProcessor]:
    """HEIE with a native InternVL checkpoint as its backbone and newly initialised heads, ready to be trained.

    Args:
        name_or_path: a native checkpoint, such as "OpenGVLab/InternVL3-8B-hf", on the Hub or in a directory.
        config_overrides: fields of `HEIEConfig`, for example `max_patches=6`, `dtype="float32"` or
            `mapper_config={"hidden_size": 128}`.

    Returns:
        The model, its vocabulary extended by `[MAP]`, `[MAP_1]` .. and `[SCORE]` (rows initialised from the mean of
        the others), and the processor that fits it.

    Raises:
        ConversionError: if the checkpoint is no native InternVL one, or lacks weights; for the original layout it
            names the converter.
    """
    config_dict, _ = PreTrainedConfig.get_config_dict(name_or_path)
    model_type = config_dict.get("model_type")
    if "llm_config" in config_dict:
        raise ConversionError(f"{name_or_path} has InternVL's original layout; first: heie convert {name_or_path} DIR")
    if model_type != "internvl":
        raise ConversionError(f"{name_or_path} is no InternVL checkpoint (model_type {model_type})")
    config = HEIEConfig.from_dict({**config_dict, "model_type": "heie", **config_overrides})
    new_tokens = named_tokens(config.max_patches)
    tokenizer = AutoTokenizer.from_pretrained(name_or_path, extra_special_tokens=new_tokens, trust_remote_code=False)
    processor = build_processor(tokenizer, config)
    model, loading = HEIEForImplausibility.from_pretrained(
        name_or_path,
        config=config,
        dtype=config.dtype or "auto",
        output_loading_info=True,
        trust_remote_code=False,
    )
    missing = [name for name in sorted(loading["missing_keys"]) if not name.startswith(HEADS)]
    if missing:
        raise ConversionError(f"{name_or_path} lacks {len(missing)} weights of the backbone, the first: {missing[0]}")
    _add_tokens(model, processor)
    return model, processor


def build_processor(
    tokenizer: PreTrainedTokenizerBase, config: HEIEConfig, chat_template: str = CHAT_TEMPLATE
) -> HEIEProcessor:
    """The processor for an extended tokenizer of a backbone; sets the fields of `config` that depend on it."""
    end_turns(tokenizer)
    bos = tokenizer.bos_token_id
    if bos is not None and tokenizer("").input_ids == [bos]:
        chat_template = tokenizer.bos_token + chat_template  # the processor itself adds no special tokens
    height, width = config.vision_config.image_size
    patch_height, patch_width = config.vision_config.patch_size
    factor = config.mapper_config.upsample_factor
    num_rows = height // patch_height * factor
    num_columns = width // patch_width * factor
    image_processor = HEIEImageProcessor(
        size={"height": height, "width": width},
        heatmap_size={"height": num_rows, "width": num_columns},
        max_patches=config.max_patches,
    )
    processor = HEIEProcessor(image_processor, tokenizer, config.image_seq_length, chat_template)
    for name, value in processor.model_token_config().items():
        setattr(config, name, value)
    return processor


def _add_tokens(model: HEIEForImplausibility, processor: HEIEProcessor) -> None:
    """Make room for the new tokens in the input and output embeddings."""
    inputs = model.get_input_embeddings().weight
    outputs = model.get_output_embeddings().weight
    # Native checkpoints leave this flag at its default, True, even where lm_head has weights of its own; loading
    # respects the weights, but resizing would then tie them.
    model.config.tie_word_embeddings = inputs is outputs
    model.resize_token_embeddings(max(len(inputs), len(processor.tokenizer)), mean_resizing=False)
    new_ids = new_token_ids(processor.tokenizer, model.config.max_patches)
    for embeddings in (model.get_input_embeddings(), model.get_output_embeddings()):
        initialise_rows(embeddings.weight, new_ids)
    model.generation_config.eos_token_id = processor.tokenizer.eos_token_id
    model.generation_config.pad_token_id = processor.tokenizer.pad_token_id
