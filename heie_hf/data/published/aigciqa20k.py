"""AIGCIQA-20k, also AIGIQA-20K (CVPRW 2024): 20,000 images of 15 generators, one mean opinion score each.

Files: info_train.csv, info_val.csv and info_test.csv, and the images anywhere below the root.
"""

from functools import partial
from pathlib import Path

from heie_hf.data.fields import Entries, checked_split, image_index, required

from .agiqa3k import mos_row, read_csv

HOME = "https://huggingface.co/datasets/strawhat/aigciqa-20k"
SPLITS = ("train", "val", "test")  # 7 : 1 : 2, as published
SCALES = {"score": ("mos", 0.0, 5.0)}
WHERE = (
    f"Download info_train.csv, info_val.csv and info_test.csv from {HOME}, and the images from "
    "https://www.modelscope.cn/datasets/lcysyzxdxc/AIGCQA-30K-Image, into one folder."
)


def sources(root: Path, split: str = "train") -> dict:
    return {"table": required(root / f"info_{checked_split(split, SPLITS)}.csv", WHERE), "root": root}


def entries(table: Path, root: Path) -> Entries:
    index = image_index(root)
    for record in read_csv(table, ["name", "prompt", "mos"]):
        yield record["name"], partial(mos_row, record, index, SCALES)
