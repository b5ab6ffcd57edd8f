"""Folders of JSON lines: those of `heie synthesize`, and the same scenes drawn in memory."""

import json

import numpy as np
import pytest

from heie_hf.data import FEATURES, load, synthetic
from tests.data.published.published_files import heat, write_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def assert_same_rows(rows, others):
    for row, other in zip(rows, others, strict=True):
        assert row.keys() == other.keys() == FEATURES.keys()
        for name in ("image", "heatmap"):
            assert (np.asarray(row.pop(name)) == np.asarray(other.pop(name))).all()
        assert row == other


def test_a_synthesized_folder_gives_what_the_generator_gives(tmp_path):
    synthetic.synthesize(4, 3, tmp_path / "scenes")
    drawn = load("synthetic", num_images=4, seed=3)
    assert any(drawn["defects"])
    assert_same_rows(load(tmp_path / "scenes"), drawn)
    assert_same_rows(load("folder", root=tmp_path / "scenes", streaming=True), drawn)
    assert_same_rows(load("folder", root=tmp_path / "scenes" / "annotations.jsonl"), drawn)


def test_streamed_scenes(tmp_path):
    assert_same_rows(load("synthetic", num_images=2, seed=1, streaming=True), synthetic.load(2, 1))


def test_plain_keys_instead_of_a_conversation(tmp_path):
    write_images(tmp_path / "pictures", ["1.jpg"])
    record = {
        "image": "pictures/1.jpg",
        "prompt": "a cat",
        "overall_score": 0.25,
        "description": "A cat.",
        "regions": "the left paw",
        "defects": [{"kind": "melted", "box": [1, 2, 3, 4.5]}],
    }
    (tmp_path / "dev.jsonl").write_text("\n" + json.dumps(record) + "\n\n")
    [row] = load("folder", root=tmp_path, split="dev")
    assert (row["id"], row["prompt"], row["overall_score"], row["score"]) == ("1", "a cat", 0.25, None)
    assert (row["description"], row["regions"], row["analysis"]) == ("A cat.", "the left paw", None)
    unknown = {"part": None, "severity": None, "text": None, "mask": None}
    assert row["defects"] == [{"kind": "melted", "box": [1, 2, 3, 4.5], **unknown}]
    assert load("folder", root=tmp_path, split="dev").split == "dev"


def test_heatmaps_of_another_size_are_resized_and_of_another_shape_refused(tmp_path):
    write_images(tmp_path, ["1.jpg", "2.jpg", "small.png", "tall.png"], size=(40, 20))
    heat((20, 10), (0, 0, 10, 5)).save(tmp_path / "small.png")
    heat((10, 20), (0, 0, 5, 5)).save(tmp_path / "tall.png")
    records = [{"image": "1.jpg", "heatmap": "small.png"}, {"image": "2.jpg", "heatmap": "tall.png"}]
    (tmp_path / "annotations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    bad = []
    [row] = load(tmp_path, on_bad_row=lambda *row: bad.append(row))
    assert row["id"] == "1" and row["heatmap"].size == (40, 20)
    assert bad == [(f"{tmp_path}/annotations.jsonl:2", "tall.png: has 10 x 20 pixels, its image 40 x 20")]
