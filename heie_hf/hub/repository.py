"""The files of a repository: a saved model, the code that it needs where heie-hf is not installed, and a card."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from transformers.dynamic_module_utils import custom_object_save

from heie_hf.files import is_free, whole_folder
from heie_hf.modeling import HEIEConfig, HEIEForImplausibility
from heie_hf.pipeline_heie import ImplausibilityPipeline
from heie_hf.prediction.source import model_folder
from heie_hf.processing import HEIEImageProcessor, HEIEProcessor

from .card import CardFacts, hub_name, render_card, saved_card

# What of a checkpoint is published: no optimiser state, no pickle, no code but this package's, no paths of a machine.
PUBLISHED = ("*.json", "*.jinja", "*.safetensors", "*.txt", "*.model", "LICENSE")
LEFT_OUT = ("trainer_state.json", "metrics.json", "*_results.json")


def add_code(folder: str | os.PathLike) -> None:
    """Make a saved model, processor or both loadable without heie-hf: copies the code and names it in the configs."""
    folder = Path(folder)
    if (folder / "config.json").is_file():
        model = _reference(HEIEForImplausibility)
        with _edited(folder / "config.json") as config:
            config["auto_map"] = {
                "AutoConfig": _reference(HEIEConfig),
                "AutoModel": model,
                "AutoModelForImageTextToText": model,
            }
            config["custom_pipelines"] = {
                "image-implausibility": {
                    "impl": _reference(ImplausibilityPipeline),
                    "pt": ["AutoModelForImageTextToText"],
                    "type": "multimodal",
                }
            }
        for cls in (HEIEForImplausibility, ImplausibilityPipeline):
            custom_object_save(cls, folder)
    if (folder / "processor_config.json").is_file():
        with _edited(folder / "processor_config.json") as config:
            config["auto_map"] = {"AutoProcessor": _reference(HEIEProcessor)}
            config["image_processor"]["auto_map"] = {"AutoImageProcessor": _reference(HEIEImageProcessor)}
        for cls in (HEIEProcessor, HEIEImageProcessor):
            custom_object_save(cls, folder)


def leave_out(name: str, folder: str | os.PathLike) -> None:
    """Have the Hub leave files of this name out of every upload of the folder: it follows .gitignore."""
    path = Path(folder, ".gitignore")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    if name not in lines:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(f"{line}\n" for line in [*lines, name]), encoding="utf-8")


def _reference(cls: type) -> str:
    """As an auto_map names a class: without its package, because the files are copied flat."""
    return f"{cls.__module__.rpartition('.')[2]}.{cls.__name__}"


@contextlib.contextmanager
def _edited(path: Path) -> Iterator[dict[str, Any]]:
    content = json.loads(path.read_text(encoding="utf-8"))
    yield content
    path.write_text(json.dumps(content, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def write_repository(source: str, folder: Path, facts: CardFacts) -> None:
    """Write what `heie push` publishes of a saved model into a folder: all of it, or nothing.

    Args:
        source: folder or Hub name of a HEIE model, or of a PEFT adapter for one. Its weights are copied as they are.
        folder: where to; empty or not there yet.
        facts: for the card. Without any, a HEIE card beside the weights is published as it is. Without
            `facts.metrics` the figures come from a `metrics.json` beside the weights.

    Raises:
        ValueError: if the folder is in use, or the source is no complete HEIE model.
        OSError: if the source cannot be read or the folder cannot be written.
    """
    if not is_free(folder):
        raise ValueError(f"{folder} is not an empty folder")
    checkpoint = _folder_of(source)
    files = published_files(checkpoint)
    card = None if facts.are_stated else saved_card(checkpoint)
    figures = checkpoint / "metrics.json"
    if facts.metrics is None and figures.is_file():
        facts = replace(facts, metrics=json.loads(figures.read_text(encoding="utf-8")))
    facts = replace(facts, repo_id=facts.repo_id or folder.name)
    with whole_folder(folder) as unfinished:
        for file in files:
            shutil.copyfile(file, unfinished / file.name)
        add_code(unfinished)
        name_base_model(unfinished, facts.base_model)
        card = card or render_card(unfinished, facts)
        card.save(unfinished / "README.md")


def name_base_model(folder: Path, base_model: str | None) -> None:
    """Have an adapter's config name its base model on the Hub: the one that is stated, or no path of this machine."""
    if not (folder / "adapter_config.json").is_file():
        return
    with _edited(folder / "adapter_config.json") as config:
        config["base_model_name_or_path"] = base_model or hub_name(config.get("base_model_name_or_path"))


def _folder_of(source: str) -> Path:
    try:
        return model_folder(source)
    except FileNotFoundError as error:
        raise ValueError(f"{source} is no folder, and no model that the Hub gives out") from error


def published_files(checkpoint: Path) -> list[Path]:
    """The files of a saved model or adapter that are published.

    Raises:
        ValueError: if it is no complete HEIE model: of another type, without a processor, without safetensors weights.
    """
    files = [file for file in sorted(checkpoint.iterdir()) if file.is_file() and _matches(file.name, PUBLISHED)]
    files = [file for file in files if not _matches(file.name, LEFT_OUT)]
    names = {file.name for file in files}
    kind = "adapter" if "adapter_config.json" in names else "model"
    if not any(fnmatch(name, f"{kind}*.safetensors") for name in names):
        raise ValueError(f"{checkpoint} has no safetensors weights of a model or adapter; only those are published")
    if kind == "model":
        for name in {"config.json", "processor_config.json"} - names:
            raise ValueError(f"{checkpoint} has no {name}: save model and processor there with save_pretrained")
        model_type = json.loads((checkpoint / "config.json").read_text(encoding="utf-8")).get("model_type")
        if model_type != HEIEConfig.model_type:
            raise ValueError(f"{checkpoint} is no HEIE model (its model_type is {model_type})")
        HEIEConfig.from_pretrained(
            checkpoint, trust_remote_code=False
        )  # what this version cannot load is not published
        HEIEProcessor.from_pretrained(checkpoint, trust_remote_code=False)
    return files


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch(name, pattern) for pattern in patterns)
