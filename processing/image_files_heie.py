"""Image files, in whatever state: read safely and brought to one form, or refused for a reason in one line."""

import base64
import io
import os
import stat
from contextlib import nullcontext
from typing import BinaryIO

import numpy as np
from huggingface_hub import get_session
from PIL import ExifTags, Image, ImageOps

# Raster formats that Pillow decodes by itself. Not listed: EPS, which runs Ghostscript, and stubs without a decoder.
FORMATS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")

NOT_FILES = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}

# Some decoders read the whole file at once. 16 bytes hold a pixel of any kind, 64 MiB any reasonable metadata.
BYTES_PER_PIXEL, METADATA_BYTES = 16, 2**26


class ImageFileError(ValueError):
    """An image that cannot be read. The text is one line without the path: callers print `PATH: reason`."""


def read_image(source: str | bytes | os.PathLike | BinaryIO, max_pixels: int | None = None) -> Image.Image:
    """The first frame of an image file as the person sees it: upright, RGB, see `upright_rgb`.

    Args:
        source: a path (bytes are a path too, as in `os`), an http(s) or base64 `data:image/` URL, an open binary file.
        max_pixels: refuse images with more pixels, before decoding; by default `PIL.Image.MAX_IMAGE_PIXELS`.

    Raises:
        ImageFileError: whatever is wrong with it. Never hangs on a pipe or device, never decodes half an image.
    """
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    limit = float("inf") if limit is None else limit  # Pillow's own way to say "no limit"
    try:
        with _open(source, limit) as file:
            image = _identify(file, limit)
            image.load()  # before the file is closed
            return upright_rgb(image)
    except ImageFileError:
        raise
    except Exception as error:  # decoders raise anything: SyntaxError, zlib.error, MemoryError, EOFError ...
        raise ImageFileError(_reason(error)) from error


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture as it is meant to be seen: EXIF orientation applied, alpha on white, eight bits a channel, RGB.

    A picture that is so already is returned itself, not copied: a training batch passes here several times.
    """
    upright = image.getexif().get(ExifTags.Base.Orientation, 1) == 1
    if upright and image.mode == "RGB" and not image.has_transparency_data:
        return image
    image = ImageOps.exif_transpose(image)
    if image.mode.startswith(("I", "F")):  # convert("RGB") would clip these (16-bit grey to white, float to black)
        image = _to_eight_bits(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey by its full range; 32-bit integers and floats by the smallest usual range that holds them, or else
    by their own."""
    values = np.asarray(image).astype(np.float32)  # (H, W)
    low, high = _value_range(values, {"I": (255, 65535), "F": (1, 255, 65535)}.get(image.mode, (65535,)))
    values = np.nan_to_num(values, nan=low, posinf=high, neginf=low)
    scale = 255 / ((high - low) or 1)
    grey = Image.fromarray((values * scale - low * scale).round().clip(0, 255).astype(np.uint8))
    if "transparency" in image.info:  # a 16-bit PNG names one transparent level
        grey.putalpha(Image.fromarray(np.asarray(image) != image.info["transparency"]).convert("L"))
    return grey


def _value_range(values: np.ndarray, usual_maxima: tuple[int, ...]) -> tuple[float, float]:
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    usual = [maximum for maximum in usual_maxima if high <= maximum]
    return (0.0, float(usual[0])) if usual and low >= 0 else (low, high)


def _open(source, limit: float):
    """A context manager that gives the open binary file."""
    if isinstance(source, io.IOBase):
        return nullcontext(source)
    name = os.fsdecode(source)
    if name.startswith(("http://", "https://")):
        return io.BytesIO(get_session().get(name, timeout=30).raise_for_status().content)
    if name.startswith("data:image/"):
        return io.BytesIO(base64.b64decode(name.partition(",")[2]))
    _check_regular_file(name, limit)
    return open(name, "rb")


def _check_regular_file(name: str, limit: float) -> None:
    """Look before opening: opening a FIFO waits for ever, and opening a device may do anything."""
    try:
        status = os.stat(name)
    except FileNotFoundError:
        if os.path.islink(name):
            raise ImageFileError("is a dangling link") from None
        raise
    if not stat.S_ISREG(status.st_mode):
        raise ImageFileError(NOT_FILES.get(stat.S_IFMT(status.st_mode), "is not a regular file"))
    if status.st_size == 0:
        raise ImageFileError("is empty")
    if status.st_size > BYTES_PER_PIXEL * limit + METADATA_BYTES:
        raise ImageFileError(f"has {status.st_size} bytes, more than an image of {limit} pixels can need")


def _identify(file: BinaryIO, limit: float) -> Image.Image:
    """`Image.open` with the caller's limit: Pillow's own is global, warns on stderr and does not tell the size."""
    Image.init()
    file.seek(0)
    prefix = file.read(16)
    for factory, accept in (Image.OPEN[name] for name in FORMATS):
        if accept(prefix) is True:  # a string means: support for this format is not installed
            file.seek(0)
            image = factory(file, "")
            if image.width * image.height > limit:
                raise ImageFileError(f"has {image.width} x {image.height} pixels, over the limit of {limit}")
            return image
    raise ImageFileError(f"is not an image in a supported format ({', '.join(FORMATS)})")


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # str(error) would repeat the path
        return error.strerror.lower()
    if isinstance(error, SyntaxError) and error.__cause__:  # a plugin stumbled: "unpack_from requires a buffer of ..."
        return "cannot be read as an image: damaged header"
    return f"cannot be read as an image: {' '.join(str(error).split()) or type(error).__name__}"
