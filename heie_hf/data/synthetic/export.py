"""Scenes as a data set in memory, and as files in the layout of Expl-AIGI-Eval."""

import json
from dataclasses import asdict, dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from datasets import Dataset
from PIL import Image
from tqdm import tqdm

from heie_hf.data.schema import FEATURES
from heie_hf.files import whole_file
from heie_hf.processing.explanation_heie import SECTIONS, Explanation, render

from .scene import Scene, draw_pair, draw_scene

#: Part of every id. Raised whenever the same seed draws other pictures.
VERSION = 3

#: Some of the human turns of Expl-AIGI-Eval.
INSTRUCTIONS = (
    "Identify every flaw in this AIGC image and offer a description of each issue.",
    "Highlight all the problematic sections in this AIGC image and explain each issue.",
    "Detect every problematic spot in this AIGC image and describe each issue.",
    "Locate and explain all problems found in this AIGC image.",
)


def scene_id(seed: int, index: int, unseen: bool = False) -> str:
    return f"synthetic-v{VERSION}{'-unseen' if unseen else ''}-{seed}-{index:06d}"


def _png(image: Image.Image) -> bytes:
    buffer = BytesIO()
    image.save(buffer, "PNG", compress_level=1)  # noise hardly packs; higher levels cost most of the time
    return buffer.getvalue()


def _heatmap_png(scene: Scene) -> bytes:
    return _png(Image.fromarray(np.round(scene.heatmap * 255).astype(np.uint8)))


def _check(num_images: int, seed: int) -> None:
    if num_images < 1:
        raise ValueError(f"num_images must be at least 1, not {num_images}")
    if seed < 0:
        raise ValueError(f"seed must not be negative: {seed}")


def to_row(scene: Scene, identity: str) -> dict:
    """A row of FEATURES, pictures as PNG bytes."""
    row = dict.fromkeys(FEATURES)
    row["id"] = identity
    row["image"] = {"bytes": _png(scene.image), "path": None}
    row["heatmap"] = {"bytes": _heatmap_png(scene), "path": None}
    row["score"] = scene.score
    for section in SECTIONS:
        row[section] = getattr(scene, section)
    row["defects"] = []
    for defect in scene.defects:
        cell = {name: getattr(defect, name) for name in ("kind", "part", "box", "severity")}
        row["defects"].append(cell)
    row["facts"] = scene.facts
    return row


def load(num_images: int, seed: int, unseen: bool = False) -> Dataset:
    """The first `num_images` scenes of a seed in the schema FEATURES, held in memory (about 0.2 MB per image).

    Image i of a seed has the same bytes whatever `num_images` is. `unseen`: see `draw_scene`.
    Raises ValueError when `num_images` < 1 or `seed` < 0.
    """
    _check(num_images, seed)
    rows = []
    for index in range(num_images):
        scene = draw_scene(seed, index, unseen)
        rows.append(to_row(scene, scene_id(seed, index, unseen)))
    return Dataset.from_list(rows, features=FEATURES)


def _write(path: Path, content: bytes) -> None:
    with whole_file(path) as draft:
        draft.write_bytes(content)


def _write_pictures(folder: Path, scene: Scene, identity: str) -> None:
    """Image and heatmap, unless they are there."""
    image = folder / "images" / f"{identity}.png"
    heatmap = folder / "artifact_map" / f"{identity}.png"
    if not image.exists():
        _write(image, _png(scene.image))
    if not heatmap.exists():
        _write(heatmap, _heatmap_png(scene))


@dataclass(frozen=True)
class Entry:
    """A scene with its id; `pair`: the id of the flawed one of two twins."""

    identity: str
    scene: Scene
    pair: str | None = None


def _entries(seed: int, index: int, unseen: bool, pairs: bool) -> list[Entry]:
    """A scene, and with `pairs` its twin without defects if it has any."""
    identity = scene_id(seed, index, unseen)
    if not pairs:
        return [Entry(identity, draw_scene(seed, index, unseen))]
    scene, twin = draw_pair(seed, index, unseen)
    if twin is None:
        return [Entry(identity, scene)]
    return [Entry(identity, scene, identity), Entry(f"{identity}-clean", twin, identity)]


def _annotation(entry: Entry, index: int) -> dict:
    scene, identity = entry.scene, entry.identity
    text = render(Explanation(scene.description, scene.regions, scene.analysis))
    human = "<image>\n" + INSTRUCTIONS[index % len(INSTRUCTIONS)]
    record = {
        "id": identity,
        "image": f"./images/{identity}.png",
        "heatmap": f"./artifact_map/{identity}.png",
        "score": scene.score,
        "conversations": [{"from": "human", "value": human}, {"from": "gpt", "value": text}],
    }
    if entry.pair:
        record["pair"] = entry.pair
    return record


def _lines(records: list[dict]) -> bytes:
    lines = [json.dumps(record) + "\n" for record in records]
    return "".join(lines).encode()


def synthesize(num_images: int, seed: int, output_dir: str | Path, unseen: bool = False, pairs: bool = False) -> Path:
    """Write the first `num_images` scenes of a seed as files; returns the path of annotations.jsonl.

    Writes images/<id>.png, artifact_map/<id>.png (L, 0..255), defects.jsonl (id and planted defects: kind, part, noun,
    where, box in pixels, severity), facts.jsonl (id and what is true of the scene, as the column `facts` has it) and,
    last, annotations.jsonl (the rows of Expl-AIGI-Eval). Run again after an interruption: pictures that are there are
    kept.

    Args:
        unseen: see `draw_scene`.
        pairs: write each scene that has defects also without them, as <id>-clean; `pair` in both lines is the id.

    Raises:
        ValueError: `num_images` < 1 or `seed` < 0.
        NotADirectoryError: `output_dir` is a file.
    """
    _check(num_images, seed)
    folder = Path(output_dir)
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    for name in ("images", "artifact_map"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    annotations = []
    planted = []
    facts = []
    for index in tqdm(range(num_images), desc="synthesize", unit="image", disable=None):
        for entry in _entries(seed, index, unseen, pairs):
            identity = entry.identity
            _write_pictures(folder, entry.scene, identity)
            annotations.append(_annotation(entry, index))
            defects = [asdict(defect) for defect in entry.scene.defects]
            planted.append({"id": identity, "defects": defects})
            facts.append({"id": identity, "facts": entry.scene.facts})
    _write(folder / "defects.jsonl", _lines(planted))
    _write(folder / "facts.jsonl", _lines(facts))
    _write(folder / "annotations.jsonl", _lines(annotations))
    return folder / "annotations.jsonl"
