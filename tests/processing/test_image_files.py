"""Files and PIL images of every kind: read right, or refused in one line."""

import base64
import io
import os
import struct
import threading
import warnings
from http.server import BaseHTTPRequestHandler, HTTPServer

import huggingface_hub
import numpy as np
import pytest
from PIL import Image

from heie_hf.processing import image_files_heie
from heie_hf.processing.image_files_heie import ImageFileError, image_suffixes, read_image
from heie_hf.processing.images_heie import upright_images
from heie_hf.processing.pixels_heie import upright_rgb
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
@pytest.mark.parametrize(
    "kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "DIB", "GIF", "JPEG2000", "PPM", "ICO", "TGA", "QOI", "MPO"]
)
def test_half_an_image_is_never_taken_for_a_whole_one(noise, kind):
    data = encoded(noise, kind)
    whole = np.asarray(read_image(io.BytesIO(data)))
    for length in [1, 10, *range(20, len(data), len(data) // 20), len(data) - 1]:
        try:
            image = read_image(io.BytesIO(data[:length]))
        except ImageFileError:
            continue
        assert np.array_equal(image, whole)  # only bytes after the last pixel are missing


@pytest.mark.parametrize("name", ["x", "none", "no/such/file", "Qk0", "", " ", "a" * 100])
def test_a_missing_file_is_not_taken_for_base64(name):
    with pytest.raises(ImageFileError, match="^no such file or directory$"):
        read_image(name)


def test_kinds_of_sources(noise, tmp_path):
    path = tmp_path / "noise.png"
    noise.save(path)
    data_url = "data:image/png;base64," + base64.b64encode(path.read_bytes()).decode()
    for source in (path, str(path), path.read_bytes(), io.BytesIO(path.read_bytes()), data_url):
        assert np.array_equal(read_image(source), noise)
    with open(path, "rb") as file:
        read_image(file)
        assert not file.closed
    with pytest.raises(ImageFileError, match="null"):
        read_image("a\0b.png")


@pytest.mark.parametrize("kind", ["BMP", "DIB", "ICO", "MPO", "QOI", "TGA"])
def test_more_formats(tmp_path, kind):
    ramp = Image.linear_gradient("L").resize((16, 16)).convert("RGB")
    path = tmp_path / f"image.{kind.lower()}"
    frames = {"save_all": True, "append_images": [ramp.rotate(180)]} if kind == "MPO" else {}
    ramp.save(path, kind, **frames)
    assert path.suffix in image_suffixes()
    assert np.abs(np.int16(read_image(path)) - np.int16(ramp)).max() <= (9 if kind == "MPO" else 0)


def test_an_icon_is_not_larger_than_it_says(noise):
    """Pillow decodes the picture inside while it opens the icon, whatever size its directory names."""
    icon = bytearray(encoded(noise.crop((0, 0, 16, 16)), "ICO", sizes=[(16, 16)]))
    start = icon.index(b"IHDR") + 4
    icon[start : start + 8] = (30_000).to_bytes(4, "big") * 2
    with pytest.raises(ImageFileError, match="has 30000 x 30000 pixels, over the limit"):
        read_image(io.BytesIO(icon))


@pytest.mark.parametrize("tag", [0x100, 0x103, 0x11A])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_an_orientation_is_followed_whatever_else_the_exif_holds(noise, kind, tag):
    """Width, compression or resolution as a text: Pillow can read that, but not write it again."""
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(noise.transpose(UNDO[6]), kind, exif=exif_with_a_text(tag, orientation=6), **options)
    assert np.array_equal(read_image(io.BytesIO(data)), noise)
    assert np.array_equal(upright_rgb(Image.open(io.BytesIO(data))), noise)


def exif_with_a_text(tag, orientation):
    """An EXIF block with an orientation, and a text (ASCII, type 2) as the value of another tag."""
    text = b"not a number\0"
    entries = {
        0x112: struct.pack(">HHIHxx", 0x112, 3, 1, orientation),
        tag: struct.pack(">HHII", tag, 2, len(text), 38),
    }
    directory = b"".join(entries[number] for number in sorted(entries))
    return b"Exif\0\0MM\0*\0\0\0\x08\0\2" + directory + b"\0\0\0\0" + text


@pytest.mark.parametrize("junk", [b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40, b"Exif\0\0", b"nonsense"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP", "JPEG"])
@pytest.mark.filterwarnings("ignore")
def test_damaged_metadata_are_no_fault_of_the_pixels(noise, kind, junk):
    options = {"lossless": True} if kind == "WEBP" else {}
    data = encoded(noise, kind, exif=junk, **options)
    plain = read_image(io.BytesIO(encoded(noise, kind, **options)))
    assert np.array_equal(read_image(io.BytesIO(data)), plain)
    assert np.array_equal(upright_rgb(Image.open(io.BytesIO(data))), plain)


def test_a_broken_picture_is_refused_whoever_opens_it(hostile):
    """Looking for its orientation must not swallow the fault of its pixels."""
    for name in ("bit_flip", "truncated_png"):
        with pytest.raises(ImageFileError):
            upright_images(Image.open(hostile[name][0]))


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
        monkeypatch.setattr(image_files_heie, "METADATA_BYTES", 0)
        with pytest.raises(ImageFileError, match="has over .* bytes, more than an image of 1 pixels can need"):
            read_image(f"{url}/image.png", max_pixels=1)
        server.shutdown()
    huggingface_hub.close_session()
