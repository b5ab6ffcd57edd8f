"""Folders of JSON lines: those of `heie synthesize`, and the same scenes drawn in memory."""

import json

import numpy as np
import pytest

from heie_hf.data import FEATURES, load, synthetic
from tests.data.published_files import write_images


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
    assert row["defects"] == [{"kind": "melted", "part": None, "box": [1, 2, 3, 4.5], "severity": None}]
    assert load("folder", root=tmp_path, split="dev").split == "dev"
