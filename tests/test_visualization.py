import numpy as np
import pytest
from PIL import Image

from heie_hf.visualization import INFERNO, blend, colorize, overlay, panel


def brightness(image):
    return np.asarray(image.convert("L"), dtype=int)


def test_colours_grow_brighter_with_the_value():
    ramp = brightness(colorize(np.linspace(0, 1, 256)[None]))[0]
    assert ramp[0] == 0
    assert ramp[-1] > 230
    assert (np.diff(ramp) >= 0).all()


def test_colours_are_those_of_matplotlibs_inferno():
    colormaps = pytest.importorskip("matplotlib").colormaps
    ours = np.asarray(colorize(np.arange(256, dtype=np.uint8)[None] / 255))[0].astype(int)
    assert np.abs(ours - colormaps["inferno"](np.arange(256), bytes=True)[:, :3]).max() <= 7


def test_arrays_and_grey_images_give_the_same_picture():
    values = np.random.default_rng(0).integers(0, 256, (7, 5)).astype(np.uint8)
    assert colorize(values / 255).tobytes() == colorize(Image.fromarray(values)).tobytes()


def test_blend_leaves_plausible_pixels_alone_and_covers_implausible_ones():
    image = Image.new("RGB", (40, 30), (10, 200, 30))
    heatmap = np.zeros((30, 40))
    heatmap[:, 20:] = 1
    pixels = np.asarray(blend(image, heatmap, max_alpha=1.0))
    assert (pixels[:, :20] == (10, 200, 30)).all()
    assert (pixels[:, 20:] == (252, 255, 164)).all()  # the brightest colour of the map


def test_a_smaller_heatmap_is_enlarged_to_the_image():
    heatmap = np.zeros((2, 2))
    heatmap[0, 1] = 1
    difference = brightness(blend(Image.new("RGB", (64, 48)), heatmap))
    assert difference[:16, 48:].mean() > 100
    assert difference[24:, :32].mean() < 10


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (300, 200)])
def test_overlay_keeps_the_image_and_adds_a_scale(size):
    image = Image.effect_noise(size, 50).convert("RGB")
    picture = overlay(image, np.zeros(size[::-1]), score=0.5)
    assert picture.width > size[0]
    assert picture.crop((0, 0, *size)).tobytes() == image.tobytes()
    scale = picture.crop((size[0], 0, *picture.size))
    colours = {colour for _, colour in scale.getcolors(scale.width * scale.height)}
    assert {(252, 255, 164), (0, 0, 4), (255, 255, 255)} <= colours  # both ends of the scale, on white


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (300, 200)])
def test_an_overlay_without_scale_has_the_size_of_the_image(size):
    image = Image.effect_noise(size, 50).convert("RGB")
    heatmap = np.linspace(0, 1, size[0] * size[1]).reshape(size[::-1])
    assert overlay(image, heatmap, scale=False).size == size
    assert overlay(image, heatmap, scale=False, threshold=None).tobytes() == blend(image, heatmap).tobytes()


@pytest.mark.parametrize("colour", [*INFERNO, "white", "black", "orange", "#8a8a8a"])
def test_the_contour_shows_on_pictures_of_any_colour(colour):
    """The heatmap's own colours included, where the blend alone can hardly be told from the picture."""
    image = Image.new("RGB", (200, 150), colour)
    heatmap = np.zeros((150, 200))
    heatmap[50:100, 60:140] = 0.6
    change = np.abs(brightness(overlay(image, heatmap, scale=False)) - brightness(blend(image, heatmap)))
    across = change[75, :100]
    assert across[55:65].max() > 80
    assert across[:55].max() == across[65:].max() == 0


def test_the_contour_encloses_what_reaches_the_threshold():
    image = Image.new("RGB", (256, 64), "white")
    ramp = np.tile(np.arange(256) / 255, (64, 1))
    for threshold in (0.2, 0.6):
        drawn = np.asarray(overlay(image, ramp, threshold=threshold, scale=False)).astype(int)
        changed = (drawn != np.asarray(blend(image, ramp))).any(axis=(0, 2))
        assert np.flatnonzero(changed).mean() == pytest.approx(threshold * 255 - 0.5, abs=1)


def test_a_line_of_the_contour_grows_with_the_picture():
    def line_width(side):
        heatmap = np.zeros((side, side))
        heatmap[:, side // 2 :] = 1
        image = Image.new("RGB", (side, side), "red")
        drawn = np.asarray(overlay(image, heatmap, scale=False))[0].astype(int)
        return int((drawn == 255).all(axis=1).sum())

    assert [line_width(side) for side in (100, 400, 2000)] == [2, 2, 10]


def test_nothing_reaches_the_threshold_and_everything_does():
    image = Image.effect_noise((90, 60), 50).convert("RGB")
    for value in (0.19, 1.0):  # the edge of the picture is no contour
        heatmap = np.full((60, 90), value)
        assert overlay(image, heatmap, scale=False).tobytes() == blend(image, heatmap).tobytes()


def test_the_score_is_printed():
    image, heatmap = Image.new("RGB", (200, 200)), np.zeros((200, 200))
    pictures = [overlay(image, heatmap, score=score).tobytes() for score in (None, 0.12, 0.98)]
    assert len(set(pictures)) == 3


def test_unknown_values_are_drawn_as_plausible():
    assert colorize(np.full((2, 2), np.nan)).getcolors() == [(4, (0, 0, 4))]


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1), (640, 480)])
def test_panel_of_any_size_of_image_stays_printable(size):
    values = np.random.default_rng(0).random(size[::-1])
    text = "A hand with six fingers. " * 20 + "\n\n" + "x" * 500
    picture = panel(Image.new("RGB", size), values, values, text, score=0.3)
    assert picture.width < 3500
    assert picture.height < 1500


def test_panel_of_a_certain_map_and_no_text():
    zeros = np.zeros((20, 20))
    assert panel(Image.new("L", (20, 20)), zeros, zeros, "").mode == "RGB"
