"""What the loaders share: files that must be there, and the cells of a row. A ValueError tells why a row is bad."""

import math
import os
import reprlib
from collections import Counter
from collections.abc import Callable, Iterator
from hashlib import sha256
from io import BytesIO
from pathlib import Path

from PIL import Image

from heie_hf.processing.explanation_heie import SECTIONS, Explanation
from heie_hf.processing.image_files_heie import image_suffixes, read_image

#: Width and height in pixels.
Size = tuple[int, int]
#: Place and maker of each row of a data set; a ValueError of the maker tells why there can be no row.
Entries = Iterator[tuple[str, Callable[[], dict]]]

IMAGE_EXTENSIONS = image_suffixes()


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


def image_cell(source: str | os.PathLike | bytes) -> tuple[dict, Size]:
    """A cell of the column `image` and the size (W, H), from a path (kept as a path) or an encoded image.

    Raises:
        ImageFileError: the image cannot be read; it is decoded to find out.
    """
    if isinstance(source, bytes):
        image = read_image(BytesIO(source))
        return {"bytes": source, "path": None}, image.size
    image = read_image(source)
    return {"bytes": None, "path": os.fspath(source)}, image.size


def heatmap_cell(source: str | os.PathLike | bytes, size: Size, may_stretch: bool = False) -> dict:
    """A cell of a heatmap column from a path or an encoded image: L, resized to `size` (W, H) where it differs.

    A file that is so already is kept as a path.

    Args:
        may_stretch: take a map of another shape than the image too, as if it showed the whole image.

    Raises:
        ImageFileError: the heatmap cannot be read.
        ValueError: it has another shape (width to height, by more than a pixel) than the image.
    """
    is_encoded = isinstance(source, bytes)
    stream = BytesIO(source) if is_encoded else source
    heatmap = read_image(stream).convert("L")  # grey as RGB gives the same grey back
    width, height = size
    expected_height = heatmap.width * height / width
    if not may_stretch and abs(expected_height - heatmap.height) > 1:
        raise ValueError(f"has {heatmap.width} x {heatmap.height} pixels, its image {width} x {height}")
    with Image.open(stream) as original:
        is_ready = original.mode == "L" and original.size == size
    if is_ready and is_encoded:
        return {"bytes": source, "path": None}
    if is_ready:
        return {"bytes": None, "path": str(source)}
    if heatmap.size != size:
        heatmap = heatmap.resize(size, Image.Resampling.BILINEAR)
    return png_cell(heatmap)


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
    except (TypeError, ValueError, OverflowError):
        raise ValueError(f"{name} is {reprlib.repr(value)}, not a number") from None
    if not math.isfinite(number) or not low <= number <= high:
        raise ValueError(f"{name} is {number}, not from {low:g} to {high:g}")
    return (number - low) / (high - low)


def explanation_cells(explanation: Explanation) -> dict[str, str | None]:
    """The columns description, regions and analysis; a section that is not there is None."""
    return {section: getattr(explanation, section) or None for section in SECTIONS}


def files_below(folder: Path, extensions: set[str] | None = None) -> list[Path]:
    """The files of a folder and all below, linked folders too, sorted; hidden ones are left out."""
    files = []
    visited = set()
    for here, subfolders, names in os.walk(folder, followlinks=True):
        place = os.path.realpath(here)
        if place in visited:  # a loop of links
            subfolders.clear()
            continue
        visited.add(place)
        for name in names:
            is_wanted = extensions is None or Path(name).suffix.lower() in extensions
            if is_wanted and not name.startswith("."):
                files.append(Path(here, name))
    return sorted(files)


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
        places = ", ".join(map(str, paths))
        raise ValueError(f"{len(paths)} images have this name: {places}")
    return paths[0]


def training_groups(groups: list[str], share: float) -> set[str]:
    """The groups that are for training: taken in the order of their hashes until they hold `share` of all rows.

    For data sets whose publishers fixed a ratio but no list; a group (images of one prompt) is never torn apart.
    """
    rows_per_group = Counter(groups)
    num_wanted = share * len(groups)
    num_taken = 0
    chosen = set()
    for group in sorted(rows_per_group, key=_digest):
        if num_taken >= num_wanted:
            break
        chosen.add(group)
        num_taken += rows_per_group[group]
    return chosen


def _digest(group: str) -> bytes:
    return sha256(group.encode()).digest()
