"""Patches, their grid, and the same cut for heatmaps."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoImageProcessor
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

import heie_hf
from heie_hf.processing.image_files_heie import ImageFileError
from heie_hf.processing.image_processing_heie import HEIEImageProcessor

SIDES = [1, 2, 3, 4, 28, 31, 57, 90, 200]
STORED = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE"}
STORED |= {6: "ROTATE_90", 7: "TRANSVERSE", 8: "ROTATE_270"}  # how a camera stores the upright picture


def make_processor(side=28, cells=8, **options):
    size, heatmap_size = {"height": side, "width": side}, {"height": cells, "width": cells}
    return HEIEImageProcessor(size=size, heatmap_size=heatmap_size, **options)


def make_native(side=28):
    return GotOcr2ImageProcessorPil(
        size={"height": side, "width": side},
        crop_to_patches=True,
        min_patches=2,
        image_mean=IMAGENET_DEFAULT_MEAN,
        image_std=IMAGENET_DEFAULT_STD,
    )


def make_noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.mark.parametrize("height", SIDES)
def test_pixels_are_the_native_ones_bit_for_bit(height):
    images = [make_noise(width, height) for width in SIDES]
    ours, native = make_processor()(images, return_tensors="pt"), make_native()(images, return_tensors="pt")
    assert torch.equal(ours["num_patches"], native["num_patches"])
    assert torch.equal(ours["pixel_values"], native["pixel_values"])
    assert ours["pixel_values"].dtype == torch.float32


def test_default_size_and_modes_match_the_native_pixels():
    native = make_native(448)
    for image in (make_noise(700, 500), make_noise(60, 40).convert("RGBA"), make_noise(40, 60).convert("P")):
        ours = HEIEImageProcessor()(image, return_tensors="pt")
        assert torch.equal(ours["pixel_values"], native(image, return_tensors="pt")["pixel_values"])


def test_grid_rule_is_the_native_one():
    ours, native = HEIEImageProcessor(), make_native(448)
    for width, height in np.random.default_rng(0).integers(1, 3000, (2000, 2)).tolist():
        columns, rows = ours.get_patch_grid(height, width)
        patches = ours.get_number_of_image_patches(height, width)
        assert patches == columns * rows + 1 == native.get_number_of_image_patches(height, width)


@pytest.mark.parametrize(
    ("width", "height", "grid"),
    [
        (512, 512, (2, 2)),  # a single patch without min_patches=2
        (950, 950, (2, 2)),
        (952, 952, (3, 3)),
        (60, 40, (3, 2)),
        (5000, 1, (12, 1)),
        (1, 5000, (1, 12)),
    ],
)
def test_grids(width, height, grid):
    assert HEIEImageProcessor().get_patch_grid(height, width) == grid


@pytest.mark.parametrize("options", [{"crop_to_patches": False}, {"min_patches": 1, "max_patches": 1}])
def test_one_patch_has_a_thumbnail_too(options):
    processor = make_processor()
    inputs = processor([make_noise(50, 50), make_noise(90, 30)], return_tensors="pt", **options)
    assert inputs["num_patches"].tolist() == [2, 2] and inputs["patch_grid"].tolist() == [[1, 1], [1, 1]]
    assert torch.equal(inputs["pixel_values"][0], inputs["pixel_values"][1])
    assert processor.get_number_of_image_patches(50, 50, options) == 2


@pytest.mark.parametrize("limits", [{"min_patches": 99}, {"max_patches": 0}, {"max_patches": 1}, {"min_patches": 0}])
def test_limits_that_no_number_of_patches_keeps_are_refused(limits):
    refused = pytest.raises(ValueError, match=r"min_patches=\d+ and max_patches=\d+ leave no number of patches")
    with refused:
        make_processor(**limits)
    with refused:
        make_processor()(make_noise(50, 50), **limits)
    with refused:
        make_processor().get_number_of_image_patches(50, 50, limits)


def test_floats_need_no_switch():
    """Elsewhere `do_rescale=False` says that an array is in [0, 1]; here its type says so."""
    image = np.asarray(make_noise(50, 40)) / 255
    with pytest.raises(ValueError, match="do_normalize needs do_rescale"):
        make_processor()(image, do_rescale=False)


def test_patches_come_row_by_row_and_the_thumbnail_last():
    colours = np.uint8([[10, 50, 90], [130, 170, 210]])  # 3 columns, 2 rows
    image = Image.fromarray(np.kron(colours, np.ones((30, 30), np.uint8)))
    inputs = make_processor(do_normalize=False)(image, return_tensors="pt")
    assert set(inputs) == {"pixel_values", "num_patches", "patch_grid"}
    assert inputs["patch_grid"].tolist() == [[3, 2]] and inputs["num_patches"].tolist() == [7]
    centres = inputs["pixel_values"][:, 0, 14, 5] * 255  # column 5 of the thumbnail lies in the left third
    assert centres[:6].round().tolist() == colours.ravel().tolist()
    assert inputs["pixel_values"][6].min() < 15 / 255 and inputs["pixel_values"][6].max() > 200 / 255


def test_batch_equals_one_by_one_and_nesting_does_not_matter():
    processor = make_processor()
    images = [make_noise(50, 50, 1), make_noise(90, 30, 2)]
    batch = processor(images, return_tensors="pt")
    single = [processor(image, return_tensors="pt") for image in images]
    for name in ("pixel_values", "num_patches", "patch_grid"):
        assert torch.equal(batch[name], torch.cat([inputs[name] for inputs in single]))
        assert torch.equal(batch[name], processor([[image] for image in images], return_tensors="pt")[name])


@pytest.mark.parametrize("size", [(1, 1), (5000, 1), (1, 5000), (3, 1), (1, 3)])
def test_thin_images_keep_their_colours(size):
    image = Image.new("RGB", size, (200, 100, 50))
    pixels = make_processor(do_normalize=False)(image, return_tensors="pt")["pixel_values"] * 255
    assert torch.allclose(pixels, torch.tensor([200.0, 100.0, 50.0])[:, None, None].expand_as(pixels))


def test_paths_pil_images_and_arrays_give_the_same(tmp_path):
    image = make_noise(50, 40)
    image.save(tmp_path / "image.png")
    processor = make_processor()
    expected = processor(image, return_tensors="pt")["pixel_values"]
    for source in (tmp_path / "image.png", str(tmp_path / "image.png"), np.asarray(image)):
        assert torch.equal(processor([source], return_tensors="pt")["pixel_values"], expected)
    with pytest.raises(ImageFileError):
        processor([image, tmp_path / "missing.png"])


def test_pil_images_are_seen_as_a_person_sees_them():
    image, processor = make_noise(50, 40), make_processor()
    turned = image.transpose(Image.Transpose.ROTATE_90)
    turned.getexif()[0x0112] = 6
    deep = Image.fromarray(np.asarray(image.convert("L")).astype(np.uint16) * 257)
    for odd, plain in (
        (turned, image),
        (deep, image.convert("L")),
        (Image.new("LA", (9, 9)), Image.new("L", (9, 9), 255)),
    ):
        ours, expected = processor(odd, return_tensors="pt"), processor(plain, return_tensors="pt")
        assert ours["patch_grid"].tolist() == expected["patch_grid"].tolist()
        assert torch.equal(ours["pixel_values"], expected["pixel_values"])


def test_saved_and_loaded(tmp_path):
    assert heie_hf.HEIEImageProcessor is HEIEImageProcessor  # registered by the package
    processor = make_processor(side=42, cells=6, max_patches=5)
    processor.save_pretrained(tmp_path)
    saved = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert saved["image_processor_type"] == "HEIEImageProcessor" and saved["heatmap_size"] == {"height": 6, "width": 6}
    for loaded in (HEIEImageProcessor.from_pretrained(tmp_path), AutoImageProcessor.from_pretrained(tmp_path)):
        assert type(loaded) is HEIEImageProcessor and loaded.to_dict() == processor.to_dict()
        image = make_noise(100, 40)
        assert torch.equal(
            loaded(image, return_tensors="pt")["pixel_values"], processor(image, return_tensors="pt")["pixel_values"]
        )
    overridden = AutoImageProcessor.from_pretrained(tmp_path, heatmap_size={"height": 9, "width": 9}, max_patches=3)
    assert overridden.heatmap_size.height == 9 and overridden.max_patches == 3


def test_heatmap_cells_are_means_and_the_whole_comes_last():
    heatmap = np.arange(16, dtype=np.float32).reshape(4, 4) / 16
    cut = make_processor(cells=1).cut_heatmap(heatmap, (2, 2))
    assert cut.dtype == np.float32 and cut.shape == (5, 1, 1)
    assert np.allclose(cut[:, 0, 0] * 16, [2.5, 4.5, 10.5, 12.5, 7.5])


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (37, 61), (100, 64), (211, 97)])
@pytest.mark.parametrize("grid", [(1, 1), (3, 2)])
def test_heatmap_cells_are_exact_area_means(size, grid):
    """Against another way to them: every pixel cut into as many pieces as a cell needs, then plain means."""
    width, height = size
    heatmap = np.random.default_rng(0).random((height, width))
    cut = make_processor(cells=8).cut_heatmap(heatmap, grid)
    columns, rows = grid
    canvas = make_processor().join_heatmap(cut, grid)
    assert np.allclose(canvas, means_of_pieces(heatmap, rows * 8, columns * 8), atol=1e-6)
    assert np.allclose(cut[-1], means_of_pieces(heatmap, 8, 8), atol=1e-6)


def means_of_pieces(values, height, width):
    pieces = values.repeat(height, axis=0).repeat(width, axis=1)
    return pieces.reshape(height, len(values), width, values.shape[1]).mean(axis=(1, 3))


@pytest.mark.parametrize("size", [(97, 97), (150, 131), (640, 451)])
def test_a_disc_keeps_its_mass_and_its_place(size):
    width, height = size
    y, x = np.mgrid[:height, :width] + 0.5
    disc = np.hypot(x - 0.3 * width, y - 0.6 * height) < 0.1 * height
    thumbnail = make_processor(cells=56).cut_heatmap(disc, (2, 2))[-1]
    assert thumbnail.mean() == pytest.approx(disc.mean(), rel=1e-5)
    cell_y, cell_x = np.mgrid[:56, :56] + 0.5
    for cells, pixels, scale in ((cell_x, x, 56 / width), (cell_y, y, 56 / height)):
        centre = (cells * thumbnail).sum() / thumbnail.sum()
        expected = (pixels * disc).sum() / disc.sum() * scale
        assert centre == pytest.approx(expected, abs=0.02)


@pytest.mark.parametrize("grid", [(1, 1), (3, 2), (12, 1), (1, 5)])
def test_joining_undoes_the_cut(grid):
    processor = make_processor(cells=8)
    heatmap = np.random.default_rng(0).random((grid[1] * 8, grid[0] * 8), dtype=np.float32)
    cut = processor.cut_heatmap(heatmap, grid)
    assert cut.shape == (grid[0] * grid[1] + 1, 8, 8)
    assert np.allclose(processor.join_heatmap(cut, grid), heatmap, atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 0.3, 1.0])
def test_constant_heatmaps_stay_in_range(value):
    cut = make_processor(cells=7).cut_heatmap(np.full((211, 97), value), (2, 3))
    assert np.allclose(cut, value, atol=1e-6) and cut.min() >= 0 and cut.max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(300, 300), (640, 200), (37, 900), (5000, 1), (1, 5000), (1, 1)])
def test_a_marked_pixel_comes_back_within_one_cell(tmp_path, size, orientation):
    """In the heatmap, in the patches and in both thumbnails, whichever way the camera was held."""
    (width, height), processor = size, make_processor(side=56, cells=16, do_normalize=False)
    x, y = int(width * 0.7), int(height * 0.6)
    mark = np.zeros((height, width), np.float32)
    mark[y, x] = 1
    _save_turned(Image.fromarray((mark * 255).astype(np.uint8)), orientation, tmp_path / "image.png")
    inputs = processor(tmp_path / "image.png", return_tensors="np")
    grid, pixels = tuple(inputs["patch_grid"][0].tolist()), inputs["pixel_values"][:, 0]
    assert grid == processor.get_patch_grid(height, width)
    cut = processor.cut_heatmap(mark, grid)
    joined = Image.fromarray(processor.join_heatmap(cut, grid))
    maps = [(np.asarray(joined.resize(size, Image.Resampling.BILINEAR)), grid), (cut[-1], (1, 1))]
    maps += [(processor.join_heatmap(pixels, grid), grid), (pixels[-1], (1, 1))]
    for values, (columns, rows) in maps:
        row, column = np.unravel_index(values.argmax(), values.shape)
        found = (column + 0.5) * width / values.shape[1], (row + 0.5) * height / values.shape[0]
        assert abs(found[0] - x - 0.5) <= max(1, width / (columns * 16))
        assert abs(found[1] - y - 0.5) <= max(1, height / (rows * 16))


def _save_turned(image, orientation, path):
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored = image.transpose(Image.Transpose[STORED[orientation]]) if orientation in STORED else image
    stored.save(path, exif=exif)
