"""RichHF-18K: record files with real checksums, joined to images from a folder or from Pick-a-Pic's parquet files."""

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from heie_hf.data import load
from heie_hf.data.published.tfrecord import masked_crc, read_example, record_offsets
from tests.data.published.published_files import encoded, heat, picture, richhf_example, write_images, write_tfrecord

UIDS = ["uid-a", "uid-b", "uid-c"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def root(tmp_path):
    write_tfrecord(tmp_path / "train.tfrecord", [richhf_example(uid) for uid in UIDS])
    write_images(tmp_path / "images", [f"{uid}.png" for uid in UIDS], size=(32, 32))
    return tmp_path


def write_parquet(folder, pairs, rows_per_group=2):
    """Rows of Pick-a-Pic v1; a pair is two of (uid, JPEG bytes)."""
    folder.mkdir()
    rows = [
        {
            "are_different": True,
            "caption": f"prompt of {left[0]}",
            "image_0_uid": left[0],
            "image_1_uid": right[0],
            "jpg_0": left[1],
            "jpg_1": right[1],
        }
        for left, right in pairs
    ]
    for part in range(2):
        table = pyarrow.Table.from_pylist(rows[part::2])
        pyarrow.parquet.write_table(
            table, folder / f"train-{part:05d}-of-00002.parquet", row_group_size=rows_per_group
        )


def reported(*arguments, **options):
    bad = []
    dataset = load(*arguments, on_bad_row=lambda place, reason: bad.append((place, reason)), **options)
    return list(dataset), bad


@pytest.mark.parametrize("streaming", [False, True])
def test_records_joined_to_a_folder_of_images(root, streaming):
    rows, bad = reported("richhf18k", root=root, streaming=streaming)
    assert [row["id"] for row in rows] == UIDS and not bad
    row = rows[1]
    assert row["image"].tobytes() == picture(1, (32, 32)).tobytes()
    assert (np.asarray(row["heatmap"]) == np.asarray(heat((32, 32), (8, 8, 16, 16), 200))).all()
    assert (np.asarray(row["misalignment_heatmap"]) == np.asarray(heat((32, 32), (0, 0, 4, 4)))).all()
    scores = [row[name] for name in ("score", "aesthetics_score", "alignment_score", "overall_score")]
    assert scores == [0.5, 0.75, 0.25, 1.0]
    assert row["prompt"] is None and row["defects"] is None


@pytest.mark.parametrize("streaming", [False, True])
def test_records_joined_to_parquet_files_by_uid(root, streaming):
    pictures = {uid: encoded(picture(seed, (40, 20)), "JPEG") for seed, uid in enumerate([*UIDS[:2], "other"])}
    pairs = [("other", "uid-b"), ("other", "other"), ("uid-a", "uid-b"), ("other", "other"), ("uid-a", "other")]
    write_parquet(root / "pickapic", [[(uid, pictures[uid]) for uid in pair] for pair in pairs])
    rows, bad = reported("richhf18k", root=root, images=root / "pickapic", streaming=streaming)
    rows = {row["id"]: row for row in rows}
    assert set(rows) == {"uid-a", "uid-b"} and bad == [("uid-c", "its image is not there")]
    assert rows["uid-a"]["prompt"] == "prompt of uid-a" and rows["uid-b"]["prompt"].startswith("prompt of")
    assert rows["uid-b"]["image"].size == rows["uid-b"]["heatmap"].size == (40, 20)  # the map is 32x32 in the record
    assert np.asarray(rows["uid-b"]["heatmap"])[7, 15] == 200


def test_damaged_records_are_listed_and_the_rest_is_read(root):
    examples = [richhf_example(uid) for uid in (*UIDS, "gone")]
    examples[2] |= {"overall_score": 1.5}
    del examples[1]["artifact_map"]
    frames = write_tfrecord(root / "train.tfrecord", [richhf_example("flipped"), *examples, richhf_example("uid-a")])
    flipped = bytearray(frames[0])
    flipped[60] ^= 1
    (root / "train.tfrecord").write_bytes(b"".join([bytes(flipped), *frames[1:]]) + frames[0][:100])
    rows, bad = reported("richhf18k", root=root)
    assert [row["id"] for row in rows] == ["uid-a"]
    file = root / "train.tfrecord"
    assert bad == [
        (f"{file}: record 1", "the record is damaged: its checksum is wrong"),
        (f"{file}: record 6", "uid-a was there before"),
        (f"{file}: record 7", "the file is cut off within the record"),
        ("uid-b", "the record has no artifact_map"),
        ("uid-c", "overall_score is 1.5, not from 0 to 1"),
        ("gone", "its image is not there"),
    ]


def test_a_damaged_length_ends_the_file_loudly(root):
    frames = write_tfrecord(root / "train.tfrecord", [richhf_example(uid) for uid in UIDS])
    (root / "train.tfrecord").write_bytes(frames[0] + b"\xff" * 12 + frames[2])
    rows, bad = reported("richhf18k", root=root)
    assert [row["id"] for row in rows] == ["uid-a"]
    [(place, reason)] = bad
    assert place.endswith("record 2") and "it and all after it cannot be read" in reason


def test_the_record_format_is_tensorflows(tmp_path):
    # masked CRC-32C of b"123456789", whose CRC-32C is 0xE3069283 (RFC 3720)
    assert masked_crc(b"123456789") == ((0xE3069283 >> 15 | 0xE3069283 << 17) + 0xA282EAD8) & 0xFFFFFFFF
    write_tfrecord(tmp_path / "x.tfrecord", [{"a": b"\0x\0" * 100, "b": 0.25}, {}])
    with open(tmp_path / "x.tfrecord", "rb") as file:
        first, second = record_offsets(file)
        assert read_example(file, first) == {"a": [b"\0x\0" * 100], "b": [0.25]}
        assert read_example(file, second) == {}


def test_missing_files_say_what_to_download(root, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"dev.tfrecord is missing. Download .*github.com/google-research"):
        load("richhf18k", root=root, split="dev")
    with pytest.raises(
        FileNotFoundError, match="nowhere is missing. RichHF-18K has no images. Download Pick-a-Pic v1"
    ):
        load("richhf18k", root=root, images=root / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="neither images nor parquet files"):
        load("richhf18k", root=root, images=tmp_path / "empty")
    with pytest.raises(ValueError, match="no split 'validation': there are train, dev, test"):
        load("richhf18k", root=root, split="validation")


def test_pick_a_pic_without_images_is_refused(root):
    (root / "pickapic").mkdir()
    table = pyarrow.table({"image_0_uid": ["uid-a"], "image_1_uid": ["uid-b"], "caption": ["x"]})
    pyarrow.parquet.write_table(table, root / "pickapic" / "0.parquet")
    with pytest.raises(ValueError, match="not Pick-a-Pic v1 with images: no columns jpg_0, jpg_1"):
        load("richhf18k", root=root, images=root / "pickapic")
