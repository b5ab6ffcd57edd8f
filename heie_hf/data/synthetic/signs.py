"""Boards with a word. Frame: middle of the lower edge, height = 1."""

from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont, ImageOps

from .canvas import Color, Pen, darker, lighter
from .palette import CLOTHES, an, chance, named, pick
from .thing import Thing
from .vocabulary import PARTS

WORDS = ("STOP", "OPEN", "CAFE", "EXIT", "TAXI", "PARK", "HOTEL", "ZOO", "BANK", "SALE", "FOOD", "BUS")
_CELL = 96  # pixels of the letters' master drawings


@lru_cache(maxsize=64)
def _letter(character: str, stroke: int) -> Image.Image:
    """A letter as an L mask, cropped to its ink."""
    sheet = Image.new("L", (2 * _CELL, 2 * _CELL))
    font = ImageFont.load_default(_CELL)
    ImageDraw.Draw(sheet).text((40, 30), character, fill=255, font=font, stroke_width=stroke)
    return sheet.crop(sheet.getbbox())


def _garble(character: str, letter: Image.Image, rng: np.random.Generator) -> Image.Image:
    """A letter that is none: turned, upside down with a wrong stroke, cut in two, or two in one."""
    w, h = letter.size
    way = int(rng.integers(1 if character in "HINOSXZ" else 0, 4))  # those remain letters when turned
    if way == 0:
        return letter.rotate(pick(rng, (60, 90, 120, 240, 270)), expand=True, resample=Image.BILINEAR)
    if way == 1:
        bad = ImageOps.flip(letter)
        ImageDraw.Draw(bad).arc([0, 0, w, h], int(rng.integers(360)), int(rng.integers(360, 640)), fill=255, width=12)
        return bad
    if way == 2:
        bad = Image.new("L", (w + w // 2, h))
        bad.paste(letter.crop((0, 0, w, h // 2)), (w // 2, h // 2))
        bad.paste(letter.crop((0, h // 2, w, h)), (0, 0))
        return bad
    bad = ImageOps.expand(letter, 12)
    other = ImageOps.mirror(letter).rotate(90, expand=True).resize(bad.size)
    return Image.fromarray(np.maximum(np.asarray(bad), np.asarray(other)))


def _write(pen: Pen, rng, word: str, box: tuple[complex, complex], ink: Color, garbled: bool) -> None:
    """`word` fitted into the box (upper left, lower right) of a frame that is neither turned nor mirrored."""
    start, end = pen.to(box[0]), pen.to(box[1])
    width, height = end.real - start.real, end.imag - start.imag
    stroke = pick(rng, (2, 3, 5))
    letters = [_letter(character, stroke) for character in word]
    if garbled:
        spared = int(rng.integers(len(word))) if len(word) > 3 else -1
        bad = [letter if k == spared else _garble(word[k], letter, rng) for k, letter in enumerate(letters)]
        letters = letters if pen.flawless else bad
    advance = sum(letter.width for letter in letters) + 14 * (len(letters) - 1)
    scale = min(width / advance, height / 80)
    x = start.real + (width - advance * scale) / 2
    for letter in letters:
        size = (max(1, round(letter.width * scale)), max(1, round(letter.height * scale)))
        y = start.imag + (height - size[1]) / 2
        if garbled:
            slip = rng.uniform(-0.12, 0.12) * height
            y += 0 if pen.flawless else slip
        mask = letter.resize(size, Image.BILINEAR)
        at = (round(x), round(y))
        with pen.planting("garbled sign" if garbled else None):
            solid = mask.point(lambda v: 255 if v > 127 else 0)
            pen.layer.color.paste(ink, at, mask)
            pen.layer.label.paste((PARTS.index("letter"), pen.layer.defect, 0), at, solid)
        x += (letter.width + 14) * scale


def draw_sign(pen: Pen, rng: np.random.Generator, plan: frozenset) -> Thing:
    name, color = named(rng, CLOTHES)
    word = pick(rng, WORDS)
    dark = sum(color) < 380
    ink = _ink(rng, dark)
    garbled = "garbled sign" in plan
    pen = Pen(pen.layer, pen.origin, pen.unit)  # words are never mirrored
    half, top, bottom = rng.uniform(0.76, 0.84), -0.98, rng.uniform(-0.3, -0.2)
    post = darker((150, 140, 130), rng.uniform(0, 0.5))
    for x in (-0.5, 0.5) if chance(rng, 0.4) else (0,):
        pen.limb(complex(x, bottom), complex(x, -0.03), 0.035, 0.035, post, "post", rim=True)
    frame = lighter(color, 0.5) if dark else darker(color, 0.5)
    for grow, paint in ((0.03, frame), (0.0, color)):
        left, right, up, low = -half - grow, half + grow, top + 0.03 - grow, bottom - 0.03 + grow
        corners = [complex(left, up), complex(right, up), complex(right, low), complex(left, low)]
        pen.polygon(corners, paint, "sign board")
    room = (complex(-half * 0.9, top + 0.14), complex(half * 0.9, bottom - 0.14))
    _write(pen, rng, word, room, ink, garbled)
    center, size = pen.to(complex(0, (top + bottom) / 2)), 0.42 * pen.length
    anchors = [(center + 0.5 * pen.length * side, size, "board") for side in (-1, 1)]
    # the description tells nothing of the word, else it would give away whether it can be read
    return Thing("sign", an(f"{name} sign with a word"), an(f"{name} sign"), anchors, color=name)


def _ink(rng: np.random.Generator, dark_board: bool) -> Color:
    pale, deep = ((250, 250, 245), (250, 235, 150)), ((25, 25, 30), (110, 20, 20), (25, 40, 110))
    return pick(rng, pale if dark_board else deep)
