"""What a training run is made of: the fields of a YAML file, any of which the command line can override."""

import dataclasses
import difflib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import yaml
from transformers import HfArgumentParser

from .arguments import HEIETrainingArguments

Part = Literal["vision", "projector", "language"]
AdaptedPart = Literal["vision", "language"]
DType = Literal["auto", "float32", "bfloat16", "float16"]
Quantization = Literal["none", "4bit", "8bit"]


class TrainingError(ValueError):
    """What has to be put right before training can begin, in one line; `rows` are place and reason of bad rows."""

    def __init__(self, message: object, rows: Sequence[tuple[str, str]] = ()):
        super().__init__(" ".join(str(message).split()))
        self.rows = list(rows)


@dataclass
class ModelArguments:
    """The model to start from."""

    model_name_or_path: str | None = field(
        default=None,
        metadata={
            "aliases": ["--model"],
            "help": "HEIE or native InternVL checkpoint, a folder or a name on the Hub; default: the embedded model.",
        },
    )
    from_scratch: bool = field(
        default=False, metadata={"help": "Random weights in the shape of that HEIE checkpoint, with its tokenizer."}
    )
    config_overrides: dict | str | None = field(
        default=None, metadata={"help": "Fields of `HEIEConfig`, such as {fusion: learned}; not with an adapter."}
    )
    max_patches: int | None = field(
        default=None, metadata={"help": "At most so many patches of an image; fewer need less memory."}
    )
    dtype: DType = field(
        default="auto", metadata={"help": "Of what is not trained; what is trained is float32. auto: as stored."}
    )
    attn_implementation: str | None = field(
        default=None, metadata={"help": "sdpa, eager (faster on a CPU), flash_attention_2 ..."}
    )
    quantization: Quantization = field(
        default="none", metadata={"help": "Load the backbone in 4 or 8 bits with bitsandbytes; needs an adapter."}
    )
    freeze: list[str] | None = field(
        default=None, metadata={"help": f"Parts that do not learn: {', '.join(get_args(Part))}. The heads always do."}
    )

    def __post_init__(self):
        self.config_overrides = _as_dict("config_overrides", self.config_overrides)
        self.freeze = _names("freeze", self.freeze, Part)
        _names("dtype", self.dtype, DType)
        _names("quantization", self.quantization, Quantization)


@dataclass
class AdapterArguments:
    """LoRA by peft. The heads and the embeddings of HEIE's own tokens are trained whole and saved with it."""

    lora_rank: int = field(default=0, metadata={"help": "Rank of the LoRA matrices; 0: no adapter."})
    lora_alpha: int = field(default=32, metadata={"help": "Their scale is lora_alpha / lora_rank."})
    lora_dropout: float = field(default=0.0, metadata={"help": "Dropout before them."})
    lora_parts: list[str] | None = field(
        default_factory=lambda: ["language"],
        metadata={"help": f"Parts whose linear layers get them: {', '.join(get_args(AdaptedPart))}."},
    )

    def __post_init__(self):
        self.lora_parts = _names("lora_parts", self.lora_parts, AdaptedPart)


@dataclass
class DataArguments:
    """What to learn from and what to measure on."""

    train_datasets: list | str | None = field(
        default=None,
        metadata={"help": "Data sets, each {name, root, split, ...} as `heie_hf.data.load` takes them; all together."},
    )
    eval_datasets: list | str | None = field(
        default=None, metadata={"help": "Held-out data sets, likewise; measured during and after training."}
    )
    max_train_samples: int | None = field(default=None, metadata={"help": "Only so many rows, drawn by `seed`."})
    max_eval_samples: int | None = field(default=None, metadata={"help": "Only so many rows, drawn by `seed`."})
    max_length: int | None = field(
        default=None,
        metadata={"help": "Longest prompt and answer, in tokens; without it the model's max_position_embeddings."},
    )
    skip_bad_rows: bool = field(
        default=False, metadata={"help": "Leave out rows that cannot be used, where otherwise nothing is begun."}
    )
    early_stopping_patience: int | None = field(
        default=None, metadata={"help": "Stop after so many evaluations without a better `metric_for_best_model`."}
    )

    def __post_init__(self):
        self.train_datasets = _specs("train_datasets", self.train_datasets)
        self.eval_datasets = _specs("eval_datasets", self.eval_datasets)
        if not self.train_datasets:
            raise TrainingError("train_datasets is missing: give a list such as [{name: synthetic, num_images: 1000}]")


