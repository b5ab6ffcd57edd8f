"""AbHuman: YOLO labels become a filled union of boxes, from folders and from the archives."""

import tarfile

import numpy as np
import pytest

from heie_hf.data import load
from tests.data.published.published_files import write_images

LABELS = {
    "two": "3 0.5 0.5 0.5 0.25\n17 0.25 0.25 0.5 0.5\n",
    "edge": "0 0.95 0.5 0.2 1.0\n\n",
    "none": "",
    "cut": "3 0.5 0.5 0.5\n",
    "class": "18 0.5 0.5 0.5 0.5\n",
    "pixels": "1 320 240 50 50\n",
}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def root(tmp_path):
    write_images(tmp_path / "train" / "images", [f"{stem}.jpg" for stem in (*LABELS, "unlabelled")], size=(40, 20))
    labels = tmp_path / "train" / "labels"
    labels.mkdir()
    for stem, text in (LABELS | {"imageless": "", "classes": "head\nhand\n"}).items():
        (labels / f"{stem}.txt").write_text(text)
    return tmp_path


def reported(**options):
    bad = []
    dataset = load("abhuman", on_bad_row=lambda place, reason: bad.append((place, reason)), **options)
    return {row["id"]: row for row in dataset}, bad


@pytest.mark.parametrize("streaming", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_boxes_become_the_union_heatmap(root, packed, streaming):
    if packed:  # published as train.zip, to be unpacked with tar -xzf
        with tarfile.open(root / "train.zip", "w:gz") as archive:
            archive.add(root / "train", "train")
        (root / "train").rename(root / "elsewhere")
    rows, bad = reported(root=root, streaming=streaming)
    assert set(rows) == {"two", "edge", "none", "unlabelled"}
    expected = np.zeros((20, 40), np.uint8)
    expected[8:12, 10:30] = 255  # round(7.5) is 8, round(12.5) is 12
    expected[0:10, 0:20] = 255
    assert (np.asarray(rows["two"]["heatmap"]) == expected).all()
    assert rows["two"]["heatmap"].mode == "L" and rows["two"]["image"].size == (40, 20)
    assert rows["two"]["score"] is None and rows["two"]["description"] is None
    unknown = {"text": None, "mask": None}
    assert rows["two"]["defects"][0] == {
        "kind": "3",
        "part": None,
        "box": [10, 7.5, 30, 12.5],
        "severity": None,
        **unknown,
    }
    assert rows["edge"]["defects"][0]["box"] == pytest.approx([34, 0, 40, 20])  # clipped at the border
    for clean in ("none", "unlabelled"):
        assert rows[clean]["defects"] == [] and rows[clean]["heatmap"].getextrema() == (0, 0)
    assert sorted((place.rpartition("/")[2], reason.partition(" ")[0]) for place, reason in bad) == [
        ("class.jpg", "label"),
        ("cut.jpg", "label"),
        ("imageless.txt", "there"),
        ("pixels.jpg", "centre"),
    ]


def test_missing_files_say_what_to_download(root):
    with pytest.raises(
        FileNotFoundError, match=r"val is missing. Download train.zip and val.zip from https://hugging"
    ):
        load("abhuman", root=root, split="val")
    write_images(root / "val", ["a.jpg"])
    with pytest.raises(FileNotFoundError, match="has no label files"):
        load("abhuman", root=root, split="val")
    (root / "train").rename(root / "elsewhere")
    (root / "train.zip").write_bytes(b"PK" + bytes(600))
    with pytest.raises(ValueError, match="train.zip is not a tar archive, or damaged: unpack it"):
        load("abhuman", root=root)
