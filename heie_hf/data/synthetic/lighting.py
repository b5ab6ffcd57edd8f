"""Where the light comes from, the shadows it throws, and the camera's finishing touches."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageFilter

from .canvas import Color, Layer
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
    return Light(pick(rng, (-1, 1)), sharp, rng.uniform(0.45, 0.8), rng.uniform(-0.22, -0.1), rng.uniform(0.35, 0.55))


def draw_lamp(picture: Image.Image, light: Light, indoor: bool, rng: np.random.Generator) -> tuple[list, Color]:
    """Paint the sun or a lamp into the light's upper corner, with a glow. Returns its box."""
    width, height = picture.size
    short = min(width, height)
    r = short * rng.uniform(0.055, 0.075)
    x = width * (0.5 + light.side * 0.5) - light.side * r * rng.uniform(1.3, 1.9)
    y = r * rng.uniform(1.3, 2.0)
    glow = Image.radial_gradient("L").resize((round(short * 0.9),) * 2)
    glow = ImageChops.invert(glow).point([max(0, v - 75) for v in range(256)])
    picture.paste((255, 250, 215), (round(x - short * 0.45), round(y - short * 0.45)), glow)
    draw = ImageDraw.Draw(picture)
    box = [x - r, y - r, x + r, y + r]
    if indoor:
        draw.line([x, 0, x, y], fill=(60, 55, 55), width=max(1, round(r * 0.15)))
        draw.pieslice([x - r * 1.3, y - r * 1.3, x + r * 1.3, y + r * 1.3], 180, 360, fill=(90, 75, 70))
        draw.ellipse([x - r * 0.8, y - r * 0.8, x + r * 0.8, y + r * 0.8], fill=(255, 246, 190))
    else:
        draw.ellipse(box, fill=(255, 240, 150))
    return box


def shade(layer: Image.Image, light: Light) -> Image.Image:
    """An RGBA object, brighter on the light's side."""
    width, height = layer.size
    dark = 0.5 if light.sharp else 0.85
    ramp = np.linspace(1.0, dark, width) if light.side < 0 else np.linspace(dark, 1.0, width)
    levels = np.round(255 * ramp).astype(np.uint8)[None, :]
    ramp = Image.fromarray(np.ascontiguousarray(levels)).resize((width, height), Image.NEAREST)
    full = Image.new("L", (width, height), 255)
    return ImageChops.multiply(layer, Image.merge("RGBA", (ramp, ramp, ramp, full)))


def cast_shadow(alpha: Image.Image, at: tuple[int, int], foot: float, light: Light, size, side: int) -> Image.Image:
    """The shadow (L, of the whole picture's size) of an object.

    `alpha`: the object's coverage, its upper left corner at pixel `at`; `foot`: the ground's y in the picture;
    `side`: where the light would be (-1 left, +1 right).
    """
    lean, fall = -side * light.slope, light.fall
    # A point h above the ground throws its shadow to (x + lean * h, foot - fall * h); PIL wants the inverse.
    scale = -1.0 / fall
    data = (1, -lean * scale, lean * scale * foot - at[0], 0, -scale, foot * (1 + scale) - at[1])
    return alpha.transform(size, Image.AFFINE, data, resample=Image.BILINEAR)


def finish(picture: Image.Image, rng: np.random.Generator) -> Image.Image:
    """Contrast, tint, softness and sensor noise; about what cameras differ by."""
    gain, gamma = rng.uniform(0.9, 1.08), rng.uniform(0.85, 1.2)
    tint = rng.uniform(0.94, 1.06, 3)
    levels = (np.arange(256) / 255) ** gamma * 255 * gain
    table = np.concatenate([np.clip(np.round(levels * t), 0, 255) for t in tint]).astype(int).tolist()
    picture = picture.point(table)
    if chance(rng, 0.3):
        picture = picture.filter(ImageFilter.BoxBlur(rng.uniform(0.3, 0.7)))
    amount = int(rng.integers(0, 11))
    if amount:
        mode = pick(rng, ("L", "L", "RGB"))
        count = picture.width * picture.height * len(mode)
        grain = Image.frombytes(mode, picture.size, rng.bytes(count)).point([v * 2 * amount // 255 for v in range(256)] * len(mode))
        picture = ImageChops.add(picture, grain.convert("RGB"), 1, -amount)
    return picture


def flatten(layer: Layer) -> tuple[Image.Image, np.ndarray]:
    """A layer at the picture's scale: antialiased RGBA, and its labels (height, width, 2: part, defect)."""
    small = layer.color.reduce(2)
    labels = np.asarray(layer.label)[::2, ::2, :2]
    return small, labels
