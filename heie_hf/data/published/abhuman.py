"""AbHuman (HumanRefiner, ECCV 2024): 56,000 images of people, boxes around anomalies of 18 classes, no scores.

The paper does not say how boxes become heatmaps: here the union of the boxes is 255, all else 0. Files: the folders
train and val that the archives unpack to, or the archives themselves, whose images are then copied to the cache.
"""

import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path, PurePosixPath

from PIL import Image, ImageDraw

from heie_hf.data.fields import (
    IMAGE_EXTENSIONS,
    checked_split,
    fail,
    files_below,
    image_cell,
    png_cell,
    required,
    unit_score,
)

HOME = "https://huggingface.co/datasets/Enderfga/HumanRefiner"
SPLITS = ("train", "val")
NUM_CLASSES = 18  # named "0" .. "17"
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")  # the published train.zip is a gzipped tar
WHERE = f"Download train.zip and val.zip from {HOME} and unpack them: tar -xzf train.zip"

Box = tuple[float, float, float, float]


def sources(root: Path, split: str = "train") -> dict:
    name = checked_split(split, SPLITS)
    found = [path for path in (root / name, *(root / f"{name}{kind}" for kind in ARCHIVES)) if path.exists()]
    source = required(found[0] if found else root / name, WHERE)
    if source.is_file() and not tarfile.is_tarfile(source):
        raise ValueError(f"{source} is not a tar archive, or damaged: unpack it to {root / name}")
    return {"source": source}


def entries(source: Path) -> Iterator[tuple[str, Callable[[], dict]]]:
    """One per image. An image without a label file has no anomaly, as is YOLO's custom."""
    labels = {PurePosixPath(name).stem: read() for name, read in _files(source, {".txt"})}
    labels.pop("classes", None)  # names of the classes, as some tools write them
    if not labels:
        raise FileNotFoundError(f"{source} has no label files (.txt). {WHERE}")
    seen = set()
    for name, read in _files(source, IMAGE_EXTENSIONS):
        stem = PurePosixPath(name).stem
        if stem in seen:
            yield name, partial(fail, "another image has the same name")
            continue
        seen.add(stem)
        picture = read() if source.is_file() else Path(name)
        yield name, partial(_row, stem, picture, labels.get(stem, b""))
    for stem in sorted(labels.keys() - seen):
        yield f"{stem}.txt", partial(fail, "there is no image for these labels")


def _files(source: Path, extensions: set[str]) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Names below a folder or in an archive, each with a function that reads the file."""
    if source.is_dir():
        for path in files_below(source, extensions):
            yield str(path), path.read_bytes
        return
    with tarfile.open(source) as archive:
        for member in archive:
            name = PurePosixPath(member.name)
            if member.isfile() and name.suffix.lower() in extensions and not name.name.startswith("."):
                yield member.name, archive.extractfile(member).read


def _row(identity: str, picture: Path | bytes, labels: bytes) -> dict:
    image, size = image_cell(picture)
    defects = [_defect(line, size) for line in labels.decode().splitlines() if line.strip()]
    heatmap = Image.new("L", size)
    for defect in defects:
        x0, y0, x1, y1 = (round(edge) for edge in defect["box"])
        # PIL's rectangles include their last pixel
        ImageDraw.Draw(heatmap).rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=255)
    return {"id": identity, "image": image, "heatmap": png_cell(heatmap), "defects": defects}


def _defect(line: str, size: tuple[int, int]) -> dict:
    """From "class centre-x centre-y width height" in shares of `size` (W, H). Raises ValueError."""
    parts = line.split()
    if len(parts) != 5 or parts[0] not in {str(number) for number in range(NUM_CLASSES)}:
        raise ValueError(f"label {line!r} is not a class from 0 to {NUM_CLASSES - 1} and four numbers")
    names = ("centre x", "centre y", "width", "height")
    x, y, width, height = (unit_score(part, name) for part, name in zip(parts[1:], names))
    box = [
        min(max(edge, 0.0), 1.0) * side
        for edge, side in zip((x - width / 2, y - height / 2, x + width / 2, y + height / 2), size * 2)
    ]
    return {"kind": parts[0], "part": None, "box": box, "severity": None}
