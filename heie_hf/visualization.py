"""Pictures of heatmaps: colours, overlays with contour and scale, panels for reports. Pillow and numpy only."""

import functools

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFilter, ImageFont

Heatmap = np.ndarray | Image.Image

#: matplotlib's perceptually uniform "inferno" (CC0) at 17 even steps from 0 to 1; linear in between, at most 6 of 255
#: levels off.
INFERNO = (
    "#000004 #0b0724 #210c4a #3d0965 #57106e #71196e #8a226a #a32c61 #bc3754 "
    "#d04545 #e35933 #f1711f #f98c0a #fcaa0f #f9c932 #f2e865 #fcffa4"
).split()

#: Where a heatmap counts as a region; the contour of overlays.
THRESHOLD = 0.2

_INK = "#282828"
_PAPER = "white"
_LINE = "white"
_BORDER = "#141414"
_SHORTEST_SCALE = 144  # pixels; below that ticks would overlap


@functools.cache
def _colour_table() -> list[int]:
    """768 values, the palette of 256 RGB colours."""
    stops = [ImageColor.getrgb(colour) for colour in INFERNO]
    positions = np.linspace(0, 255, len(stops))
    channels = []
    for channel in zip(*stops):
        channels.append(np.interp(np.arange(256), positions, channel))
    table = np.stack(channels, axis=1)  # (256, 3)
    return table.round().astype(int).flatten().tolist()


@functools.cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


def _as_grey(heatmap: Heatmap, size: tuple[int, int] | None = None) -> Image.Image:
    """(H, W) floats in [0, 1], or an L image -> L image of `size` (width, height)."""
    if isinstance(heatmap, Image.Image):
        grey = heatmap.convert("L")
    else:
        shares = np.asarray(heatmap, dtype=np.float32)
        shares = np.nan_to_num(shares).clip(0, 1)
        levels = (shares * 255).round()
        grey = Image.fromarray(levels.astype(np.uint8))
    if size in (None, grey.size):
        return grey
    return grey.resize(size, Image.Resampling.BILINEAR)


def _as_mask(inside: np.ndarray) -> Image.Image:
    """(H, W) bool -> L image, 255 where True."""
    return Image.fromarray(inside.astype(np.uint8) * 255)


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
    """The heatmap's colours over the image, opaque in proportion to the value (`max_alpha` at 1, nothing at 0).

    Returns:
        RGB image of the image's size.
    """
    grey = _as_grey(heatmap, image.size)
    opacity = [round(max_alpha * level) for level in range(256)]
    mask = grey.point(opacity)
    return Image.composite(colorize(grey), image.convert("RGB"), mask)


