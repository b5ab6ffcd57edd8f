"""The contour is round the region, not on it."""

import numpy as np
import pytest
from PIL import Image

from heie_hf.annotation.visual_prompt import GAP, RED, WIDTH, draw_contours


def scene(side, *boxes, heat=255):
    image = Image.new("RGB", (side, side), (20, 90, 40))
    heatmap = np.zeros((side, side), np.uint8)
    for x0, y0, x1, y1 in boxes:
        heatmap[y0:y1, x0:x1] = heat
    return image, Image.fromarray(heatmap)


def ring_of(drawn):
    return (np.asarray(drawn.image) == RED).all(axis=-1)


def test_the_defect_stays_visible_inside_its_ring():
    image, heatmap = scene(512, (200, 220, 260, 300))
    drawn = draw_contours(image, heatmap)
    ring = ring_of(drawn)
    rows, columns = np.nonzero(ring)
    outside = GAP + WIDTH
    assert (columns.min(), rows.min()) == (200 - outside, 220 - outside)
    assert (columns.max(), rows.max()) == (260 + outside - 1, 300 + outside - 1)
    inside = (slice(220 - GAP, 300 + GAP), slice(200 - GAP, 260 + GAP))
    assert np.array_equal(np.asarray(drawn.image)[inside], np.asarray(image)[inside])
    [region] = drawn.regions
    assert (region.box, region.area, region.heat) == ((200, 220, 260, 300), 60 * 80, 1.0)


def test_the_ring_grows_with_the_picture():
    areas = []
    for side in (512, 1024):
        start = side // 2
        drawn = draw_contours(*scene(side, (start, start, start + 8, start + 8)))
        areas.append(ring_of(drawn).sum())
    assert areas[1] > 3 * areas[0]


def test_several_regions_are_numbered_the_hottest_first():
    image, heatmap = scene(512, (40, 40, 80, 80), heat=100)
    hotter = np.asarray(heatmap).copy()
    hotter[400:440, 300:340] = 255
    drawn = draw_contours(image, Image.fromarray(hotter))
    assert [region.box for region in drawn.regions] == [(300, 400, 340, 440), (40, 40, 80, 80)]
    assert (np.asarray(drawn.image) == (255, 255, 255)).all(axis=-1).any()  # the digits


def test_parts_whose_rings_would_meet_are_one_region():
    drawn = draw_contours(*scene(512, (100, 100, 120, 120), (126, 100, 146, 120)))
    [region] = drawn.regions
    assert region.box == (100, 100, 146, 120) and region.area == 2 * 20 * 20 and not region.mask[:, 22].any()


@pytest.mark.parametrize("heat", [1, 40])
def test_where_nothing_reaches_the_threshold_half_of_the_highest_value_does(heat):
    [region] = draw_contours(*scene(512, (10, 10, 60, 60), heat=heat)).regions
    assert region.box == (10, 10, 60, 60)


def test_a_clean_picture_stays_as_it_is():
    image, heatmap = scene(64)
    drawn = draw_contours(image, heatmap)
    assert drawn.regions == [] and np.array_equal(np.asarray(drawn.image), np.asarray(image))
