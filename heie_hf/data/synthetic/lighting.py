"""Where the light comes from, the shadows it throws, and the camera's finishing touches."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .palette import chance, pick


@dataclass
class Light:
    side: int  # -1: from the left, +1: from the right
    sharp: bool  # throws shadows; otherwise diffuse
    slope: float  # length of a shadow for each unit of height
    fall: float  # how far shadows come down towards the viewer for each unit of height
    strength: float


def random_light(rng: np.random.Generator) -> Light:
    sharp = chance(rng, 0.75)
    return Light(pick(rng, (-1, 1)), sharp, rng.uniform(0.55, 0.9), rng.uniform(0.12, 0.22), rng.uniform(0.35, 0.55))


def draw_lamp(picture: Image.Image, light: Light, indoor: bool, rng: np.random.Generator) -> list[float]:
    """Paint the sun or a lamp into the light's upper corner, with a glow. Returns its box, x0, y0, x1, y1."""
    width, height = picture.size
    short = min(width, height)
    r = short * rng.uniform(0.055, 0.075)
    x = width * (0.5 + light.side * 0.5) - light.side * r * rng.uniform(1.3, 1.9)
    y = r * rng.uniform(1.3, 2.0)
    glow = Image.radial_gradient("L").resize((round(short * 0.9),) * 2)
    glow = ImageChops.invert(glow).point([max(0, v - 75) for v in range(256)])
    picture.paste((255, 250, 215), (round(x - short * 0.45), round(y - short * 0.45)), glow)
    draw = ImageDraw.Draw(picture)

    def around(radius: float) -> list[float]:
        return [x - radius, y - radius, x + radius, y + radius]

    if indoor:
        draw.line([x, 0, x, y], fill=(60, 55, 55), width=max(1, round(r * 0.15)))
        draw.pieslice(around(r * 1.3), 180, 360, fill=(90, 75, 70))
        draw.ellipse(around(r * 0.8), fill=(255, 246, 190))
    else:
        draw.ellipse(around(r), fill=(255, 240, 150))
    return around(r)


def shade(color: Image.Image, light: Light) -> Image.Image:
    """An object's colours, brighter on the light's side."""
    levels = np.linspace(255, 128 if light.sharp else 216, color.width)[:: -light.side]
    ramp = Image.fromarray(np.round(levels).astype(np.uint8)[None]).resize(color.size, Image.NEAREST)
    return ImageChops.multiply(color, Image.merge("RGB", (ramp, ramp, ramp)))


def cast_shadow(coverage: Image.Image, corner: tuple[int, int], foot: float, light: Light, width: int, side: int):
    """The shadow of an object on the ground: (L image as wide as the picture, y of its upper edge).

    `coverage`: L, its upper left `corner` in the picture; `foot`: y of the ground under the object;
    `side`: where the light would be, -1 left or +1 right.
    """
    lean, fall = -side * light.slope, light.fall
    top, depth = int(foot - 2), int(coverage.height * fall) + 6
    # A point h above the ground throws its shadow to (x + lean * h, foot + fall * h); PIL asks for the inverse.
    x0, y0 = corner
    data = (1, -lean / fall, lean / fall * (foot - top) - x0, 0, -1 / fall, foot + (foot - top) / fall - y0)
    return coverage.transform((width, depth), Image.AFFINE, data, resample=Image.BILINEAR), top


def contact_shadow(coverage: Image.Image, corner: tuple[int, int], foot: float, width: int):
    """What diffuse light leaves: a dark patch under the object. Same form as `cast_shadow`."""
    flat = coverage.resize((coverage.width, max(2, coverage.height // 14)))
    shadow = Image.new("L", (width, flat.height * 2))
    shadow.paste(flat, (corner[0], flat.height // 2))
    return shadow, round(foot - flat.height * 1.1)


def finish(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Contrast, tint, softness and sensor noise; about what cameras differ by."""
    gain, gamma = rng.uniform(0.9, 1.08), rng.uniform(0.85, 1.2)
    tint = rng.uniform(0.94, 1.06, 3)
    levels = (np.arange(256) / 255) ** gamma * 255 * gain
    table = np.concatenate([np.clip(np.round(levels * t), 0, 255) for t in tint]).astype(int).tolist()
    picture = picture.point(table)
    if chance(rng, 0.2):
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.2, 0.5)))
    amount = int(rng.integers(0, 7))
    if amount:
        mode = pick(rng, ("L", "L", "RGB"))
        count = picture.width * picture.height * len(mode)
        grain = Image.frombytes(mode, picture.size, rng.bytes(count))
        grain = grain.point([v * 2 * amount // 255 for v in range(256)] * len(mode)).convert("RGB")
        picture = ImageChops.add(picture, grain, 1, -amount)
    return picture
