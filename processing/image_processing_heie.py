"""Images to patches: the adaptive grid of InternVL, thumbnail last, and the very same cut for target heatmaps."""

import numpy as np
from PIL import Image
from transformers.image_processing_utils import BatchFeature, get_size_dict
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, SizeDict
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import (
    GotOcr2ImageProcessorKwargs,
    GotOcr2ImageProcessorPil,
    get_optimal_tiled_canvas,
)

from .images_heie import upright_images

Grid = tuple[int, int]  # columns and rows of patches

MAX_AREA = 2**28  # pixels or heatmap cells of a whole image: a config from a stranger is refused before they are made


class HEIEImageProcessorKwargs(GotOcr2ImageProcessorKwargs, total=False):
    r"""
    heatmap_size (`dict[str, int]`, *optional*, defaults to `self.heatmap_size`):
        Heatmap cells per patch, `{"height": h, "width": w}`.
    """

    heatmap_size: dict[str, int]


class HEIEImageProcessor(GotOcr2ImageProcessorPil):
    """Grid and pixels of InternVL's own image processor (PIL backend), always at least one patch plus the thumbnail.

    `min_patches=2` because a 512 x 512 image would otherwise be a single patch, without any hierarchy.

    Returns, for B images with N_i local patches and P = sum of (N_i + 1):
        pixel_values: (P, 3, S, S), per image N_i patches row by row, then the thumbnail of the whole image.
        num_patches: (B,), N_i + 1.
        patch_grid: (B, 2), columns and rows; columns x rows = N_i.
    """

    valid_kwargs = HEIEImageProcessorKwargs
    model_input_names = ["pixel_values", "num_patches", "patch_grid"]
    image_mean = IMAGENET_DEFAULT_MEAN
    image_std = IMAGENET_DEFAULT_STD
    size = {"height": 448, "width": 448}
    crop_to_patches = True
    min_patches = 2
    heatmap_size = {"height": 128, "width": 128}

    def fetch_images(self, image_url_or_urls):
        """Images in any form as upright RGB PIL images: one, or a flat list of them. See `upright_images`.

        Raises:
            ImageError: for an image that cannot be used, with its path or its place in the list.
        """
        return upright_images(image_url_or_urls)

    def process_image(self, image: Image.Image, **kwargs) -> Image.Image:
        """As `fetch_images` left it: every value stays one of 256 levels until it is written into the batch."""
        return image

    def get_patch_grid(self, height: int, width: int, images_kwargs: dict | None = None) -> Grid:
        """(columns, rows) of an image of `height` x `width` pixels; `images_kwargs` as in a call, over defaults.

        Raises:
            ValueError: for limits that no number of patches keeps.
        """
        options = images_kwargs or {}
        is_cut = options.get("crop_to_patches", self.crop_to_patches)
        if not is_cut:
            return 1, 1
        min_patches = options.get("min_patches", self.min_patches)
        max_patches = options.get("max_patches", self.max_patches)
        _check_limits(min_patches, max_patches)
        size = options.get("size", self.size)
        size = get_size_dict(size)
        patch_size = (size["height"], size["width"])
        return get_optimal_tiled_canvas((height, width), patch_size, min_patches, max_patches)

    def get_number_of_image_patches(self, height: int, width: int, images_kwargs: dict | None = None) -> int:
        """N + 1: the local patches and the thumbnail."""
        columns, rows = self.get_patch_grid(height, width, images_kwargs)
        return columns * rows + 1

    def cut_heatmap(self, heatmap: np.ndarray, patch_grid: Grid) -> np.ndarray:
        """A target heatmap cut exactly as its image was, so that cell and pixel show the same place.

        Args:
            heatmap: (H, W) in [0, 1], in the frame of the upright image; need not have the size of the image.
            patch_grid: columns, rows.

        Returns:
            (N + 1, h, w) float32 in [0, 1]: patches row by row, the whole map last. Each cell is the mean of its area.
        """
        columns, rows = patch_grid
        height = self.heatmap_size.height
        width = self.heatmap_size.width
        canvas = area_means(heatmap, rows * height, columns * width)
        patches = _cut(canvas, patch_grid)
        thumbnail = area_means(heatmap, height, width)
        return np.stack([*patches, thumbnail])  # (N + 1, h, w)

    def join_heatmap(self, patches: np.ndarray, patch_grid: Grid) -> np.ndarray:
        """The inverse: (N + 1, h, w) back to one canvas (rows·h, columns·w); the thumbnail's map is left out."""
        columns, rows = patch_grid
        height, width = patches.shape[-2:]
        canvas = patches[:-1].reshape(rows, columns, height, width)
        canvas = canvas.transpose(0, 2, 1, 3)  # (rows, h, columns, w)
        return canvas.reshape(rows * height, columns * width)

    def _standardize_kwargs(self, heatmap_size: dict | SizeDict | None = None, **kwargs) -> dict:
        kwargs = super()._standardize_kwargs(**kwargs)
        heatmap_size = get_size_dict(heatmap_size, param_name="heatmap_size")
        kwargs["heatmap_size"] = SizeDict(**heatmap_size)
        for name in ("size", "heatmap_size"):
            size = kwargs[name]
            area = kwargs["max_patches"] * size.height * size.width
            if area > MAX_AREA:
                raise ValueError(f"max_patches x {name} = {area} is absurd; the limit is {MAX_AREA}")
        if kwargs["do_normalize"] and not kwargs["do_rescale"]:
            raise ValueError("do_normalize needs do_rescale: floats in [0, 1] are understood as they are")
        if kwargs["crop_to_patches"]:
            _check_limits(kwargs["min_patches"], kwargs["max_patches"])
        return kwargs

    def _preprocess(
        self,
        images: list[Image.Image],
        size: SizeDict,
        resample: "Image.Resampling | None",
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float],
        image_std: float | list[float],
        return_tensors: str | None,
        **kwargs,
    ) -> BatchFeature:
        grid_options = {**kwargs, "size": size}
        grids = [self.get_patch_grid(image.height, image.width, grid_options) for image in images]
        num_patches = [columns * rows + 1 for columns, rows in grids]
        table = self._value_table(do_rescale, rescale_factor, do_normalize, image_mean, image_std)
        pixel_values = np.empty((sum(num_patches), 3, size.height, size.width), table.dtype)
        first = 0
        for image, grid, count in zip(images, grids, num_patches, strict=True):
            self._cut_image(image, grid, resample, table, out=pixel_values[first : first + count])
            first += count
        data = {"pixel_values": pixel_values, "num_patches": num_patches, "patch_grid": grids}
        return BatchFeature(data=data, tensor_type=return_tensors)

    def _value_table(
        self,
        do_rescale: bool,
        rescale_factor: float,
        do_normalize: bool,
        image_mean: float | list[float],
        image_std: float | list[float],
    ) -> np.ndarray:
        """(3, 256): what each level becomes in each channel, by the very functions that an image would go through."""
        levels = np.arange(256, dtype=np.uint8)
        table = np.tile(levels, (3, 1, 1))  # (3, 1, 256), as a picture of one row
        if do_rescale:
            table = self.rescale(table, rescale_factor)
        if do_normalize:
            table = self.normalize(table, image_mean, image_std)
        return table[:, 0]

    def _cut_image(self, image: Image.Image, grid: Grid, resample, table: np.ndarray, out: np.ndarray) -> None:
        """An RGB picture into `out` (N + 1, 3, S, S)."""
        columns, rows = grid
        height, width = out.shape[-2:]
        if resample is None:
            resample = Image.Resampling.BILINEAR
        resized = image.resize((columns * width, rows * height), resample)
        canvas = np.asarray(resized)  # (rows·S, columns·S, 3)
        canvas = canvas.transpose(2, 0, 1)
        thumbnail = np.asarray(image.resize((width, height), resample))
        patches = [*_cut(canvas, grid), thumbnail.transpose(2, 0, 1)]
        for patch, values in zip(patches, out, strict=True):
            for channel in range(3):
                np.take(table[channel], patch[channel], out=values[channel], mode="clip")


