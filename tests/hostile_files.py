"""Makes every odd or hostile image file that the package must either read right or refuse in one line."""

import os
import socket
import struct
import sys
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

ODD_NAMES = ["two words.png", "line\nbreak.png", "quo'te\".png", "-dash.png", "--help.png", "no_extension", "ünï.png"]


def make_hostile_files(folder: str | os.PathLike) -> dict[str, tuple[Path, bool]]:
    """Fill `folder` (created if missing); name -> (path, True if it must be read, False if it must be refused)."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    good = {path.stem: path for path in [*_pictures(folder), *_odd_kinds(folder)]}
    good |= {f"name {name!a}": path for name, path in _odd_names(folder)}
    bad = {path.stem: path for path in [*_damaged(folder), *_bombs(folder), *_no_images(folder)]}
    bad |= {path.stem: path for path in _not_files(folder)}
    files = {name: (path, True) for name, path in good.items()} | {name: (path, False) for name, path in bad.items()}
    unreadable = _saved(_scene(), folder / "unreadable.png")
    unreadable.chmod(0)
    return files | {"unreadable": (unreadable, os.access(unreadable, os.R_OK))}  # root may read it all the same


def _scene(width: int = 48, height: int = 32) -> Image.Image:
    """Left half red, right half blue."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[:, : width // 2, 0] = 255
    pixels[:, width // 2 :, 2] = 255
    return Image.fromarray(pixels)


def _saved(image: Image.Image, path: Path, **options) -> Path:
    image.save(path, **options)
    return path


def _written(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


def _noise(length: int) -> bytes:
    return np.random.default_rng(0).bytes(length)


def _pictures(folder: Path) -> list[Path]:
    """Every colour mode and the extreme sizes."""
    scene = _scene()
    ramp = np.linspace(0, 1, 48 * 32, dtype=np.float32).reshape(32, 48)
    grey16 = Image.fromarray((ramp * 65535).astype(np.uint16))
    transparent = scene.copy()
    transparent.putalpha(0)
    modes = ("1", "L", "LA", "P", "RGB", "RGBA")
    sizes = ((1, 1), (1, 5000), (5000, 1))
    return [
        *[_saved(scene.convert(mode), folder / f"mode_{mode}.png") for mode in modes],
        *[_saved(scene.resize(size), folder / "{}x{}.png".format(*size)) for size in sizes],
        _saved(scene.convert("CMYK"), folder / "cmyk.jpg"),
        _saved(scene.convert("CMYK"), folder / "cmyk_tiff.tiff"),
        _saved(transparent, folder / "transparent.png"),
        _saved(
            scene.convert("P"), folder / "palette_transparent.png", transparency=scene.convert("P").getpixel((0, 0))
        ),
        _saved(grey16, folder / "grey16.png"),
        _saved(grey16, folder / "grey16_tiff.tiff"),
        _saved(grey16, folder / "grey16_pgm.pgm"),
        _saved(Image.fromarray(ramp), folder / "float.tiff"),
    ]


def _odd_kinds(folder: Path) -> list[Path]:
    """Several frames, other containers, much metadata, a wrong extension, a link."""
    scene = _scene()
    frames = {"save_all": True, "append_images": [scene.rotate(180)] * 2}
    exif = Image.Exif()
    exif[0x0112] = 6
    text = PngInfo()
    text.add_text("parameters", "a cat, 8k " * 1000, zip=True)
    link = folder / "link.png"
    link.symlink_to(_saved(scene, folder / "link_target.png").name)
    return [
        *[_saved(scene, folder / f"animated_{kind}.{kind}", **frames) for kind in ("gif", "webp", "tiff", "png")],
        _saved(scene, folder / "plain.bmp"),
        _saved(scene, folder / "plain_jp2.jp2"),
        _saved(scene, folder / "icc_4MB.jpg", icc_profile=_noise(2**22)),
        _saved(scene, folder / "rotated.jpg", exif=exif),
        _saved(scene, folder / "junk_exif.jpg", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40),
        _saved(scene, folder / "prompt_text.png", pnginfo=text),
        _saved(scene, folder / "jpeg_named.png", format="JPEG"),
        link,
        folder / "link_target.png",
    ]


def _odd_names(folder: Path) -> list[tuple[str, Path]]:
    names = list(ODD_NAMES)
    if sys.platform == "linux":  # elsewhere file names are text
        names.append(os.fsdecode(b"latin-\xe9\xff.png"))
    return [(name, _saved(_scene(), folder / name, format="PNG")) for name in names]


def _damaged(folder: Path) -> list[Path]:
    """Cut off in the middle, or with a broken part."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    paths = []
    for kind in ("png", "jpg", "webp", "tiff", "bmp", "gif", "jp2"):
        whole = _saved(noise, folder / f"truncated_{kind}.{kind}")
        paths.append(_written(whole, whole.read_bytes()[: whole.stat().st_size // 2]))
    png = _saved(noise, folder / "header_only.png").read_bytes()
    broken = bytearray(png)
    broken[len(png) // 2] ^= 0xFF
    return [
        *paths,
        _written(folder / "header_only.png", png[:33]),
        _written(folder / "magic_only.png", png[:8]),
        _written(folder / "bit_flip.png", bytes(broken)),
        _written(folder / "empty.png", b""),
        _written(folder / "zero_size.png", _png(_header(0, 0))),
    ]


def _bombs(folder: Path) -> list[Path]:
    """Little files that unpack to a lot, or claim to."""
    many_pixels = _png(_header(10_000, 10_000, 1), (b"IDAT", zlib.compress((b"\0" + b"\xff" * 1250) * 10_000)))
    text = zlib.compress(b"a" * 2**27)
    bmp = struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60_000, 60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return [
        _written(folder / "bomb_10000x10000.png", many_pixels),
        _written(folder / "bomb_claimed.png", _png(_header(2**31 - 1, 2**31 - 1))),
        _written(folder / "bomb_claimed_gif.gif", b"GIF89a" + b"\xff" * 4 + b"\0\0\0" + b"," * 40),
        _written(folder / "bomb_claimed_bmp.bmp", b"BM" + bmp),
        _written(folder / "bomb_ztxt.png", _png(_header(8, 8), (b"zTXt", b"k\0\0" + text))),
        _written(folder / "bomb_icc.png", _png(_header(8, 8), (b"iCCP", b"icc\0\0" + text))),
    ]


def _png(*chunks: tuple[bytes, bytes]) -> bytes:
    parts = [struct.pack(">I", len(data)) + name + data + _checksum(name + data) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + b"\0\0\0\0IEND\xaeB`\x82"


def _checksum(content: bytes) -> bytes:
    return struct.pack(">I", zlib.crc32(content))


def _header(width: int, height: int, bits: int = 8) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, bits, 0, 0, 0, 0)


def _no_images(folder: Path) -> list[Path]:
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + _noise(200)
    heif = b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + _noise(200)
    return [
        _written(folder / "text.png", b"this is no image\n"),
        _written(folder / "random.jpg", b"\xff\xd8\xff" + _noise(500)),
        _written(folder / "drawing.svg", b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'),
        _written(folder / "svg_named.png", b'<?xml version="1.0"?><svg width="9" height="9"/>'),
        _written(folder / "paper.pdf", b"%PDF-1.7\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"),
        _written(folder / "script.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) run\n"),
        _written(folder / "photo.heic", heic),
        _written(folder / "photo_mif1.heif", heif),
        _written(folder / "page.jpg", b"<!DOCTYPE html><title>404</title>"),
    ]


def _not_files(folder: Path) -> list[Path]:
    paths = {name: folder / f"{name}.png" for name in ("directory", "pipe", "device", "dangling", "loop_a", "loop_b")}
    paths["directory"].mkdir()
    os.mkfifo(paths["pipe"])
    paths["device"].symlink_to("/dev/zero")
    paths["dangling"].symlink_to("nowhere.png")
    paths["loop_a"].symlink_to("loop_b.png")
    paths["loop_b"].symlink_to("loop_a.png")
    return [*paths.values(), folder / "missing.png", _socket(folder / "socket.png")]


def _socket(path: Path) -> Path:
    before = os.getcwd()
    os.chdir(path.parent)  # the full path may be too long for a socket's address
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(before)
    return path