class Recipe(NamedTuple):
    """All arguments of a run."""

    model: ModelArguments
    adapter: AdapterArguments
    data: DataArguments
    training: HEIETrainingArguments


class _Parser(HfArgumentParser):
    def error(self, message: str):
        raise TrainingError(message)


def field_names() -> list[str]:
    """Of all that a config may hold."""
    names = []
    for part in Recipe.__annotations__.values():
        for argument in dataclasses.fields(part):
            if argument.init:
                names.append(argument.name)
    return names


def read_recipe(config: str | os.PathLike | Mapping[str, Any], overrides: Sequence[str] = ()) -> Recipe:
    """The arguments of a run.

    Args:
        config: path of a YAML file, or its content.
        overrides: what a command line adds, such as ["--max_steps", "10"]; it has the last word.

    Raises:
        TrainingError: the file cannot be read, a field is unknown, or a value is of no use.
    """
    values = dict(config) if isinstance(config, Mapping) else _read_yaml(config)
    for name in values:
        if name not in field_names():
            raise _unknown(str(name))
    parser = _Parser(list(Recipe.__annotations__.values()), add_help=False, allow_abbrev=False)
    parser.set_defaults(**{name: _as_text(value) for name, value in values.items()})
    try:
        *parts, rest = parser.parse_args_into_dataclasses(
            list(overrides), return_remaining_strings=True, look_for_args_file=False
        )
    except TrainingError:
        raise
    except (ValueError, TypeError, OSError, ImportError, RuntimeError) as error:  # of TrainingArguments' own checks
        raise TrainingError(error) from error
    if rest and not rest[0].startswith("--"):
        raise TrainingError(f"{rest[0]!r} follows no field: write --field value")
    if rest:
        raise _unknown(rest[0].partition("=")[0].removeprefix("--"))
    return Recipe(*parts)


def _read_yaml(path: str | os.PathLike) -> dict:
    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise TrainingError(f"cannot read {path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise TrainingError(f"{path} is not valid YAML: {error}") from error
    if not isinstance(values, dict):
        raise TrainingError(f"{path} must consist of lines `field: value`")
    return values


def _unknown(name: str) -> TrainingError:
    near = difflib.get_close_matches(name.replace("-", "_"), field_names(), n=1, cutoff=0.5)
    return TrainingError(f"unknown field {name!r}" + (f"; is {near[0]} meant?" if near else ""))


def _as_text(value: object) -> object:
    """Scalars as on a command line, so that the parser checks them: YAML reads 3e-4 as a text and `no` as False."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value) if isinstance(value, int | float) else value


def _parsed(name: str, value: object) -> object:
    """Lists and dictionaries come from a command line as text in YAML."""
    try:
        return yaml.safe_load(value) if isinstance(value, str) else value
    except yaml.YAMLError as error:
        raise TrainingError(f"{name} is not valid YAML: {error}") from error


def _as_dict(name: str, value: object) -> dict:
    value = _parsed(name, value) or {}
    if not isinstance(value, dict):
        raise TrainingError(f"{name} must be like {{name: value}}, not {value!r}")
    return value


def _names(name: str, values: str | list[str] | None, known: object) -> list[str]:
    """The values as a list, all of them among those of the Literal `known`."""
    values = [values] if isinstance(values, str) else values or []
    for value in values:
        if value not in get_args(known):
            raise TrainingError(f"{name} cannot be {value!r}: there are {', '.join(get_args(known))}")
    return values


def _specs(name: str, value: object) -> list[dict]:
    """Each data set as a dict with its name."""
    value = _parsed(name, value) or []
    specs = []
    for spec in value if isinstance(value, list) else [value]:
        if isinstance(spec, str):
            spec = {"name": spec}
        if not (isinstance(spec, dict) and isinstance(spec.get("name"), str)):
            raise TrainingError(f"{name}: a data set is like {{name: folder, root: PATH}}, not {spec!r}")
        specs.append(spec)
    return specs
