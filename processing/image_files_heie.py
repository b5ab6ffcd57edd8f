"""Image files, in whatever state: read safely, or refused for a reason in one line."""

import base64
import io
import os
import re
import stat
import struct
from contextlib import contextmanager, nullcontext
from typing import BinaryIO
from urllib.parse import unquote_to_bytes

from huggingface_hub import get_session
from PIL import Image

from .pixels_heie import ImageError, orientation, upright_rgb

# Raster formats that Pillow decodes by itself, in the order in which they are tried: TGA files have no mark of their
# own. MPO is what stereo cameras make of JPEG. Not listed: EPS, which runs Ghostscript, and stubs without a decoder.
FORMATS = (
    *("AVIF", "BMP", "DIB", "GIF", "ICO", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP"),
    "TGA",
)

NOT_FILES = {
    stat.S_IFDIR: "is a directory",
    stat.S_IFIFO: "is a named pipe, not a file",
    stat.S_IFSOCK: "is a socket, not a file",
    stat.S_IFCHR: "is a device, not a file",
    stat.S_IFBLK: "is a device, not a file",
}

# Some decoders read the whole file at once. 16 bytes hold a pixel of any kind, 64 MiB any reasonable metadata.
BYTES_PER_PIXEL, METADATA_BYTES = 16, 2**26

BASE64 = re.compile(r"[A-Za-z0-9+/\s]+={0,2}\s*")
PREFIX_BYTES = 16  # what Pillow looks at to tell the formats apart
PNG_MARK = b"\x89PNG\r\n\x1a\n"


class ImageFileError(ImageError):
    """An image that cannot be read. The text is one line without the path: callers print `PATH: reason`."""


def image_suffixes() -> set[str]:
    """The file name endings of `FORMATS`, such as ".png", in lower case."""
    suffixes = Image.registered_extensions().items()
    return {suffix for suffix, format_name in suffixes if format_name in FORMATS}


def read_image(source: str | bytes | os.PathLike | BinaryIO, max_pixels: int | None = None) -> Image.Image:
    """The first frame of an image file as the person sees it: upright, RGB, see `upright_rgb`.

    Args:
        source: a path, an http(s) URL, a `data:` URL, base64, an encoded image as bytes, an open binary file.
        max_pixels: refuse images with more pixels, before decoding; by default `PIL.Image.MAX_IMAGE_PIXELS`.

    Raises:
        ImageFileError: whatever is wrong with it. Never hangs on a pipe or device, never decodes half an image.
    """
    with decoding_errors():
        return upright_rgb(open_image(source, max_pixels))


def open_image(source: str | bytes | os.PathLike | BinaryIO, max_pixels: int | None = None) -> Image.Image:
    """The first frame of an image file as it is stored, decoded; arguments and errors as of `read_image`."""
    limit = Image.MAX_IMAGE_PIXELS if max_pixels is None else max_pixels
    limit = float("inf") if limit is None else limit  # Pillow's own way to say "no limit"
    with decoding_errors(), _open(source, limit) as file:
        image = _identify(file, limit)
        image.load()
        orientation(image)  # Pillow remembers it; once the file is closed, it may be too late
        return image


@contextmanager
def decoding_errors():
    """Whatever a decoder raises, as an `ImageFileError` of one line."""
    try:
        yield
    except ImageFileError:
        raise
    except ImageError as error:
        raise ImageFileError(str(error)) from error
    except Exception as error:  # decoders raise anything: SyntaxError, zlib.error, MemoryError, EOFError ...
        raise ImageFileError(_reason(error)) from error


def _open(source, limit: float):
    """A context manager that gives the open binary file."""
    if isinstance(source, (bytes, bytearray, memoryview)):
        return io.BytesIO(source)
    if hasattr(source, "read"):
        return _seekable(source, limit)
    name = os.fsdecode(source)
    if name.startswith(("http://", "https://")):
        return _download(name, limit)
    if name.startswith("data:"):
        return io.BytesIO(_data_url(name))
    if not os.path.lexists(name):
        encoded = _base64_image(name)
        if encoded is not None:
            return io.BytesIO(encoded)
    _check_regular_file(name, limit)
    return open(name, "rb")


def _max_bytes(limit: float) -> float:
    return BYTES_PER_PIXEL * limit + METADATA_BYTES


def _seekable(file: BinaryIO, limit: float):
    """The caller's own file, which stays open; a stream that cannot be rewound is read to its end."""
    if isinstance(file, io.TextIOBase):
        raise ImageFileError('is open as text: open it with "rb"')
    if file.seekable():
        return nullcontext(file)
    return _collected(iter(lambda: file.read(2**20), b""), limit)


def _download(url: str, limit: float) -> BinaryIO:
    with get_session().stream("GET", url, timeout=30) as response:
        response.raise_for_status()
        return _collected(response.iter_bytes(), limit)


def _collected(parts, limit: float) -> BinaryIO:
    content = io.BytesIO()
    for part in parts:
        content.write(part)
        if content.tell() > _max_bytes(limit):
            raise ImageFileError(f"has over {content.tell()} bytes, more than an image of {limit} pixels can need")
    return content


def _data_url(url: str) -> bytes:
    header, _, text = url.partition(",")
    content = unquote_to_bytes(text)
    if not header.endswith(";base64"):
        return content
    return base64.b64decode(b"".join(content.split()), validate=True)


def _base64_image(text: str) -> bytes | None:
    """The bytes of an image in base64; None if the text is none."""
    if not BASE64.fullmatch(text):
        return None
    text = "".join(text.split()).rstrip("=")
    text += "=" * (-len(text) % 4)
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError:  # a length that no base64 has
        return None
    prefix = content[:PREFIX_BYTES]
    is_image = len(prefix) == PREFIX_BYTES and any(_marked_formats(prefix))  # shorter texts are names
    return content if is_image else None


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
    if status.st_size > _max_bytes(limit):
        raise ImageFileError(f"has {status.st_size} bytes, more than an image of {limit} pixels can need")


def _marked_formats(prefix: bytes):
    """The formats whose mark the file begins with."""
    prefix = prefix.ljust(PREFIX_BYTES, b"\0")
    Image.init()
    for format_name in FORMATS:
        _, accept = Image.OPEN.get(format_name, (None, None))  # MPO is opened as JPEG
        if accept is not None and accept(prefix) is True:  # a text means: support for it is not installed
            yield format_name


def _identify(file: BinaryIO, limit: float) -> Image.Image:
    """`Image.open` with the caller's limit: Pillow's own is global, warns on stderr and does not tell the size."""
    file.seek(0)
    prefix = file.read(PREFIX_BYTES)
    format_name = next(_marked_formats(prefix), "TGA")
    if format_name == "ICO":
        _check_icons(file, limit)
    factory, _ = Image.OPEN[format_name]
    file.seek(0)
    try:
        image = factory(file, "")
    except SyntaxError as error:
        if format_name != "TGA":
            raise
        raise ImageFileError(f"is not an image in a supported format ({', '.join(FORMATS)})") from error
    _check_size(image.width, image.height, limit)
    return image


def _check_size(width: int, height: int, limit: float) -> None:
    if width * height > limit:
        raise ImageFileError(f"has {width} x {height} pixels, over the limit of {limit}")


def _check_icons(file: BinaryIO, limit: float) -> None:
    """Pillow decodes an icon while it opens it, and its directory may name another size than the icon itself has."""
    file.seek(4)
    (count,) = struct.unpack("<H", file.read(2))
    directory = file.read(16 * count)
    for (offset,) in struct.iter_unpack("<12xI", directory):
        file.seek(offset)
        header = file.read(24)
        if header.startswith(PNG_MARK):
            width, height = struct.unpack(">16xII", header)
        else:
            width, height = struct.unpack("<4xii", header[:12])
            height = abs(height) // 2  # picture and mask, one above the other
        _check_size(width, height, limit)


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:  # str(error) would repeat the path
        return error.strerror.lower()
    if isinstance(error, SyntaxError) and error.__cause__:  # a plugin stumbled: "unpack_from requires a buffer of ..."
        return "cannot be read as an image: damaged header"
    message = " ".join(str(error).split())
    return f"cannot be read as an image: {message or type(error).__name__}"