def _check_limits(min_patches: int, max_patches: int) -> None:
    if not 1 <= min_patches <= max_patches:
        raise ValueError(
            f"min_patches={min_patches} and max_patches={max_patches} leave no number of patches: "
            "1 <= min_patches <= max_patches"
        )


def area_means(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(H, W) to (height, width) float32: each cell is the mean of its area, parts of pixels by their share."""
    values = np.asarray(values, dtype=np.float64)
    bands = _means_of_rows(values, height)  # (height, W)
    cells = _means_of_rows(bands.T, width)  # (width, height)
    return cells.T.astype(np.float32)


def _means_of_rows(values: np.ndarray, count: int) -> np.ndarray:
    """(H, W) to (count, W), by the integral along H: linear between two rows, exact where a cell ends within one."""
    length = len(values)
    width = values.shape[1]
    integral = np.zeros((length + 1, width))
    np.cumsum(values, axis=0, out=integral[1:])
    borders = np.linspace(0, length, count + 1)
    rows = borders.astype(int).clip(max=length - 1)
    shares = borders - rows
    at_borders = integral[rows] + shares[:, None] * values[rows]
    sums = np.diff(at_borders, axis=0)
    return sums * count / length


def _cut(canvas: np.ndarray, grid: Grid) -> list[np.ndarray]:
    """(..., rows·h, columns·w) to columns x rows arrays of (..., h, w), row by row."""
    columns, rows = grid
    patches = []
    for band in np.split(canvas, rows, axis=-2):  # (..., h, columns·w)
        patches.extend(np.split(band, columns, axis=-1))
    return patches


__all__ = ["HEIEImageProcessor"]
