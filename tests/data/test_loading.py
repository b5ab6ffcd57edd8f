"""What `load` does for every data set, seen on a folder of JSON lines."""

import json
import logging

import numpy as np
import pytest
from datasets import Dataset, IterableDataset
from PIL import Image

from heie_hf.data import FEATURES, BadRowError, load, raise_bad_row
from tests.data.published.published_files import heat, write_images


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "set"
    write_images(root, ["a.png", "b.png", "c.png"])
    write_lines(root, [{"image": "a.png", "score": 0.5}, {"image": "b.png"}, {"image": "c.png"}])
    return root


def write_lines(root, records):
    lines = [record if isinstance(record, str) else json.dumps(record) for record in records]
    (root / "annotations.jsonl").write_text("\n".join(lines) + "\n")


def reported(*arguments, **options):
    """The data set and the list of its bad rows."""
    bad = []
    dataset = load(*arguments, on_bad_row=lambda place, reason: bad.append((place, reason)), **options)
    return dataset, bad


def test_rows_have_the_schema_and_images_stay_files(folder):
    dataset = load("folder", root=folder)
    assert isinstance(dataset, Dataset) and dataset.features == FEATURES
    assert dataset["id"][:] == ["a", "b", "c"]
    assert dataset[0]["image"].tobytes() == Image.open(folder / "a.png").tobytes()
    stored = dataset.data.column("image").to_pylist()
    assert stored[0] == {"bytes": None, "path": str(folder / "a.png")}
    absent = {name for name, value in dataset[1].items() if value is None}
    assert absent == set(FEATURES) - {"id", "image"}


def test_streaming_gives_the_same_rows(folder):
    stream = load("folder", root=folder, streaming=True)
    assert isinstance(stream, IterableDataset) and stream.features == FEATURES
    assert list(stream) == list(load("folder", root=folder))


@pytest.mark.parametrize("streaming", [False, True])
def test_bad_rows_are_listed_with_reason_and_counted(folder, streaming, caplog):
    (folder / "b.png").write_bytes(b"no picture")
    (folder / "half.png").write_bytes((folder / "a.png").read_bytes()[:300])
    (folder / "big.png").symlink_to("nowhere")
    write_lines(
        folder,
        [
            {"image": "a.png"},
            {"image": "b.png"},
            {"image": "half.png"},
            {"image": "missing.png"},
            {"image": "big.png"},
            {"id": "x"},
            "{not json",
            "[1, 2]",
            {"image": "c.png", "score": 1.5},
            {"image": "c.png", "score": float("nan")},
            {"image": "c.png", "score": "good"},
            {"image": "c.png", "heatmap": "b.png"},
            {"image": "c.png", "prompt": 5},
            {"image": "c.png", "conversations": [{"from": "gpt", "value": "I cannot help with that."}]},
            {"image": "c.png", "defects": [{"kind": "melted", "box": [1, 2, 3]}]},
            {"image": "c.png"},
        ],
    )
    dataset, bad = reported("folder", root=folder, streaming=streaming)
    assert [row["id"] for row in dataset] == ["a", "c"]
    path = folder / "annotations.jsonl"
    assert [place for place, _ in bad] == [f"{path}:{line}" for line in range(2, 16)]
    reasons = [reason for _, reason in bad]
    assert all(reasons) and not any("\n" in reason for reason in reasons)
    for part, reason in zip(
        ["b.png: is not an image", "half.png: ", "missing.png: no such file", "big.png: is a dangling link",
         "names no image", "is not JSON", "is not a JSON object", "score is 1.5, not from 0 to 1", "score is nan",
         "score is 'good', not a number", "b.png: is not an image", "prompt is not a text", "none of the sections",
         "length"],
        reasons, strict=True,
    ):  # fmt: skip
        assert part.lower() in reason.lower()
    assert "folder: 14 of 16 rows left out" in caplog.text


def test_bad_rows_are_logged_by_default_and_again_from_the_cache(folder, caplog):
    write_lines(folder, [{"image": "a.png"}, {"image": "missing.png"}])
    for _ in range(2):
        caplog.clear()
        with caplog.at_level(logging.WARNING, "heie_hf.data"):
            assert len(load(folder)) == 1
        assert "annotations.jsonl:2: missing.png: no such file" in caplog.text
        assert "folder: 1 of 2 rows left out" in caplog.text


