"""Images as people hold them, brought to one form: one picture gives one score, however it is held."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from PIL import Image

from .image_files_heie import decoding_errors, open_image
from .pixels_heie import Array, ImageError, array_images, upright_rgb

Images = Image.Image | list[Image.Image]

LONGEST_NAME = 200  # of an image in an error: base64 that is damaged would fill the screen


def upright_images(source: Any) -> Images:
    """One image in any form as an upright RGB picture, several (however nested) as a flat list of them.

    Args:
        source: a path, an http(s) URL, a `data:` URL, base64, an encoded image as bytes, an open binary file, a PIL
            image of any mode, a NumPy array or tensor (see `array_images` for shapes, `unit_values` for types and
            ranges; a batch of B counts as B images), a cell of a `datasets` column (`{"bytes": .., "path": ..}`), or
            a list or tuple of such.

    Raises:
        ImageError: if one cannot be used; names it by its path or its place in the list.
    """
    if isinstance(source, (list, tuple)):
        return _upright_list(source)
    try:
        if isinstance(source, (np.ndarray, torch.Tensor)):
            return _upright_array(source)
        with decoding_errors():
            return upright_rgb(open_picture(source))
    except ImageError as error:
        name = _name(source)
        if name is None:
            raise
        raise type(error)(f"{name}: {error}") from error


def _upright_list(sources: list | tuple) -> list[Image.Image]:
    images = []
    for index, source in enumerate(sources):
        try:
            opened = upright_images(source)
        except ImageError as error:
            raise type(error)(f"images[{index}]: {error}") from error
        if isinstance(opened, list):
            images.extend(opened)
        else:
            images.append(opened)
    return images


def _upright_array(array: Array) -> Images:
    images = array_images(array)
    if isinstance(images, list):
        return [upright_rgb(image) for image in images]
    return upright_rgb(images)


def open_picture(source: Any) -> Image.Image:
    """A picture as it is stored (neither turned nor converted), from any form but arrays; see `upright_images`.

    Raises:
        ImageError: if it cannot be read, or is no image.
    """
    if isinstance(source, Image.Image):
        with decoding_errors():
            source.load()
        return source
    if isinstance(source, Mapping):
        return open_image(_encoded_cell(source))
    if isinstance(source, (str, os.PathLike, bytes, bytearray, memoryview)) or hasattr(source, "read"):
        return open_image(source)
    raise ImageError(f"is of type {type(source).__name__}, not an image")


def _encoded_cell(cell: Mapping) -> bytes | str:
    for key in ("bytes", "path"):
        if cell.get(key) is not None:
            return cell[key]
    raise ImageError("is a dictionary without an image: no bytes, no path")


def _name(source: Any) -> str | None:
    """The path or URL of an image on one line; None if it has none."""
    if isinstance(source, Mapping):
        source = None if source.get("bytes") is not None else source.get("path")
    if not isinstance(source, (str, os.PathLike)):
        return None
    name = os.fsencode(source).decode("utf-8", "backslashreplace")
    if name.startswith("data:") or len(name) > LONGEST_NAME:
        return f"{name[:30]!a}..."
    return name if name.isprintable() else ascii(name)
