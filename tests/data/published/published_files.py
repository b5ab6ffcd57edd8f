"""Writes small files in the formats in which data sets are published; none of it shares code with the loaders."""

import struct
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from tensorboard.summary.writer.record_writer import RecordWriter


def picture(seed: int, size: tuple[int, int] = (24, 16)) -> Image.Image:
    """RGB noise of `size` (W, H)."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG") -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind)
    return buffer.getvalue()


def heat(size: tuple[int, int], box: tuple[int, int, int, int], value: int = 255) -> Image.Image:
    """A map of `size` (W, H), `value` within the box x0, y0, x1, y1."""
    pixels = np.zeros((size[1], size[0]), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = value
    return Image.fromarray(pixels)


def write_tfrecord(path: Path, examples: list[dict[str, bytes | float]]) -> list[bytes]:
    """A record file as TensorFlow writes it; returns the framed records."""
    frames = []
    for example in examples:
        frame = BytesIO()
        RecordWriter(frame).write(_message(1, b"".join(_entry(*item) for item in example.items())))
        frames.append(frame.getvalue())
    path.write_bytes(b"".join(frames))
    return frames


def _entry(name: str, value: bytes | float) -> bytes:
    if isinstance(value, bytes):
        feature = _message(1, _message(1, value))  # bytes_list
    else:
        feature = _message(2, _message(1, struct.pack("<f", value)))  # float_list, packed
    return _message(1, _message(1, name.encode()) + _message(2, feature))


def _message(field: int, content: bytes) -> bytes:
    """A length-delimited protobuf field."""
    length, varint = len(content), []
    while length > 127:
        varint.append(length & 127 | 128)
        length >>= 7
    return bytes([field << 3 | 2, *varint, length]) + content


def richhf_example(uid: str, seed: int = 0, **changes) -> dict[str, bytes | float]:
    """One record of RichHF-18K; maps of 32x32 stand for its 512x512."""
    return {
        "filename": f"train/{uid}.png".encode(),
        "aesthetics_score": 0.75,
        "artifact_score": 0.5,
        "misalignment_score": 0.25,
        "overall_score": 1.0,
        "artifact_map": encoded(heat((32, 32), (8, 8, 16, 16), 200)),
        "misalignment_map": encoded(heat((32, 32), (0, 0, 4, 4))),
        "prompt_misalignment_label": b"0 1 1",
    } | changes


def write_images(folder: Path, names: list[str], size: tuple[int, int] = (24, 16)) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for seed, name in enumerate(names):
        picture(seed, size).save(folder / name)