@pytest.mark.parametrize("streaming", [False, True])
def test_raise_bad_row(folder, streaming):
    write_lines(folder, [{"image": "a.png"}, {"image": "missing.png"}])
    with pytest.raises(BadRowError, match=r"annotations.jsonl:2: missing.png: no such file"):
        list(load(folder, streaming=streaming, on_bad_row=raise_bad_row))


def test_without_a_usable_row(folder):
    write_lines(folder, [{"image": "missing.png"}])
    with pytest.raises(ValueError, match=r"none of 1 rows can be used, the first .*: missing.png: no such file"):
        load(folder)


def test_the_stored_rows_are_used_until_a_file_changes(folder):
    first = load(folder)
    assert load(folder).cache_files == first.cache_files
    write_images(folder, ["a.png"], size=(30, 20))
    assert load(folder)[0]["image"].size == (30, 20)
    write_lines(folder, [{"image": "b.png"}])
    assert load(folder)["id"][:] == ["b"]


def test_heatmaps_become_grey_and_as_large_as_the_image(folder):
    heat((24, 16), (3, 4, 9, 8), 200).save(folder / "ready.png")
    heat((24, 16), (3, 4, 9, 8), 200).convert("RGB").save(folder / "rgb.png")
    heat((48, 32), (6, 8, 18, 16), 200).save(folder / "large.png")
    names = ["ready.png", "rgb.png", "large.png"]
    write_lines(folder, [{"id": name, "image": "a.png", "heatmap": name} for name in names])
    dataset = load(folder)
    for row in dataset:
        assert (row["heatmap"].mode, row["heatmap"].size) == ("L", (24, 16))
    ready, rgb, large = (np.asarray(row["heatmap"]) for row in dataset)
    assert (ready == rgb).all() and ready[4:8, 3:9].min() == 200 and ready.sum() == 200 * 24
    assert abs(large.astype(int) - ready).mean() < 10
    assert dataset.data.column("heatmap").to_pylist()[0] == {"bytes": None, "path": str(folder / "ready.png")}


def test_mistakes_of_the_caller(tmp_path):
    with pytest.raises(ValueError, match="no data set 'richhf': there are richhf18k, expl_aigi_eval"):
        load("richhf")
    with pytest.raises(ValueError, match="agiqa3k needs root="):
        load("agiqa3k")
    with pytest.raises(FileNotFoundError, match="annotations.jsonl is missing. `heie synthesize"):
        load(tmp_path)


def test_a_git_lfs_pointer_is_told_from_data(folder):
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 184875860\n"
    (folder / "annotations.jsonl").write_text(pointer)
    with pytest.raises(FileNotFoundError, match="only a Git LFS pointer: run `git lfs pull`"):
        load(folder)


@pytest.mark.parametrize(
    "line, reason",
    [
        ("[" * 100_000, "nested too deeply"),
        ('{"image": "a.png", "defects": ' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ('{"image": "a.png", "score": 1' + "0" * 400 + "}", "not a number"),
        ('{"image": "a.png", "score": NaN}', "score is nan, not from 0 to 1"),
        ('{"image": "a.png", "defects": [{"box": ["left", 0, 1, 1]}]}', "left"),
        ('{"image": "a\\u0000.png"}', "null"),
        ('{"image": "a.png", "prompt": "\\ud800"}', "surrogates"),
    ],
)
def test_a_line_of_damaged_or_hostile_json_is_one_bad_row(folder, line, reason):
    write_lines(folder, [line, {"image": "b.png"}])
    rows, [(place, why)] = reported(folder)
    assert place.endswith("annotations.jsonl:1") and reason in why and len(why) < 500
    assert rows["id"] == ["b"]


def test_a_cache_that_cannot_be_written_is_named_with_the_remedy(folder, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "file" / "cache")
    with pytest.raises(OSError, match="set HF_HOME to a folder with room"):
        load(folder)
