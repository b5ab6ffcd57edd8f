"""Regions and masks: against scipy's labels and dilation, and by hand."""

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from heie_hf.prediction.regions import find_regions, grow, label_regions, to_mask

EIGHT = np.ones((3, 3))


@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 0.5, 0.8, 1.0])
@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (40, 61)])
def test_labels_are_those_of_scipy(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    labels, boxes = label_regions(mask)
    expected, number = ndimage.label(mask, EIGHT)
    assert len(boxes) == number
    pairs = set(zip(labels.ravel().tolist(), expected.ravel().tolist()))
    assert len(pairs) == len({ours for ours, _ in pairs}) == len({theirs for _, theirs in pairs})
    found = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(expected)]
    assert sorted(map(tuple, boxes.tolist())) == sorted(found)


@pytest.mark.parametrize("radius", [0, 1, 4, 50])
def test_growing_is_a_square_dilation(radius):
    mask = np.random.default_rng(1).random((31, 40)) < 0.02
    square = np.ones((2 * radius + 1, 2 * radius + 1))
    assert np.array_equal(grow(mask, radius), ndimage.binary_dilation(mask, square))


@pytest.fixture
def heatmap():
    """Two regions that touch at no corner, a third of one cell, and heat below the threshold."""
    heat = np.full((50, 80), 0.1, dtype=np.float32)
    heat[5:15, 10:20] = 0.5
    heat[15:20, 20:30] = 0.4  # touches the first at a corner: the same region
    heat[30:40, 50:70] = 0.9
    heat[45, 3] = 1.0
    return heat


def test_regions_come_hottest_first_with_box_area_heat_and_mask(heatmap):
    second, first = find_regions(heatmap, min_area=0.001)[::-1]
    assert (first.box, first.area, first.heat) == ((50, 30, 70, 40), 200, pytest.approx(0.9))
    assert (second.box, second.area, second.heat) == ((10, 5, 30, 20), 150, pytest.approx(0.5))
    assert first.mask.all() and second.mask.shape == (15, 20) and second.mask.sum() == 150
    assert not second.mask[0, -1]


def test_threshold_area_and_number(heatmap):
    assert [region.area for region in find_regions(heatmap, min_area=0)] == [1, 200, 150]
    assert [region.area for region in find_regions(heatmap, min_area=0, max_regions=2)] == [1, 200]
    assert [region.area for region in find_regions(heatmap, threshold=0.45)] == [200, 100]
    assert find_regions(heatmap * 0) == []
    image = Image.fromarray((heatmap * 255).astype(np.uint8))
    assert [region.box for region in find_regions(image)] == [region.box for region in find_regions(heatmap)]


def test_a_mask_has_the_size_of_the_picture_and_only_black_and_white(heatmap):
    mask = to_mask(heatmap, (160, 100), dilate=0)
    assert mask.mode == "L" and mask.size == (160, 100)
    levels = np.asarray(mask)
    assert set(np.unique(levels)) == {0, 255}
    assert (levels > 0).sum() == 4 * (200 + 150)
    assert levels[60:80, 100:140].all() and not levels[90, 6]


def test_a_mask_grows_in_proportion_to_the_picture(heatmap):
    for side, pixels in ((512, 8), (1024, 16)):
        size = (side, side * 50 // 80)
        bare, grown = (to_mask(heatmap, size, max_regions=1, dilate=dilate).getbbox() for dilate in (0, 8))
        assert grown == (bare[0] - pixels, bare[1] - pixels, bare[2] + pixels, bare[3] + pixels)


def test_feather_softens_the_edge_alone(heatmap):
    levels = np.asarray(to_mask(heatmap, (160, 100), feather=3, max_regions=1))
    assert levels.max() == 255 and ((levels > 0) & (levels < 255)).any()


def test_nothing_to_repair_is_none(heatmap):
    assert to_mask(heatmap * 0, (160, 100)) is None


def test_what_cannot_be_a_heatmap_or_a_threshold_is_refused(heatmap):
    with pytest.raises(ValueError, match="a heatmap is"):
        find_regions(heatmap[None])
    for threshold in (0, -1, 1.5):
        with pytest.raises(ValueError, match="threshold must be above 0"):
            find_regions(heatmap, threshold)
