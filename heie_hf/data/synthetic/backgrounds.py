"""Places: what is behind and under the objects. Drawn small and enlarged, which antialiases and costs little."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from .canvas import Color, darker, lighter, mix
from .palette import chance, jitter, pick

SKIES = ((120, 170, 225), (150, 190, 225), (235, 180, 140), (185, 195, 205), (110, 120, 165))
WALLS = ((225, 215, 195), (190, 205, 215), (205, 190, 200), (185, 200, 175), (170, 150, 140), (120, 130, 150))
FLOORS = ((165, 125, 90), (120, 90, 70), (180, 175, 170), (140, 145, 155), (150, 90, 80))


@dataclass
class Place:
    phrase: str  # "in a green park"
    indoor: bool


def _gradient(size: tuple[int, int], top: Color, bottom: Color) -> Image.Image:
    strip = Image.new("RGB", (1, 2))
    strip.putpixel((0, 0), top)
    strip.putpixel((0, 1), bottom)
    return strip.resize(size, Image.BILINEAR, box=(0, 0.5, 1, 1.5))


def _sky(draw, rng, width, horizon):
    for _ in range(int(rng.integers(0, 4))):
        x, y, r = rng.uniform(0, width), rng.uniform(0.1, 0.7) * horizon, rng.uniform(0.03, 0.07) * width
        for _ in range(4):
            dx, dy = rng.uniform(-2, 2) * r, rng.uniform(-0.4, 0.4) * r
            draw.ellipse([x + dx - r, y + dy - r * 0.5, x + dx + r, y + dy + r * 0.5], fill=(240, 244, 248))


def _hills(draw, rng, width, horizon, color):
    for layer in range(int(rng.integers(1, 4))):
        shade = mix(color, (170, 190, 215), 0.6 - 0.2 * layer)
        level, phase, waves = rng.uniform(0.1, 0.3) * horizon / (1 + layer), rng.uniform(0, 6), rng.uniform(1, 3)
        xs = np.linspace(0, 1, 24)
        ys = horizon - level * (1.1 + np.sin(phase + waves * 2 * np.pi * xs))
        draw.polygon([(0, horizon)] + list(zip(xs * width, ys)) + [(width, horizon)], fill=shade)


def _trees(draw, rng, width, horizon, color):
    for _ in range(int(rng.integers(3, 9))):
        x, size = rng.uniform(0, width), rng.uniform(0.12, 0.3) * horizon
        leaf = jitter(rng, darker(color, 0.25), 12)
        draw.rectangle([x - size * 0.06, horizon - size * 0.7, x + size * 0.06, horizon], fill=(95, 70, 50))
        if chance(rng, 0.5):
            foot = horizon - size * 0.3
            draw.polygon([(x - size * 0.4, foot), (x, horizon - size * 1.6), (x + size * 0.4, foot)], fill=leaf)
        else:
            draw.ellipse([x - size * 0.45, horizon - size * 1.4, x + size * 0.45, horizon - size * 0.4], fill=leaf)


def _city(draw, rng, width, horizon, color):
    x = -rng.uniform(0, 0.1) * width
    while x < width:
        wide, tall = rng.uniform(0.08, 0.2) * width, rng.uniform(0.25, 0.8) * horizon
        wall = mix(jitter(rng, (150, 140, 140), 30), (190, 200, 215), 0.35)
        draw.rectangle([x, horizon - tall, x + wide, horizon], fill=wall)
        step = max(4, wide / 4)
        for wx in np.arange(x + step / 2, x + wide - step / 2, step):
            for wy in np.arange(horizon - tall + step / 2, horizon - step / 2, step * 1.3):
                draw.rectangle([wx, wy, wx + step * 0.45, wy + step * 0.6], fill=darker(wall, 0.25))
        x += wide


def _sea(draw, rng, width, horizon, color):
    draw.rectangle([0, horizon * 0.72, width, horizon], fill=jitter(rng, (70, 130, 165), 15))
    for _ in range(12):
        x, y, r = rng.uniform(0, width), rng.uniform(0.76, 0.97) * horizon, rng.uniform(0.02, 0.08) * width
        draw.line([x - r, y, x + r, y], fill=(130, 180, 205))


def _trunks(draw, rng, width, horizon, color):
    draw.rectangle([0, 0, width, horizon], fill=(40, 62, 48))
    for _ in range(int(rng.integers(8, 16))):
        x, half = rng.uniform(0, width), rng.uniform(0.008, 0.03) * width
        draw.rectangle([x - half, 0, x + half, horizon], fill=jitter(rng, (84, 66, 52), 14))


def _space(draw, rng, width, horizon, color):
    draw.rectangle([0, 0, width, horizon], fill=(14, 14, 26))
    for x, y in rng.random((50, 2)):
        draw.point([x * width, y * horizon], fill=(225, 225, 215))
    for _ in range(4):
        x, r = rng.uniform(0, width), rng.uniform(0.04, 0.1) * width
        draw.ellipse([x - r, horizon - r * 0.3, x + r, horizon + r * 0.3], fill=darker(color, 0.15))


#: phrase, ground colour, what stands on the horizon
OUTDOORS = (
    ("in a green park", (110, 160, 80), _trees),
    ("on a field with hills", (150, 170, 85), _hills),
    ("on a city street", (125, 125, 130), _city),
    ("on a beach by the sea", (225, 205, 160), _sea),
    ("in a desert", (220, 180, 120), _hills),
    ("in the snow", (232, 238, 245), _trees),
)
UNSEEN_OUTDOORS = (("in a dark forest", (88, 98, 70), _trunks), ("on the moon", (165, 165, 162), _space))


def _speckle(draw, rng, width, height, horizon, color):
    """Grass, gravel, sand: short strokes that grow towards the viewer."""
    count = int(rng.integers(30, 90))
    depth = rng.random(count) ** 0.6
    for d, x, shade in zip(depth, rng.random(count) * width, rng.uniform(-0.14, 0.14, count)):
        y, r = horizon + d * (height - horizon), 0.5 + 3 * d
        draw.line([x - r, y, x + r, y], fill=lighter(color, shade) if shade > 0 else darker(color, -shade))


def _two_planes(size: tuple[int, int], horizon: float, back: tuple[Color, Color], ground: tuple[Color, Color]):
    """Sky or wall above the horizon, ground below; each from its upper to its lower colour."""
    width, height = size
    image = _gradient(size, *back)
    image.paste(_gradient((width, max(1, height - round(horizon))), *ground), (0, round(horizon)))
    return image, ImageDraw.Draw(image)


def outdoors(rng: np.random.Generator, size: tuple[int, int], horizon: float, scenery) -> tuple[Image.Image, Place]:
    """`horizon`: its y in pixels; `scenery`: an entry of OUTDOORS."""
    width, height = size
    phrase, ground, skyline = scenery
    ground, sky = jitter(rng, ground, 16), jitter(rng, pick(rng, SKIES), 14)
    planes = (sky, lighter(sky, 0.45)), (lighter(ground, 0.12), darker(ground, 0.12))
    image, draw = _two_planes(size, horizon, *planes)
    _sky(draw, rng, width, horizon)
    skyline(draw, rng, width, horizon, ground if skyline is not _trees else (90, 140, 80))
    _speckle(draw, rng, width, height, horizon, ground)
    if "street" in phrase:
        for y in (0.35, 0.8):
            at = horizon + y * (height - horizon)
            draw.line([0, at, width, at], fill=lighter(ground, 0.35), width=max(1, round(2 * y)))
    return image, Place(phrase, False)


def _stripes(draw, rng, width, top, low, color, unit):
    for x in np.arange(0, width, 2 * unit):
        draw.rectangle([x, top, x + unit, low], fill=color)


def _grid(draw, rng, width, top, low, color, unit):
    for x in np.arange(rng.uniform(0, unit), width, unit):
        draw.line([x, top, x, low], fill=color)
    for y in np.arange(low, top, -unit):
        draw.line([0, y, width, y], fill=color)


def _bricks(draw, rng, width, top, low, color, unit):
    for row, y in enumerate(np.arange(low, top, -unit * 0.5)):
        draw.line([0, y, width, y], fill=color)
        for x in np.arange(unit / 2 * (row % 2), width, unit):
            draw.line([x, y, x, y - unit * 0.5], fill=color)


def _dots(draw, rng, width, top, low, color, unit):
    for row, y in enumerate(np.arange(low - unit / 2, top, -unit)):
        for x in np.arange(unit / 2 * (row % 2), width, unit):
            draw.ellipse([x - unit * 0.18, y - unit * 0.18, x + unit * 0.18, y + unit * 0.18], fill=color)


def _plain(draw, rng, width, top, low, color, unit):
    pass


def _checks(draw, rng, width, top, low, color, unit):
    for row, y in enumerate(np.arange(low, top - unit, -unit)):
        for x in np.arange(unit * (row % 2), width, 2 * unit):
            draw.rectangle([x, y - unit, x + unit, y], fill=color)


def _waves(draw, rng, width, top, low, color, unit):
    xs = np.linspace(0, width, 40)
    for y in np.arange(low - unit / 2, top, -unit):
        draw.line(list(zip(xs, y + unit * 0.3 * np.sin(xs / unit * 2))), fill=color, width=2)


INDOORS = (
    ("in a room with a striped wall", _stripes),
    ("in a room with a tiled wall", _grid),
    ("in front of a brick wall", _bricks),
    ("in a room with a dotted wall", _dots),
    ("in a plain room", _plain),
    ("in a plain room", _plain),
)
UNSEEN_INDOORS = (("in a room with a checked wall", _checks), ("in a room with a wavy wall", _waves))


def _floor(draw, rng, width, height, horizon, color):
    if chance(rng, 0.5):  # planks that run towards the viewer
        middle = rng.uniform(0.3, 0.7) * width
        for k in np.arange(-2.1, 2.1, 0.18):
            draw.line([middle + k * width * 0.6, horizon, middle + k * width * 1.5, height], fill=color)
        return
    y, step = horizon, 2.0
    while y < height:
        draw.line([0, y, width, y], fill=color)
        y, step = y + step, step * 1.5


def indoors(rng: np.random.Generator, size: tuple[int, int], horizon: float, scenery) -> tuple[Image.Image, Place]:
    """`horizon`: the y in pixels where the floor begins; `scenery`: an entry of INDOORS."""
    width, height = size
    phrase, pattern = scenery
    wall, floor = jitter(rng, pick(rng, WALLS)), jitter(rng, pick(rng, FLOORS))
    planes = (lighter(wall, 0.15), darker(wall, 0.1)), (darker(floor, 0.12), lighter(floor, 0.1))
    image, draw = _two_planes(size, horizon, *planes)
    unit = rng.uniform(0.06, 0.12) * max(size)
    pattern(draw, rng, width, 0, horizon, darker(wall, 0.12) if chance(rng, 0.6) else lighter(wall, 0.3), unit)
    _floor(draw, rng, width, height, horizon, darker(floor, 0.18))
    if chance(rng, 0.7):
        draw.rectangle([0, horizon - max(2, height * 0.02), width, horizon], fill=lighter(wall, 0.4))
    return image, Place(phrase, True)
