"""What a value means is decided by its type, never by the other values of the picture."""

import numpy as np
import pytest
import torch
from PIL import Image

from heie_hf.processing.pixels_heie import ImageError, array_images, eight_bits, unit_values, upright_rgb


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([False, True]), [0, 255]),
        (np.uint8([0, 100, 255]), [0, 100, 255]),
        (np.uint16([0, 257, 65535]), [0, 1, 255]),
        (np.array([0, 257, 65535], dtype=">u2"), [0, 1, 255]),
        (np.uint16([0, 1, 255]), [0, 0, 1]),  # dark, although they would fit into eight bits
        (np.int64([0, 100, 255]), [0, 100, 255]),
        (np.int8([0, 1, 127]), [0, 1, 127]),
        (np.float64([0, 0.5, 1]), [0, 128, 255]),
        (np.float16([0, 0.5, 1]), [0, 128, 255]),
        (np.float32([-0.01, 0.5, 1.01]), [0, 128, 255]),
    ],
)
def test_types(values, expected):
    assert eight_bits(values).tolist() == expected
    assert np.allclose(unit_values(values) * 255, expected, atol=0.51)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.float32([0, 1.02]), r"float32 values from 0 to 1.02, not in \[0, 1\]: divide"),
        (np.float64([-1, 1]), r"float64 values from -1 to 1, not in \[0, 1\]"),
        (np.float32([0.5, np.nan]), r"from nan to nan, not in \[0, 1\]"),
        (np.float16([0.5, np.inf]), r"from 0.5 to inf, not in \[0, 1\]"),
        (np.int32([0, 256]), r"int32 values from 0 to 256, not in 0\.\.255: give 16 bits as uint16"),
        (np.int16([-1, 5]), r"int16 values from -1 to 5, not in 0\.\.255"),
        (np.zeros(0, np.uint8), r"no pixels"),
        (np.array([None, 1], dtype=object), "type object"),
        (np.complex64([1]), "type complex64"),
        (np.array(["a"]), "type <U1"),
    ],
)
def test_other_ranges_and_types_are_refused(values, message):
    with pytest.raises(ImageError, match=message):
        unit_values(values)
    with pytest.raises(ImageError, match=message):
        eight_bits(values)


@pytest.mark.parametrize("pixel", [1.0001, -1e-6, 1.009])
def test_one_pixel_does_not_change_the_others(pixel):
    values = np.linspace(0, 1, 100, dtype=np.float32).reshape(10, 10)
    expected = np.asarray(upright_rgb(Image.fromarray(values))).copy()
    values[3, 3] = pixel
    shown = np.asarray(upright_rgb(Image.fromarray(values))).copy()
    shown[3, 3] = expected[3, 3]
    assert np.array_equal(shown, expected)


@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.uint16])
def test_deep_pil_images_mean_what_their_arrays_mean(dtype):
    values = np.random.default_rng(0).integers(0, 256, (6, 8))
    values = (values / 255).astype(dtype) if dtype is np.float32 else values.astype(dtype)
    image = Image.fromarray(values)
    assert image.mode == {np.float32: "F", np.int32: "I", np.uint16: "I;16"}[dtype]
    assert np.array_equal(np.asarray(upright_rgb(image))[..., 0], eight_bits(values))


@pytest.mark.parametrize("values", [np.float32([[0, 2]]), np.int32([[0, 300]])])
def test_deep_pil_images_off_their_range_are_refused(values):
    with pytest.raises(ImageError, match="values from 0 to"):
        upright_rgb(Image.fromarray(values))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_both_orders_of_channels(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, channels), dtype=np.uint8)
    first = np.moveaxis(pixels, -1, 0)
    for array in (pixels, first, torch.tensor(pixels), torch.tensor(first)):
        image = array_images(array)
        assert image.mode == {1: "L", 3: "RGB", 4: "RGBA"}[channels]
        assert np.array_equal(np.asarray(image).reshape(6, 8, channels), pixels)
        batch = array_images(np.stack([array, array]))
        assert [np.array_equal(one, image) for one in batch] == [True, True]


def test_where_both_orders_fit_the_library_decides():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 8, 3), dtype=np.uint8)
    assert np.array_equal(array_images(pixels), pixels)
    assert np.array_equal(array_images(torch.tensor(pixels)), np.moveaxis(pixels, 0, -1))


@pytest.mark.parametrize(
    "shape", [(), (5,), (6, 8, 2), (2, 6, 8), (5, 6, 8, 2), (1, 2, 6, 8, 3), (0, 8, 3), (0, 6, 8, 3)]
)
def test_other_shapes_are_refused(shape):
    with pytest.raises(ImageError, match=r"shape"):
        array_images(np.zeros(shape, np.uint8))


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"]
)
def test_every_mode_of_pil(mode):
    colour = (220, 100, 40)
    if mode in ("1", "L", "LA", "La"):
        colour = (255, 255, 255)
    picture = Image.new("RGB", (8, 6), colour)
    for step in {"La": ("LA", "La"), "RGBa": ("RGBA", "RGBa")}.get(mode, (mode,)):
        picture = picture.convert(step)
    shown = upright_rgb(picture)
    assert shown.mode == "RGB"
    assert np.abs(np.int16(shown.getpixel((3, 3))) - colour).max() <= (20 if mode in ("P", "PA") else 2)
