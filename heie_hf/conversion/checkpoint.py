"""`heie convert`: an InternVL checkpoint directory becomes a HEIE checkpoint directory."""

import json
from pathlib import Path

from transformers import GenerationConfig

from heie_hf.files import is_free, whole_folder
from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.modeling_heie import HEIEForImplausibility
from heie_hf.processing.processing_heie import CHAT_TEMPLATE

from .backbone import build_processor, from_backbone
from .new_tokens import named_tokens, new_token_ids
from .original_config import ConversionError, is_internlm2, native_config
from .tokenizer import original_tokenizer
from .weights import SourceWeights, convert_weights

# InternVL 1.5 and 2 close a turn with "<|im_end|>" alone, 2.5 and 3 (template "internvl2_5") with a newline after it.
_TEMPLATES_WITHOUT_NEWLINE = ("internlm2-chat", "Hermes-2")


def convert(source: str | Path, target: str | Path, max_shard_size: str = "5GB", **config_overrides) -> Path:
    """Write a HEIE checkpoint with the backbone of an InternVL checkpoint and newly initialised heads.

    The original layout is read tensor by tensor from safetensors and JSON files; none of its code is run. About
    one shard is in memory at a time. A native checkpoint is read as `from_backbone` does.

    Args:
        source: directory of a checkpoint, in the original layout (InternVL 1.5 to 3.5 with InternLM2, Llama, Qwen2 or
            Qwen3) or the native one.
        target: directory to make; may exist if it is empty. It appears when everything is written, not before.
        max_shard_size: largest size of a weight file.
        config_overrides: fields of `HEIEConfig`.

    Returns:
        The target.

    Raises:
        ConversionError: if the source cannot be converted completely and exactly, or the target is not empty.
    """
    source, target = Path(source), Path(target)
    if not is_free(target):
        raise ConversionError(f"{target} exists and is not an empty directory")
    if not (source / "config.json").is_file():
        raise ConversionError(f"{source} is no checkpoint directory: it has no config.json")
    original = json.loads((source / "config.json").read_text(encoding="utf-8"))
    with whole_folder(target) as directory:
        if "llm_config" in original:
            _convert_original(source, original, directory, max_shard_size, config_overrides)
        else:
            model, processor = from_backbone(str(source), **config_overrides)
            model.save_pretrained(directory, max_shard_size=max_shard_size)
            processor.save_pretrained(directory)
    return target


def _convert_original(source: Path, original: dict, directory: Path, max_shard_size: str, overrides: dict) -> None:
    config = HEIEConfig(**native_config(original) | overrides)
    tokenizer = original_tokenizer(source, named_tokens(config.max_patches))
    processor = build_processor(tokenizer, config, _chat_template(original.get("template")))
    new_ids = new_token_ids(tokenizer, config.max_patches)
    config.text_config.vocab_size = max(config.text_config.vocab_size, len(tokenizer))
    config.architectures = [HEIEForImplausibility.__name__]
    convert_weights(SourceWeights(source), config, is_internlm2(original), new_ids, directory, max_shard_size)
    config.save_pretrained(directory)
    ends = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    GenerationConfig(**ends).save_pretrained(directory)
    processor.save_pretrained(directory)


def _chat_template(name: str | None) -> str:
    if name not in _TEMPLATES_WITHOUT_NEWLINE:
        return CHAT_TEMPLATE
    return CHAT_TEMPLATE.replace(r"<|im_end|>\n", "<|im_end|>").replace(r"{{ '\n' }}", "")
