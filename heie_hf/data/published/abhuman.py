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
    Entries,
    Size,
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
CLASSES = [str(number) for number in range(18)]
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".zip")  # the published train.zip is a gzipped tar
WHERE = f"Download train.zip and val.zip from {HOME} and unpack them: tar -xzf train.zip"

Box = tuple[float, float, float, float]


def sources(root: Path, split: str = "train") -> dict:
    folder = root / checked_split(split, SPLITS)
    source = folder
    for ending in ARCHIVES:
        archive = folder.with_name(folder.name + ending)
        if not source.exists():
            source = archive
    if not source.exists():
        source = folder
    required(source, WHERE)
    if source.is_file() and not tarfile.is_tarfile(source):
        raise ValueError(f"{source} is not a tar archive, or damaged: unpack it to {folder}")
    return {"source": source}


def entries(source: Path) -> Entries:
    """One per image. An image without a label file has no anomaly, as is YOLO's custom."""
    labels = {}
    for name, read in _files(source, {".txt"}):
        labels[PurePosixPath(name).stem] = read()
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
    heatmap = Image.new("L", size)
    draw = ImageDraw.Draw(heatmap)
    defects = []
    for line in labels.decode().splitlines():
        if not line.strip():
            continue
        defect = _defect(line, size)
        defects.append(defect)
        x0, y0, x1, y1 = map(round, defect["box"])
        # PIL's rectangles include their last pixel
        draw.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), fill=255)
    return {"id": identity, "image": image, "heatmap": png_cell(heatmap), "defects": defects}


def _defect(line: str, size: Size) -> dict:
    """From "class centre-x centre-y width height" in shares of `size` (W, H). Raises ValueError."""
    kind, *numbers = line.split()
    if kind not in CLASSES or len(numbers) != 4:
        raise ValueError(f"label {line!r} is not a class from 0 to {len(CLASSES) - 1} and four numbers")
    x = unit_score(numbers[0], "centre x")
    y = unit_score(numbers[1], "centre y")
    half_width = unit_score(numbers[2], "width") / 2
    half_height = unit_score(numbers[3], "height") / 2
    left, right = _clamped(x - half_width), _clamped(x + half_width)
    top, bottom = _clamped(y - half_height), _clamped(y + half_height)
    width, height = size
    box = [left * width, top * height, right * width, bottom * height]
    return {"kind": kind, "part": None, "box": box, "severity": None}


def _clamped(edge: float) -> float:
    return min(max(edge, 0.0), 1.0)
