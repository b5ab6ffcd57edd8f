"""Files and PIL images of every kind: read right, or refused in one line."""

import base64
import io
import os
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from heie_hf.processing.image_files_heie import ImageFileError, read_image, upright_rgb
from tests.hostile_files import make_hostile_files

RED, BLUE, WHITE = (255, 0, 0), (0, 0, 255), (255, 255, 255)
UNDO = {  # what a camera stores for each EXIF orientation: the upright picture, turned the other way
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    return make_hostile_files(tmp_path_factory.mktemp("hostile"))


@pytest.fixture(scope="module")
def noise():
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8))


def encoded(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_every_odd_file_is_read_or_refused_in_one_line(hostile):
    wrong = {}
    for name, (path, readable) in hostile.items():
        try:
            image = read_image(path)
            right = readable and image.mode == "RGB"
        except ImageFileError as error:
            image = str(error)
            right = not readable and image.isprintable() and str(path) not in image and len(image) < 200
        if not right:
            wrong[name] = image
    assert not wrong


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("empty", "is empty"),
        ("directory", "is a directory"),
        ("pipe", "is a named pipe, not a file"),
        ("device", "is a device, not a file"),
        ("socket", "is a socket, not a file"),
        ("missing", "no such file or directory"),
        ("dangling", "is a dangling link"),
        ("loop_a", "too many levels of symbolic links"),
        ("bomb_10000x10000", "has 10000 x 10000 pixels, over the limit of 89478485"),
        ("header_only", "cannot be read as an image: damaged header"),
    ],
)
def test_reasons_are_plain(hostile, name, reason):
    with pytest.raises(ImageFileError) as error:
        read_image(hostile[name][0])
    assert str(error.value) == reason


@pytest.mark.parametrize("name", ["mode_RGB", "mode_RGBA", "mode_P", "cmyk_tiff", "plain", "link", "5000x1"])
def test_colours(hostile, name):
    image = read_image(hostile[name][0])
    assert image.getpixel((0, 0)) == RED
    assert image.getpixel((image.width - 1, image.height - 1)) == BLUE


@pytest.mark.parametrize("kind", ["gif", "png", "tiff", "webp"])
def test_the_first_frame_counts(hostile, kind):
    image = read_image(hostile[f"animated_{kind}"][0])
    assert np.allclose(image.getpixel((2, 2)), RED, atol=3) and np.allclose(image.getpixel((45, 30)), BLUE, atol=3)


def test_transparent_is_white(hostile):
    assert read_image(hostile["transparent"][0]).getcolors() == [(48 * 32, WHITE)]
    assert read_image(hostile["palette_transparent"][0]).getpixel((0, 0)) == WHITE
    half = Image.new("RGBA", (1, 1), (255, 0, 0, 51))  # one fifth red
    assert upright_rgb(half).getpixel((0, 0)) == (255, 204, 204)
    assert upright_rgb(Image.new("LA", (1, 1), (0, 51))).getpixel((0, 0)) == (204, 204, 204)


@pytest.mark.parametrize("name", ["grey16", "grey16_tiff", "grey16_pgm", "float"])
def test_deep_grey_is_scaled(hostile, name):
    grey = np.asarray(read_image(hostile[name][0]))[..., 0]
    ramp = np.linspace(0, 255, grey.size).reshape(grey.shape)
    assert np.abs(grey - ramp).max() < 1


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.float32([0, 0.5, 1]), [0, 128, 255]),
        (np.float32([0, 100, 255]), [0, 100, 255]),
        (np.float32([0, 257, 65535]), [0, 1, 255]),
        (np.float32([-1, 0, 1]), [0, 128, 255]),
        (np.float32([np.nan, 1, np.inf]), [0, 255, 255]),
        (np.float32([np.nan, np.nan, np.nan]), [0, 0, 0]),
        (np.int32([0, 100, 200]), [0, 100, 200]),
        (np.int32([0, 257, 65535]), [0, 1, 255]),
        (np.int32([-(2**31), 0, 2**31 - 1]), [0, 128, 255]),
        (np.uint16([0, 257, 65535]), [0, 1, 255]),
    ],
)
def test_ranges_of_deep_pil_images(values, expected):
    image = upright_rgb(Image.fromarray(values[None]))
    assert np.array_equal(np.asarray(image)[0, :, 0], expected)


def test_transparent_level_of_a_16_bit_png():
    file = io.BytesIO(encoded(Image.fromarray(np.uint16([[0, 1000, 65535]])), "PNG", transparency=1000))
    assert np.asarray(read_image(file))[0, :, 0].tolist() == [0, 255, 255]


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(noise, kind, orientation):
    stored = noise if orientation == 1 else noise.transpose(UNDO[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(stored, kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    upright = read_image(io.BytesIO(data))
    assert np.array_equal(upright, noise)
    assert np.array_equal(upright_rgb(Image.open(io.BytesIO(data))), noise)
    assert np.array_equal(upright_rgb(upright), noise)  # not turned twice


def test_pixel_limit(noise, monkeypatch):
    data = encoded(noise, "PNG")  # 40 x 30
    assert read_image(io.BytesIO(data), max_pixels=1200).size == (40, 30)
    with pytest.raises(ImageFileError, match="has 40 x 30 pixels, over the limit of 1199"):
        read_image(io.BytesIO(data), max_pixels=1199)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings(), pytest.raises(ImageFileError, match="over the limit of 500"):
        warnings.simplefilter("error")  # Pillow's own warning would stand on stderr too
        read_image(io.BytesIO(data))
    assert read_image(io.BytesIO(data), max_pixels=1200).size == (40, 30)  # even over twice Pillow's limit
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", None)
    assert read_image(io.BytesIO(data)).size == (40, 30)


def test_a_giant_file_is_not_read_into_memory(tmp_path):
    path = tmp_path / "giant.avif"
    path.write_bytes(b"\0\0\0\x1cftypavif")
    os.truncate(path, 2**32)  # takes no room on the disk
    with pytest.raises(ImageFileError, match="has 4294967296 bytes, more than"):
        read_image(path)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM"])
def test_half_an_image_is_never_taken_for_a_whole_one(noise, kind):
    data = encoded(noise, kind)
    whole = np.asarray(read_image(io.BytesIO(data)))
    for length in [1, 10, *range(20, len(data), len(data) // 20), len(data) - 1]:
        try:
            image = read_image(io.BytesIO(data[:length]))
        except ImageFileError:
            continue
        assert np.array_equal(image, whole)  # only bytes after the last pixel are missing


def test_kinds_of_sources(noise, tmp_path):
    path = tmp_path / "noise.png"
    noise.save(path)
    data_url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    for source in (path, str(path), os.fsencode(path), io.BytesIO(path.read_bytes()), data_url):
        assert np.array_equal(read_image(source), noise)
    with open(path, "rb") as file:
        read_image(file)
        assert not file.closed
    with pytest.raises(ImageFileError, match="null"):
        read_image("a\0b.png")


def test_url(noise, monkeypatch):
    transparent = encoded(Image.new("LA", (4, 3)), "PNG")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200 if self.path == "/image.png" else 404)
            self.end_headers()
            self.wfile.write(transparent)

        def log_message(self, *args):
            pass

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    huggingface_hub.close_session()
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert read_image(f"{url}/image.png").getcolors() == [(12, WHITE)]
        with pytest.raises(ImageFileError, match="404"):
            read_image(f"{url}/nothing.png")
        server.shutdown()
    huggingface_hub.close_session()
