"""What a pixel's value means, and which way up a picture is: by types and tags, never by the values of one picture."""

import numpy as np
import torch
from PIL import ExifTags, Image
from PIL.Image import Transpose

FLOAT_TOLERANCE = 0.01  # resampling and half precision overshoot [0, 1] by so much
Array = np.ndarray | torch.Tensor

CHANNELS = (1, 3, 4)  # grey, RGB, RGBA
GREY_MODES = ("1", "L", "I", "F")

TRANSPOSE_OF_ORIENTATION = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}


class ImageError(ValueError):
    """An image that cannot be used. The text is one line without the image's name: callers print `NAME: reason`."""


def unit_values(values: np.ndarray) -> np.ndarray:
    """Pixel values as float32 in [0, 1], by the type of the array alone.

    bool: False = 0, True = 1. uint16: 0..65535. uint8 and every other integer type: 0..255. Floats: [0, 1], and what
    is up to .01 beyond is clamped.

    Raises:
        ImageError: values off that range (NaN is), no values at all, or values of another type.
    """
    if values.size == 0:
        raise ImageError(f"has no pixels: its shape is {values.shape}")
    kind = values.dtype.kind
    if kind == "b":
        return values.astype(np.float32)
    if kind == "f":
        _check_range(
            values, -FLOAT_TOLERANCE, 1 + FLOAT_TOLERANCE, "not in [0, 1]: divide 0..255 by 255, -1..1 is (x + 1) / 2"
        )
        return values.astype(np.float32).clip(0, 1)
    if kind not in "iu":
        raise ImageError(f"holds values of type {values.dtype}; give uint8 in 0..255, or floats in [0, 1]")
    if kind == "u" and values.dtype.itemsize == 2:  # in either byte order
        return values.astype(np.float32) / 65535
    remedy = "not in 0..255: give 16 bits as uint16, or floats in [0, 1]"
    _check_range(values, 0, 255, remedy)
    return values.astype(np.float32) / 255


def _check_range(values: np.ndarray, lowest: float, highest: float, remedy: str) -> None:
    low, high = values.min(), values.max()
    is_within = low >= lowest and high <= highest  # NaN is not
    if not is_within:
        raise ImageError(f"has {values.dtype} values from {low:g} to {high:g}, {remedy}")


def eight_bits(values: np.ndarray) -> np.ndarray:
    """Pixel values as uint8, see `unit_values`."""
    if values.dtype == np.uint8 and values.size:
        return values
    levels = unit_values(values) * 255
    levels = levels.round()
    return levels.astype(np.uint8)


def as_numpy(array: Array) -> np.ndarray:
    """Any array on this machine's memory; bfloat16 and smaller floats, which NumPy lacks, as float32."""
    if isinstance(array, np.ndarray):
        return array
    array = array.detach().cpu()
    if array.is_floating_point():
        array = array.float()
    return array.numpy()


def array_images(array: Array) -> Image.Image | list[Image.Image]:
    """An array of pixels as a PIL image (L, RGB or RGBA), a batch as a list of them.

    Args:
        array: (H, W), or (H, W, C) or (C, H, W) with 1, 3 or 4 channels; a batch has one dimension more in front of
            its channels. Where both orders fit, a tensor is (C, H, W) and a NumPy array (H, W, C).

    Raises:
        ImageError: for another shape, or for values as `unit_values` refuses them.
    """
    shape = tuple(array.shape)
    if len(shape) == 2:
        values = as_numpy(array)
        return Image.fromarray(eight_bits(values))
    if len(shape) not in (3, 4):
        raise ImageError(f"has the shape {shape}; give (H, W), (H, W, C), (C, H, W) or a batch of the latter two")
    is_tensor = isinstance(array, torch.Tensor)
    channels = _channel_axis(shape, is_tensor)
    values = as_numpy(array)
    levels = eight_bits(values)
    levels = np.moveaxis(levels, channels, -1)  # (..., H, W, C)
    if levels.shape[-1] == 1:
        levels = levels.squeeze(-1)
    levels = np.ascontiguousarray(levels)
    if len(shape) == 3:
        return Image.fromarray(levels)
    return [Image.fromarray(picture) for picture in levels]


def _channel_axis(shape: tuple[int, ...], is_tensor: bool) -> int:
    axes = (-3, -1) if is_tensor else (-1, -3)
    for axis in axes:
        if shape[axis] in CHANNELS:
            return axis
    raise ImageError(f"has the shape {shape}, without a first or last axis of 1, 3 or 4 channels")


def upright(image: Image.Image) -> Image.Image:
    """The picture turned as its orientation tag (EXIF or XMP) says, without metadata then; else itself.

    Other metadata are not looked at: they may be damaged as they like.
    """
    return _turned(image, orientation(image))


def orientation(image: Image.Image) -> int:
    """The orientation tag of EXIF or XMP, 1 (upright) to 8; 1 if there is none that can be read.

    Decodes the picture first: Pillow turns a TIFF while it does so, and a fault in the pixels is no fault in the tags.
    """
    image.load()
    try:
        exif = image.getexif()
        tag = exif.get(ExifTags.Base.Orientation)
    except Exception:  # damaged metadata make Pillow raise anything
        return 1
    return tag if tag in TRANSPOSE_OF_ORIENTATION else 1


def _turned(image: Image.Image, tag: int) -> Image.Image:
    if tag == 1:
        return image
    turned = image.transpose(TRANSPOSE_OF_ORIENTATION[tag])
    transparency = image.info.get("transparency")
    turned.info.clear()  # or its tag would turn it again
    if transparency is not None:
        turned.info["transparency"] = transparency
    return turned


def grey_values(image: Image.Image) -> np.ndarray | None:
    """The values (H, W) of a grey picture of any depth in its own type; None if it has colours or alpha."""
    if image.mode == "I" and image.format == "PPM":  # these files hold 16 bits, although Pillow opens them in 32
        return np.asarray(image).astype(np.uint16)
    is_grey = image.mode in GREY_MODES or image.mode.startswith("I;16")
    return np.asarray(image) if is_grey else None


def upright_rgb(image: Image.Image) -> Image.Image:
    """The picture as it is meant to be seen: turned upright, alpha on white, eight bits a channel, RGB.

    A picture that is so already is returned itself, not copied: a training batch passes here several times.

    Raises:
        ImageError: for a picture of mode I or F with values that `unit_values` refuses.
    """
    if 0 in image.size:
        raise ImageError(f"has no pixels: its size is {image.width} x {image.height}")
    tag = orientation(image)
    shown = _eight_bit_image(image)
    shown = _turned(shown, tag)
    if shown.mode == "RGB" and not shown.has_transparency_data:
        return shown
    if shown.mode == "La":
        shown = shown.convert("LA")
    if shown.has_transparency_data:
        shown = shown.convert("RGBA")
        white = Image.new("RGBA", shown.size, "white")
        shown = Image.alpha_composite(white, shown)
    return shown.convert("RGB")


def _eight_bit_image(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits as L, or as LA where a level is transparent; others as they are."""
    if not image.mode.startswith(("I", "F")):
        return image
    values = grey_values(image)
    grey = Image.fromarray(eight_bits(values))
    transparent_level = image.info.get("transparency")
    if transparent_level is not None:  # a 16-bit PNG names one
        opaque = Image.fromarray(values != transparent_level)
        alpha = opaque.convert("L")
        grey.putalpha(alpha)
    return grey
