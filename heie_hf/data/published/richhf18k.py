"""RichHF-18K (CVPR 2024): people's heatmaps and scores for images of Pick-a-Pic v1, joined to those images by uid.

The record files hold no images. `images` is a folder of files named <uid>.<extension>, or of Pick-a-Pic's parquet
files.
"""

import io
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath

from heie_hf.data.fields import (
    IMAGE_EXTENSIONS,
    Entries,
    checked_split,
    fail,
    files_below,
    heatmap_cell,
    image_cell,
    required,
    unit_score,
)

from .tfrecord import read_example, record_offsets

HOME = "https://github.com/google-research-datasets/richhf-18k"
SPLITS = ("train", "dev", "test")  # 15,810, 995 and 955 records
WHERE = f"Download train.tfrecord, dev.tfrecord and test.tfrecord from {HOME} (Git LFS)."
WHERE_IMAGES = (
    "RichHF-18K has no images. Download Pick-a-Pic v1 (https://huggingface.co/datasets/yuvalkirstain/pickapic_v1; its "
    "train split for train and dev, its test split for test) and give images=, the folder of its parquet files, or a "
    "folder with images named <uid>.jpg."
)
FEATURE_OF = {
    "score": "artifact_score",
    "aesthetics_score": "aesthetics_score",
    "alignment_score": "misalignment_score",
    "overall_score": "overall_score",
}
PARQUET_COLUMNS = ["image_0_uid", "image_1_uid", "jpg_0", "jpg_1", "caption"]


def sources(root: Path, split: str = "train", images: str | Path | None = None) -> dict:
    records = required(root / f"{checked_split(split, SPLITS)}.tfrecord", WHERE)
    images = required(Path(images or root / "images").absolute(), WHERE_IMAGES)
    if not parquet_files(images) and not images_by_uid(images):
        raise FileNotFoundError(f"{images} has neither images nor parquet files. {WHERE_IMAGES}")
    return {"records": records, "images": images}


def entries(records: Path, images: Path) -> Entries:
    """One per record; its place is the uid, or the record's number where that cannot be read.

    The order is that of the records, or, with parquet files, that of Pick-a-Pic.
    """
    with records.open("rb") as file:
        offsets = {}
        for place, uid, offset in _read_uids(file, records):
            if isinstance(uid, ValueError):
                yield place, partial(fail, uid)
            elif uid in offsets:
                yield place, partial(fail, f"{uid} was there before")
            else:
                offsets[uid] = offset
        find = _from_parquet if parquet_files(images) else _from_folder
        for uid, picture, prompt in find(images, offsets):
            yield uid, partial(_row, file, offsets[uid], uid, picture, prompt)


def _read_uids(file: io.BufferedReader, records: Path) -> Iterator[tuple[str, str | ValueError, int]]:
    number, offset = 0, 0
    try:
        for number, offset in enumerate(record_offsets(file), 1):
            try:
                uid = PurePosixPath(_value(read_example(file, offset), "filename").decode()).stem
            except ValueError as error:
                uid = error
            yield f"{records}: record {number}", uid, offset
    except ValueError as error:
        yield f"{records}: record {number + 1}", error, offset


def _value(example: dict[str, list], name: str) -> bytes | float:
    if not example.get(name):
        raise ValueError(f"the record has no {name}")
    return example[name][0]


def images_by_uid(folder: Path) -> dict[str, Path]:
    """Image files right in the folder: file name without extension to path."""
    return {path.stem: path for path in sorted(folder.iterdir()) if path.suffix.lower() in IMAGE_EXTENSIONS}


def parquet_files(images: Path) -> list[Path]:
    return files_below(images, {".parquet"})


def _from_folder(images: Path, uids: dict[str, int]) -> Iterator[tuple[str, Path | None, None]]:
    files = images_by_uid(images)
    for uid in uids:
        yield uid, files.get(uid), None


def _from_parquet(images: Path, uids: dict[str, int]) -> Iterator[tuple[str, bytes | None, str | None]]:
    """In the order of Pick-a-Pic, no further than needed; memory holds about one row group."""
    from pyarrow.parquet import ParquetFile

    wanted = dict.fromkeys(uids)
    for path in parquet_files(images):
        with ParquetFile(path, buffer_size=2**20, pre_buffer=False) as file:
            missing = set(PARQUET_COLUMNS) - set(file.schema_arrow.names)
            if missing:
                raise ValueError(f"{path} is not Pick-a-Pic v1 with images: no columns {', '.join(sorted(missing))}")
            for batch in file.iter_batches(batch_size=16, columns=PARQUET_COLUMNS) if wanted else []:
                for row, side in product(range(batch.num_rows), "01"):
                    uid = batch[f"image_{side}_uid"][row].as_py()
                    if uid in wanted:
                        del wanted[uid]
                        yield uid, batch[f"jpg_{side}"][row].as_py(), batch["caption"][row].as_py()
    for uid in wanted:
        yield uid, None, None


def _row(file: io.BufferedReader, offset: int, uid: str, picture: Path | bytes | None, prompt: str | None) -> dict:
    if picture is None:
        raise ValueError("its image is not there")
    example = read_example(file, offset)
    image, size = image_cell(picture)
    row = {"id": uid, "image": image, "prompt": prompt}
    # the maps are square, whatever shape the image has
    row["heatmap"] = heatmap_cell(_value(example, "artifact_map"), size, may_stretch=True)
    row["misalignment_heatmap"] = heatmap_cell(_value(example, "misalignment_map"), size, may_stretch=True)
    return row | {column: unit_score(_value(example, name), name) for column, name in FEATURE_OF.items()}
