"""Weights from an original checkpoint to a HEIE checkpoint, one shard in memory at a time."""

import copy
import json
from collections.abc import Callable
from pathlib import Path

import torch
from huggingface_hub import split_torch_state_dict_into_shards
from safetensors import safe_open
from safetensors.torch import save_file
from transformers.utils import SAFE_WEIGHTS_INDEX_NAME, SAFE_WEIGHTS_NAME
from transformers.utils.logging import tqdm

from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.modeling_heie import HEIEForImplausibility

from .layout import source_of, take_part
from .new_tokens import extend_rows
from .original_config import ConversionError

_EMBEDDINGS = "model.language_model.embed_tokens.weight"
_LM_HEAD = "lm_head.weight"


class SourceWeights:
    """The tensors of a checkpoint directory by name, read from its safetensors files when asked for.

    A file is mapped only while one of its tensors is in use: kept open, the whole checkpoint would become resident.

    Raises:
        ConversionError: where there are no safetensors (pickles are never opened), or a shard of the index is missing.
    """

    def __init__(self, directory: Path):
        self._files = {}
        for path in _weight_files(directory):
            with safe_open(path, framework="pt") as file:
                self._files |= dict.fromkeys(file.keys(), path)

    @property
    def names(self) -> set[str]:
        return set(self._files)

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self._files[name], framework="pt") as file:
            return file.get_tensor(name)


def _weight_files(directory: Path) -> list[Path]:
    index = directory / SAFE_WEIGHTS_INDEX_NAME
    if not index.is_file():
        path = directory / SAFE_WEIGHTS_NAME
        if not path.is_file():
            raise ConversionError("no safetensors weights found; pickled weights (.bin, .pt) are never opened")
        return [path]
    names = sorted(set(json.loads(index.read_text())["weight_map"].values()))
    strange = [name for name in names if name != Path(name).name or not name.endswith(".safetensors")]
    if strange:
        raise ConversionError(f"the index names what is no safetensors file of this directory: {_listed(strange)}")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise ConversionError(f"weight files of the index are missing: {_listed(missing)}")
    return [directory / name for name in names]


def convert_weights(
    source: SourceWeights, config: HEIEConfig, internlm2: bool, new_ids: list[int], target: Path, max_shard_size: str
) -> None:
    """Write the weights of `HEIEForImplausibility(config)` to `target`: backbone from `source`, heads new.

    Raises:
        ConversionError: before anything is written if a tensor of the source is left over or one of the backbone is
            not filled; while writing if a shape does not fit.
    """
    heads = _new_heads(config)
    with torch.device("meta"):
        wanted = HEIEForImplausibility(config).to(config.dtype).state_dict()
    if config.tie_word_embeddings:
        del wanted[_LM_HEAD]
    parts = {}
    for key in wanted:
        if key not in heads:
            parts[key] = source_of(key, internlm2)
    _check_complete(source, {part.name for part in parts.values()}, config, internlm2)
    text = config.text_config
    groups = text.num_attention_heads // text.num_key_value_heads
    head_dim = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads

    def tensor(key: str) -> torch.Tensor:
        if key in heads:
            return heads[key]
        part = parts[key]
        weight = take_part(source[part.name], part, head_dim, groups)
        if key in (_EMBEDDINGS, _LM_HEAD):
            weight = extend_rows(weight, new_ids)
        shape, wanted_shape = tuple(weight.shape), tuple(wanted[key].shape)
        if shape != wanted_shape:
            raise ConversionError(f"{part.name} does not fit: {shape} for {key} {wanted_shape}")
        return weight

    _write_shards(wanted, tensor, target, max_shard_size)


def _check_complete(source: SourceWeights, needed: set[str], config: HEIEConfig, internlm2: bool) -> None:
    missing = needed - source.names
    extra = source.names - needed
    lm_head = source_of(_LM_HEAD, internlm2).name
    if config.tie_word_embeddings and lm_head in extra:
        # Tied weights may be stored twice; two different matrices would mean that the flag is wrong.
        embeddings = source_of(_EMBEDDINGS, internlm2).name
        if not torch.equal(source[lm_head], source[embeddings]):
            raise ConversionError(f"tie_word_embeddings is set, but {lm_head} differs from the input embeddings")
        extra.remove(lm_head)
    problems = []
    if missing:
        problems.append(f"missing in the source: {_listed(missing)}")
    if extra:
        problems.append(f"in the source but not in the model: {_listed(extra)}")
    if problems:
        raise ConversionError("; ".join(problems))


def _new_heads(config: HEIEConfig) -> dict[str, torch.Tensor]:
    """Freshly initialised mapper, fuser and scorer: those of a model of the same widths without any layer."""
    shallow = copy.deepcopy(config)
    shallow.text_config.num_hidden_layers = shallow.vision_config.num_hidden_layers = 0
    shallow.text_config.vocab_size, shallow.text_config.pad_token_id = 1, None
    model = HEIEForImplausibility(shallow).to(config.dtype)
    heads = {}
    for key, weight in model.state_dict().items():
        if not key.startswith(("model.", "lm_head.")):
            heads[key] = weight
    return heads


def _write_shards(
    wanted: dict[str, torch.Tensor], tensor: Callable[[str], torch.Tensor], target: Path, max_shard_size: str
) -> None:
    split = split_torch_state_dict_into_shards(wanted, max_shard_size=max_shard_size)
    for filename, keys in tqdm(split.filename_to_tensors.items(), desc="Converting", unit="shard", disable=None):
        shard = {key: tensor(key) for key in keys}
        save_file(shard, target / filename, metadata={"format": "pt"})
    if split.is_sharded:
        index = {"metadata": split.metadata, "weight_map": split.tensor_to_filename}
        (target / SAFE_WEIGHTS_INDEX_NAME).write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")


def _listed(names: set[str] | list[str], limit: int = 5) -> str:
    shown = ", ".join(sorted(names)[:limit])
    if len(names) > limit:
        shown += f" and {len(names) - limit} more"
    return shown
