"""Model folders with one thing wrong each, made from a real checkpoint: dozens of kinds of damage and of malice."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

Damage = Callable[[Path], None]

JSON_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)
NO_OBJECTS = {
    "list": "[]",
    "null": "null",
    "number": "7",
    "text": '"x"',
    "empty": "",
    "empty-object": "{}",
    "deep": "[" * 100_000,
    "deep-object": '{"model_type":' * 100_000,
    "binary": "\0\1\2",
}
FOREIGN_FILES = (
    "weights.bin",
    "../model.safetensors",
    "/etc/passwd",
    "sub/model.safetensors",
    "none.safetensors",
    "",
)
OF_A_WRONG_KIND = (None, [], {}, "x", -1, 1.5, 10**9, True)
TEMPLATES = {
    "raises": "{{ raise_exception('no') }}",
    "no-jinja": "{% for",
    "unknown-tag": "{% nothing %}",
    "unknown-name": "{{ nothing.at.all }}",
    "endless": "{% for a in range(99999) %}{% for b in range(99999) %}{% for c in range(99999) %}"
    "{% endfor %}{% endfor %}{% endfor %}",
    "endless-number": "{{ 9 ** 9 ** 9 ** 9 }}",
    "large-text": "{{ 'a' * 10 ** 11 }}",
    "large-field": "{{ '%100000000000d' % 1 }}",
    "no-image": "{{ messages[0]['role'] }}",
    "two-images": "<IMG_CONTEXT><IMG_CONTEXT>",
    "empty": " ",
    "recursive": "{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}",
}


def damages(checkpoint: str | Path) -> Iterator[tuple[str, Damage]]:
    """Name and deed of every kind of damage that can be done to this checkpoint."""
    for name in sorted(path.name for path in Path(checkpoint).iterdir()):
        yield f"{name} missing", lambda folder, name=name: (folder / name).unlink()
        yield f"{name} cut", lambda folder, name=name: _cut(folder / name)
        yield f"{name} a folder", lambda folder, name=name: _make_folder(folder / name)
    for name in JSON_FILES:
        for kind, text in NO_OBJECTS.items():
            yield f"{name} {kind}", lambda folder, name=name, text=text: (folder / name).write_text(text)
        yield from _wrong_fields(Path(checkpoint), name)
    for kind, template in TEMPLATES.items():
        yield (
            f"template {kind}",
            lambda folder, template=template: (folder / "chat_template.jinja").write_text(template),
        )
    yield from _wrong_weights()
    yield from _foreign_code()


def _cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def _make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _wrong_fields(checkpoint: Path, name: str) -> Iterator[tuple[str, Damage]]:
    """Every field, those of the parts too, with a value of every other kind."""
    if name == "tokenizer.json":
        paths = [("model",), ("added_tokens",), ("pre_tokenizer",), ("decoder",), ("model", "vocab")]
    else:
        paths = list(_field_paths(json.loads((checkpoint / name).read_text())))
    for path in paths:
        for value in OF_A_WRONG_KIND:

            def set_wrong(folder: Path, path=path, value=value) -> None:
                set_field(folder / name, path, value)

            yield f"{name} {'.'.join(path)} {json.dumps(value)}", set_wrong


def _field_paths(content: dict, above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in content.items():
        yield (*above, key)
        if isinstance(value, dict):
            yield from _field_paths(value, (*above, key))


def set_field(file: Path, path: tuple[str, ...], value: Any) -> None:
    content = json.loads(file.read_text())
    part = content
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    file.write_text(json.dumps(content))


def _wrong_weights() -> Iterator[tuple[str, Damage]]:
    def change(what: Callable[[dict], None]) -> Damage:
        def damage(folder: Path) -> None:
            weights = load_file(folder / "model.safetensors")
            what(weights)
            save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

        return damage

    def drop(prefix: str) -> Damage:
        def what(weights: dict) -> None:
            for name in [name for name in weights if prefix in name]:
                del weights[name]

        return change(what)

    def reshape(weights: dict) -> None:
        weights["scorer.map_output.weight"] = weights["scorer.map_output.weight"].repeat(2, 1)

    for prefix in ("scorer.", "mapper.output", "lm_head", "vision_tower", "embed_tokens", ""):
        yield f"weights without {prefix or 'any'}", drop(prefix)
    yield "weights of another shape", change(reshape)
    yield "weights garbage", lambda folder: (folder / "model.safetensors").write_bytes(b"\xff" * 1000)
    yield "weights empty", lambda folder: (folder / "model.safetensors").write_bytes(b"")
    for name in (
        "weights.bin",
        "../model.safetensors",
        "/etc/passwd",
        "sub/model.safetensors",
        "none.safetensors",
        "",
    ):
        yield f"index names {name or 'nothing'}", lambda folder, name=name: _index(folder, name)
    for kind, text in NO_OBJECTS.items():
        yield f"index {kind}", lambda folder, text=text: _index(folder, "model.safetensors", text)


def _index(folder: Path, name: str, text: str | None = None) -> None:
    """An index in the place of the weights; the one file that it names is there and holds them all."""
    stored = folder / "model.safetensors"
    index = {"metadata": {}, "weight_map": dict.fromkeys(load_file(stored), name)}
    if name in ("weights.bin", "../model.safetensors", "sub/model.safetensors"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(stored, folder / name)
    stored.unlink()
    (folder / "model.safetensors.index.json").write_text(json.dumps(index) if text is None else text)


def _foreign_code() -> Iterator[tuple[str, Damage]]:
    """Code that leaves a trace when it is run."""
    code = "from pathlib import Path\n(Path(__file__).parent / 'ran').touch()\nraise SystemExit\n"

    maps = [
        ("processor_config.json", ("auto_map",), "AutoProcessor"),
        ("processor_config.json", ("image_processor", "auto_map"), "AutoImageProcessor"),
        ("config.json", ("auto_map",), "AutoConfig"),
        ("config.json", ("auto_map",), "AutoModelForImageTextToText"),
        ("tokenizer_config.json", ("auto_map",), "AutoTokenizer"),
    ]
    names = {
        "AutoProcessor": ("processor_class",),
        "AutoImageProcessor": ("image_processor", "image_processor_type"),
        "AutoConfig": ("model_type",),
        "AutoTokenizer": ("tokenizer_class",),
    }
    for file, path, auto_class in maps:

        def damage(folder: Path, file=file, path=path, auto_class=auto_class) -> None:
            (folder / "evil.py").write_text(code)
            reference = ["evil.Evil", "evil.Evil"] if auto_class == "AutoTokenizer" else "evil.Evil"
            set_field(folder / file, path, {auto_class: reference})
            if auto_class in names:  # a class that Transformers does not know, so that it asks for the code
                set_field(folder / file, names[auto_class], "Evil")

        yield f"code of an {auto_class}", damage

    def custom_generate(folder: Path) -> None:
        (folder / "custom_generate").mkdir()
        (folder / "custom_generate" / "generate.py").write_text(code)

    yield "code of a custom generate", custom_generate