def _draw_contour(picture: Image.Image, grey: Image.Image, threshold: float) -> None:
    """A white line with a dark border on both sides: one of the two shows on pictures of any colour."""
    levels = np.asarray(grey)
    region = _as_mask(levels >= threshold * 255)
    shorter_side = min(picture.size)
    line = max(1, round(shorter_side / 400))
    border = max(1, line // 2)
    picture.paste(_BORDER, mask=_near_edge(region, line + border))
    picture.paste(_LINE, mask=_near_edge(region, line))


def _near_edge(region: Image.Image, reach: int) -> Image.Image:
    """255 within `reach` pixels of the edge of a region of 255s: there, a mean over the neighbours is neither end."""
    blurred = region.filter(ImageFilter.BoxBlur(reach))
    means = np.asarray(blurred)
    return _as_mask((means > 0) & (means < 255))


def _scale(height: int, score: float | None) -> Image.Image:
    """The column beside an overlay: colours from 1 (top) to 0 with ticks, and the score below."""
    size = min(max(height // 24, 11), 48)  # of the letters, and unit of all lengths
    font = _font(size)
    left = size // 2
    top = size
    bottom = height - size
    if score is not None:
        bottom -= 3 * size
    column = Image.new("RGB", (5 * size, height), _PAPER)
    draw = ImageDraw.Draw(column)
    ramp = np.linspace(1, 0, bottom - top)
    colours = colorize(ramp[:, None])
    column.paste(colours.resize((size, len(ramp))), (left, top))
    start = left + size
    end = start + size // 2
    thickness = max(1, size // 12)
    for tick in (0, 0.25, 0.5, 0.75, 1):
        way_up = tick * (len(ramp) - 1)
        y = round(bottom - 1 - way_up)
        draw.line([(start, y), (end, y)], fill=_INK, width=thickness)
        draw.text((end + size // 4, y), f"{tick:g}", fill=_INK, font=font, anchor="lm")
    if score is not None:
        text = f"score\n{score:.2f}"
        draw.multiline_text((left, bottom + size), text, fill=_INK, font=font, anchor="la", spacing=size // 4)
    return column


def beside(pictures: list[Image.Image], gap: int = 0) -> Image.Image:
    """Pictures in a row on white, aligned at the top."""
    places = []
    x = 0
    for picture in pictures:
        places.append(x)
        x += picture.width + gap
    height = max(picture.height for picture in pictures)
    row = Image.new("RGB", (x - gap, height), _PAPER)
    for picture, place in zip(pictures, places):
        row.paste(picture, (place, 0))
    return row


def overlay(
    image: Image.Image,
    heatmap: Heatmap,
    score: float | None = None,
    max_alpha: float = 0.8,
    *,
    threshold: float | None = THRESHOLD,
    scale: bool = True,
) -> Image.Image:
    """The image under its heatmap, with the contour of what counts as implausible and the scale of the colours.

    The contour also shows where the picture has the colours of the heatmap, as a sunset has.

    Args:
        image: the picture looked at.
        heatmap: (H, W) array in [0, 1] or an L image; enlarged to the image where smaller.
        score: in [0, 1], printed under the scale.
        max_alpha: opacity where the heatmap is 1.
        threshold: in [0, 1]; the contour encloses what reaches it. None draws none.
        scale: with the scale at the right, which makes the picture wider (and higher, where it is below 144 pixels):
            the default, for pictures that people look at. Without it, the picture has the image's size.
    Returns:
        RGB image; the image's own pixels start at its upper left corner.
    """
    grey = _as_grey(heatmap, image.size)
    picture = blend(image, grey, max_alpha)
    if threshold is not None:
        _draw_contour(picture, grey, threshold)
    if not scale:
        return picture
    height = max(picture.height, _SHORTEST_SCALE)
    return beside([picture, _scale(height, score)])


def _wrap(text: str, width: int, font: ImageFont.ImageFont) -> list[str]:
    """Lines of at most `width` pixels; words longer than that are broken."""
    lines = []
    for paragraph in text.splitlines() or [""]:
        pieces = []
        for word in paragraph.split():
            pieces += _pieces(word, width, font)
        line = ""
        for piece in pieces:
            longer = f"{line} {piece}".strip()
            if line and font.getlength(longer) > width:
                lines.append(line)
                longer = piece
            line = longer
        lines.append(line)
    return lines


def _pieces(word: str, width: int, font: ImageFont.ImageFont) -> list[str]:
    """A word in parts of at most `width` pixels, a single letter where not even that fits."""
    pieces = []
    piece = ""
    for letter in word:
        if piece and font.getlength(piece + letter) > width:
            pieces.append(piece)
            piece = ""
        piece += letter
    pieces.append(piece)
    return pieces


def _text_block(text: str, width: int, size: int) -> Image.Image:
    font = _font(size)
    leading = round(1.4 * size)
    lines = _wrap(text, width, font)
    block = Image.new("RGB", (width, leading * len(lines)), _PAPER)
    draw = ImageDraw.Draw(block)
    y = 0
    for line in lines:
        draw.text((0, y), line, fill=_INK, font=font)
        y += leading
    return block


def _titled(picture: Image.Image, title: str, size: int) -> Image.Image:
    font = _font(size)
    width = max(picture.width, round(font.getlength(title)) + 1)
    page = Image.new("RGB", (width, picture.height + 2 * size), _PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((0, size // 2), title, fill=_INK, font=font, anchor="lt")
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
    width = max(1, round(image.width * ratio))
    height = max(1, round(image.height * ratio))
    small = image.convert("RGB")
    small = small.resize((width, height), Image.Resampling.LANCZOS)
    largest = float(np.max(uncertainty))
    relative = uncertainty / largest if largest > 0 else uncertainty
    pictures = {
        "image": small,
        "implausibility": overlay(small, heatmap, score),
        f"uncertainty (brightest: {largest:.2g})": colorize(_as_grey(relative, small.size)),
    }
    font_size = max(side // 24, 11)
    pictures["explanation"] = _text_block(text, round(1.5 * side), font_size)
    columns = []
    for title, picture in pictures.items():
        columns.append(_titled(picture, title, font_size))
    return beside(columns, gap=font_size)
