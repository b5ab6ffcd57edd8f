"""What the loaders share: files that must be there, and the cells of a row. A ValueError tells why a row is bad."""

import math
import os
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from PIL import Image

from heie_hf.processing.explanation_heie import Explanation
from heie_hf.processing.image_files_heie import read_image

IMAGE_EXTENSIONS = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", ".avif", ".jp2"}


def fail(reason: object) -> None:
    """A row that cannot be made, as the function that makes it."""
    raise ValueError(str(reason))


def required(path: Path, where: str) -> Path:
    """The path, if it is there and holds data.

    Args:
        where: what to download and from where.

    Raises:
        FileNotFoundError: it is missing, or a Git LFS pointer stands in its place; says `where`.
    """
    if not path.exists():
        raise FileNotFoundError(f"{path} is missing. {where}")
    if path.is_file():
        with path.open("rb") as file:
            if file.read(40).startswith(b"version https://git-lfs"):
                raise FileNotFoundError(f"{path} is only a Git LFS pointer: run `git lfs pull` beside it. {where}")
    return path


def checked_split(split: str, splits: tuple[str, ...]) -> str:
    if split not in splits:
        raise ValueError(f"no split {split!r}: there are {', '.join(splits)}")
    return split


def image_cell(source: str | os.PathLike | bytes) -> tuple[dict, tuple[int, int]]:
    """A cell of the column `image` and the size (W, H), from a path (kept as a path) or an encoded image.

    Raises:
        ImageFileError: the image cannot be read; it is decoded to find out.
    """
    if isinstance(source, bytes):
        return {"bytes": source, "path": None}, read_image(BytesIO(source)).size
    return {"bytes": None, "path": os.fspath(source)}, read_image(source).size


def heatmap_cell(source: str | os.PathLike | bytes, size: tuple[int, int], may_stretch: bool = False) -> dict:
    """A cell of a heatmap column from a path or an encoded image: L, resized to `size` (W, H) where it differs.

    A file that is so already is kept as a path.

    Args:
        may_stretch: take a map of another shape than the image too, as if it showed the whole image.

    Raises:
        ImageFileError: the heatmap cannot be read.
        ValueError: it has another shape (width to height, by more than a pixel) than the image.
    """
    stream = BytesIO(source) if isinstance(source, bytes) else source
    heatmap = read_image(stream).convert("L")  # grey as RGB gives the same grey back
    if not may_stretch and abs(heatmap.width * size[1] / size[0] - heatmap.height) > 1:
        raise ValueError(f"has {heatmap.width} x {heatmap.height} pixels, its image {size[0]} x {size[1]}")
    with Image.open(stream) as original:
        is_ready = original.mode == "L" and original.size == size
    if is_ready:
        return {"bytes": source, "path": None} if isinstance(source, bytes) else {"bytes": None, "path": str(source)}
    return png_cell(heatmap if heatmap.size == size else heatmap.resize(size, Image.Resampling.BILINEAR))


def png_cell(image: Image.Image) -> dict:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def unit_score(value: object, name: str, low: float = 0.0, high: float = 1.0) -> float:
    """A number of the scale `low` .. `high`, moved to [0, 1].

    Raises:
        ValueError: it is no number, not finite or off the scale.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"{name} is {value!r}, not a number") from None
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{name} is {number}, not from {low:g} to {high:g}")
    return (number - low) / (high - low)


def explanation_cells(explanation: Explanation) -> dict[str, str | None]:
    """The columns description, regions and analysis; a section that is not there is None."""
    return {name: getattr(explanation, name) or None for name in ("description", "regions", "analysis")}


def files_below(folder: Path, extensions: set[str] | None = None) -> list[Path]:
    """The files of a folder and all below, linked folders too, sorted; hidden ones are left out."""
    found, seen = [], set()
    for here, folders, names in os.walk(folder, followlinks=True):
        if os.path.realpath(here) in seen:  # a loop of links
            folders.clear()
            continue
        seen.add(os.path.realpath(here))
        found += [Path(here, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if extensions is None or path.suffix.lower() in extensions)


def image_index(folder: Path) -> dict[str, list[Path]]:
    """All image files of a folder and below: name to paths."""
    index: dict[str, list[Path]] = {}
    for path in files_below(folder, IMAGE_EXTENSIONS):
        index.setdefault(path.name, []).append(path)
    return index


def the_image(index: dict[str, list[Path]], name: str) -> Path:
    """The path of the image with this name. Raises ValueError unless there is exactly one."""
    paths = index.get(name, [])
    if not paths:
        raise ValueError("has no image file")
    if len(paths) > 1:
        raise ValueError(f"{len(paths)} images have this name: {', '.join(map(str, paths))}")
    return paths[0]


def training_groups(groups: list[str], share: float) -> set[str]:
    """The groups that are for training: taken in the order of their hashes until they hold `share` of all rows.

    For data sets whose publishers fixed a ratio but no list; a group (images of one prompt) is never torn apart.
    """
    wanted, taken, chosen = share * len(groups), 0, set()
    for group in sorted(set(groups), key=lambda group: sha256(group.encode()).digest()):
        if taken >= wanted:
            break
        chosen.add(group)
        taken += groups.count(group)
    return chosen
