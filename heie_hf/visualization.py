"""Pictures of heatmaps: colours, overlays with a scale, panels for reports. Pillow and numpy only."""

import functools

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Heatmap = np.ndarray | Image.Image

# matplotlib's perceptually uniform "inferno" (CC0) at 17 even steps; linear in between, at most 6 of 255 levels off.
_INFERNO = (
    "000004 0b0724 210c4a 3d0965 57106e 71196e 8a226a a32c61 bc3754 "
    "d04545 e35933 f1711f f98c0a fcaa0f f9c932 f2e865 fcffa4"
).split()
_INK, _PAPER = (40, 40, 40), (255, 255, 255)


def _colour_table() -> list[int]:
    """768 values, the palette of 256 RGB colours."""
    points = np.array([list(bytes.fromhex(colour)) for colour in _INFERNO], dtype=float)  # (17, 3)
    steps = np.linspace(0, len(points) - 1, 256)
    channels = [np.interp(steps, np.arange(len(points)), channel) for channel in points.T]
    return np.stack(channels, axis=1).round().astype(int).flatten().tolist()


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _as_grey(heatmap: Heatmap, size: tuple[int, int] | None = None) -> Image.Image:
    """(H, W) floats in [0, 1], or an L image -> L image of `size` (width, height)."""
    if not isinstance(heatmap, Image.Image):
        levels = np.clip(np.nan_to_num(np.asarray(heatmap, dtype=np.float32)), 0, 1) * 255
        heatmap = Image.fromarray(levels.round().astype(np.uint8))
    heatmap = heatmap.convert("L")
    return heatmap if size in (None, heatmap.size) else heatmap.resize(size, Image.Resampling.BILINEAR)


def colorize(heatmap: Heatmap) -> Image.Image:
    """A heatmap in colours, from black (0) over red to pale yellow (1).

    Args:
        heatmap: (H, W) array in [0, 1] or an L image.
    Returns:
        RGB image of the same size.
    """
    grey = _as_grey(heatmap)
    grey.putpalette(_colour_table())
    return grey.convert("RGB")


def blend(image: Image.Image, heatmap: Heatmap, max_alpha: float = 0.8) -> Image.Image:
    """The heatmap's colours over the image, opaque in proportion to the value (`max_alpha` at 1, nothing at 0)."""
    grey = _as_grey(heatmap, image.size)
    mask = grey.point([round(max_alpha * level) for level in range(256)])
    return Image.composite(colorize(grey), image.convert("RGB"), mask)


def _scale(height: int, score: float | None) -> Image.Image:
    """The column beside an overlay: colours from 1 (top) to 0 with ticks, and the score below."""
    size = min(max(height // 24, 11), 48)
    score_lines = [] if score is None else ["score", f"{score:.2f}"]
    top, bottom = size, height - size - round(1.5 * size) * len(score_lines)
    column = Image.new("RGB", (5 * size, height), _PAPER)
    draw = ImageDraw.Draw(column)
    ramp = colorize(np.linspace(1, 0, bottom - top)[:, None]).resize((size, bottom - top))
    column.paste(ramp, (size // 2, top))
    for tick in (0, 0.25, 0.5, 0.75, 1):
        y = round(bottom - 1 - tick * (bottom - top - 1))
        draw.line([(size * 3 // 2, y), (size * 2, y)], fill=_INK, width=max(1, size // 12))
        draw.text((size * 9 // 4, y), f"{tick:g}", fill=_INK, font=_font(size), anchor="lm")
    for i, line in enumerate(score_lines):
        y = bottom + size + round(1.3 * size) * i
        draw.text((size // 2, y), line, fill=_INK, font=_font(size), anchor="lt")
    return column


def _beside(pictures: list[Image.Image], gap: int = 0) -> Image.Image:
    """Pictures in a row on white, aligned at the top."""
    width = sum(picture.width for picture in pictures) + gap * (len(pictures) - 1)
    row = Image.new("RGB", (width, max(picture.height for picture in pictures)), _PAPER)
    x = 0
    for picture in pictures:
        row.paste(picture, (x, 0))
        x += picture.width + gap
    return row


def overlay(image: Image.Image, heatmap: Heatmap, score: float | None = None, max_alpha: float = 0.8) -> Image.Image:
    """The image under its heatmap, with the scale of the colours beside it.

    Args:
        image: the picture looked at.
        heatmap: (H, W) array in [0, 1] or an L image; enlarged to the image where smaller.
        score: in [0, 1], printed under the scale.
        max_alpha: opacity where the heatmap is 1.
    Returns:
        RGB image; the image's own pixels start at its upper left corner.
    """
    picture = blend(image, heatmap, max_alpha)
    return _beside([picture, _scale(max(picture.height, 144), score)])


def _wrap(text: str, width: int, font: ImageFont.ImageFont) -> list[str]:
    """Lines of at most `width` pixels; words longer than that are broken."""
    lines = []
    for paragraph in text.splitlines() or [""]:
        line = ""
        for word in paragraph.split():
            if font.getlength(f"{line} {word}".strip()) > width and line:
                lines, line = [*lines, line], ""
            while font.getlength(word) > width and len(word) > 1:
                fits = next(n for n in range(len(word) - 1, 0, -1) if n == 1 or font.getlength(word[:n]) <= width)
                lines, word = [*lines, word[:fits]], word[fits:]
            line = f"{line} {word}".strip()
        lines.append(line)
    return lines


def _text_block(text: str, width: int, size: int) -> Image.Image:
    font, leading = _font(size), round(1.4 * size)
    lines = _wrap(text, width, font)
    block = Image.new("RGB", (width, leading * len(lines)), _PAPER)
    draw = ImageDraw.Draw(block)
    for i, line in enumerate(lines):
        draw.text((0, i * leading), line, fill=_INK, font=font)
    return block


def _titled(picture: Image.Image, title: str, size: int) -> Image.Image:
    width = max(picture.width, round(_font(size).getlength(title)) + 1)
    page = Image.new("RGB", (width, picture.height + 2 * size), _PAPER)
    ImageDraw.Draw(page).text((0, size // 2), title, fill=_INK, font=_font(size), anchor="lt")
    page.paste(picture, (0, 2 * size))
    return page


def panel(
    image: Image.Image,
    heatmap: Heatmap,
    uncertainty: np.ndarray,
    text: str,
    score: float | None = None,
    side: int = 320,
) -> Image.Image:
    """A report in a row: image | overlay with scale | uncertainty | text.

    Args:
        image: the picture looked at; shown at most `side` high and twice as wide.
        heatmap: (H, W) array in [0, 1] or an L image.
        uncertainty: (H, W) array of deviations, shown relative to its largest value.
        text: the explanation; wrapped.
        score: in [0, 1], printed under the scale.
    Returns:
        RGB image.
    """
    ratio = min(side / image.height, 2 * side / image.width)
    size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
    small = image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    largest = float(np.max(uncertainty))
    relative = _as_grey(uncertainty / largest if largest > 0 else uncertainty, size)
    font_size = max(side // 24, 11)
    parts = [
        _titled(small, "image", font_size),
        _titled(overlay(small, _as_grey(heatmap, size), score), "implausibility", font_size),
        _titled(colorize(relative), f"uncertainty (brightest: {largest:.2g})", font_size),
        _titled(_text_block(text, round(1.5 * side), font_size), "explanation", font_size),
    ]
    return _beside(parts, gap=font_size)
