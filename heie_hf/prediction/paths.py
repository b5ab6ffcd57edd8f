"""Image files on disk: which ones a user means, what their results are called, how those are written."""

import hashlib
import os
import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from heie_hf.files import whole_file

RESULT_SUFFIXES = (".heatmap.png", ".overlay.png")
# File systems take 255 bytes for a name, of which the suffix is 12; Linux takes 4,096 for a path, part of which is the
# output folder's.
MAX_STEM_BYTES = 255 - 12
MAX_PATH_BYTES = 2048
# Pictures that Pillow cannot open: in a folder they are refused by name instead of being passed over in silence.
MORE_EXTENSIONS = {".svg", ".heic", ".heif", ".jxl"}
NO_PICTURES = {"BUFR", "GRIB", "HDF5", "MPEG"}  # formats that Pillow merely recognises


@dataclass(frozen=True)
class ImageFile:
    """One image to look at: its path as the user wrote it, and the folder below which its name counts."""

    path: str
    root: str


def printable(path: str | os.PathLike) -> str:
    r"""A path on one line: bytes that are not UTF-8 as `\xNN`, control characters escaped as Python does."""
    text = as_text(path)
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def as_text(path: str | os.PathLike) -> str:
    r"""A path as valid Unicode: bytes that are not UTF-8 become `\xNN`. (JSON readers refuse lone surrogates.)"""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def find_images(
    sources: Iterable[str],
    report: Callable[[str, str], None],
    output_dir: str | os.PathLike | None = None,
) -> list[ImageFile]:
    """The images that files and folders (with all below) stand for, each once, folder by folder in sorted order.

    Files and URLs are taken as they are. In folders, image extensions count, but neither the pictures of earlier
    runs nor `output_dir`.

    Args:
        report: called with path and reason for a folder that cannot be read or holds no image.
    """
    images: dict[str, ImageFile] = {}
    for source in sources:
        if os.path.isdir(source):
            paths = _walk(source, report, output_dir)
            root = source
            if not paths:
                report(source, "no images in this folder")
        else:
            paths = [source]
            root = os.path.dirname(source)
        for path in paths:
            images.setdefault(os.path.abspath(path), ImageFile(path, root))
    return list(images.values())


def _walk(folder: str, report: Callable[[str, str], None], output_dir: str | os.PathLike | None) -> list[str]:
    def report_error(error: OSError) -> None:
        report(error.filename, error.strerror)

    extensions = _image_extensions()
    seen = set()
    if output_dir and os.path.realpath(output_dir) != os.path.realpath(folder):
        seen.add(os.path.realpath(output_dir))
    paths = []
    for here, folders, names in os.walk(folder, followlinks=True, onerror=report_error):
        folders.sort()
        real = os.path.realpath(here)
        if real in seen:  # a loop of links, or the place that the results go to
            folders.clear()
            continue
        seen.add(real)
        for name in names:
            extension = os.path.splitext(name)[1].lower()
            if extension in extensions and not name.endswith(RESULT_SUFFIXES):
                paths.append(os.path.join(here, name))
    return sorted(paths)


def _image_extensions() -> set[str]:
    """Of all that can be read, and of the pictures that are refused by name."""
    from heie_hf.processing.image_files_heie import image_suffixes  # not at the top: it imports torch

    refused = Image.OPEN.keys() - NO_PICTURES
    extensions = image_suffixes() | MORE_EXTENSIONS
    for extension, name in Image.registered_extensions().items():  # among them .pdf, which Pillow only writes
        if name in refused:
            extensions.add(extension)
    return extensions


def output_names(images: list[ImageFile]) -> list[str]:
    """One relative name per image, without suffix: its place below its folder, more of the path where names collide.

    The same images always get the same names, and no two names are equal, not even where case is ignored. A name
    that is too long for a file system ends in a digest of what it would be.
    """
    paths = [os.path.abspath(image.path) for image in images]
    folders = [os.path.dirname(path) for path in paths]
    base = os.path.commonpath(folders) if folders else ""
    short, longer, with_extension, unique = [], [], [], []
    for image, path in zip(images, paths, strict=True):
        below_base = os.path.relpath(path, base)
        short.append(os.path.relpath(_stem(path), os.path.abspath(image.root)))
        longer.append(_stem(below_base))
        with_extension.append(below_base)
        unique.append(f"{below_base}-{_digest(path)}")
    names = short
    for alternatives in (longer, with_extension, unique):
        names = _without_collisions(names, alternatives)
    return [_short_enough(name) for name in names]


def _without_collisions(names: list[str], alternatives: list[str]) -> list[str]:
    """The alternative for each name that is there more than once."""
    count = Counter(name.casefold() for name in names)
    chosen = []
    for name, alternative in zip(names, alternatives, strict=True):
        is_unique = count[name.casefold()] == 1
        chosen.append(name if is_unique else alternative)
    return chosen


def _short_enough(name: str) -> str:
    """The name itself, or what fits of it with its digest; one that is too deep loses its folders."""
    folder, stem = os.path.split(name)
    is_deep = len(os.fsencode(name)) > MAX_PATH_BYTES
    if not is_deep and len(os.fsencode(stem)) <= MAX_STEM_BYTES:
        return name
    ending = f"-{_digest(name)}"
    while len(os.fsencode(stem + ending)) > MAX_STEM_BYTES:
        stem = stem[:-1]
    return os.path.join("" if is_deep else folder, stem + ending)


def picture_paths(folder: Path, name: str) -> dict[str, Path]:
    """Where the pictures of a result are: "heatmap" and "overlay"."""
    return {"heatmap": folder / f"{name}.heatmap.png", "overlay": folder / f"{name}.overlay.png"}


def _stem(path: str) -> str:
    return os.path.splitext(path)[0]


def _digest(path: str) -> str:
    return hashlib.sha256(os.fsencode(path)).hexdigest()[:12]


def id_file_name(identity: str) -> str:
    """A name for the files of an image of a data set: its id where that can be one, else part of it and a digest."""
    safe = re.sub(r"[^\w.-]", "_", identity)[:100]
    if safe == identity and not safe.startswith("."):
        return safe
    digest = hashlib.sha256(identity.encode(errors="surrogatepass")).hexdigest()[:12]
    return f"{safe.lstrip('.')}-{digest}"


def save_png(image: Image.Image, path: Path) -> None:
    """Write a PNG whole or not at all; makes its folder.

    Raises:
        OSError: if it cannot be written.
    """
    with whole_file(path) as draft:
        image.save(draft, format="PNG")
