"""Expl-AIGI-Eval: the real annotation files, with little pictures and record files for what is not published."""

import json
import shutil

import pytest

from heie_hf.data import load
from tests.data.published.published_files import richhf_example, write_images, write_tfrecord


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def read_rows(published, split):
    return [json.loads(line) for line in (published / f"RichHF-18K_{split}.jsonl").read_text().splitlines()]


def reported(*arguments, **options):
    bad = []
    dataset = load(*arguments, on_bad_row=lambda place, reason: bad.append((place, reason)), **options)
    return dataset, bad


def test_all_real_test_rows(expl_aigi_eval, tmp_path):
    published = read_rows(expl_aigi_eval, "test")
    shutil.copy(expl_aigi_eval / "RichHF-18K_test.jsonl", tmp_path)
    write_images(tmp_path / "artifact_map", ["one.png"], size=(8, 8))
    for row in published:
        for name in (f"{row['id']}.jpg", f"artifact_map/{row['id']}.png"):
            (tmp_path / name).hardlink_to(tmp_path / "artifact_map" / "one.png")
    dataset, bad = reported("expl_aigi_eval", root=tmp_path, split="test")
    assert len(dataset) == 955 and not bad
    assert dataset["id"][:] == [row["id"] for row in published]
    assert dataset["score"][:] == pytest.approx([row["score"] for row in published])
    for column in ("description", "regions", "analysis"):
        assert all(dataset[column])
    assert sum(text.startswith("No obvious problematic regions") for text in dataset["regions"]) == 63
    assert not any("###" in text or "[MAP]" in text or "[SCORE]" in text for text in dataset["analysis"])


def test_the_broken_dev_scores_are_refused(expl_aigi_eval):
    with pytest.raises(ValueError, match=r"all 995 scores .* are 0.5833.*broken as published. Give richhf=.*dev.tf"):
        load("expl_aigi_eval", root=expl_aigi_eval, split="dev")


@pytest.mark.parametrize("streaming", [False, True])
def test_dev_scores_and_heatmaps_come_from_richhf(expl_aigi_eval, tmp_path, streaming):
    published = read_rows(expl_aigi_eval, "dev")
    shutil.copy(expl_aigi_eval / "RichHF-18K_dev.jsonl", tmp_path)
    uids = [row["id"] for row in published[:3]]
    examples = [richhf_example(uid, artifact_score=score) for uid, score in zip([*uids, "new"], [0.0, 0.25, 1.0, 0.5])]
    write_tfrecord(tmp_path / "dev.tfrecord", examples)
    write_images(tmp_path / "images", [f"{uid}.jpg" for uid in [*uids, "new"]], size=(32, 32))
    dataset, bad = reported("expl_aigi_eval", root=tmp_path, split="dev", richhf=tmp_path, streaming=streaming)
    rows = list(dataset)
    assert [row["id"] for row in rows] == uids
    assert [row["score"] for row in rows] == [0.0, 0.25, 1.0]
    assert rows[0]["description"].startswith("A cartoon kangaroo in an orange hoodie")
    assert rows[0]["regions"] == "Problematic area: Kangaroo's hands holding the sign."
    assert rows[0]["heatmap"].getextrema() == (0, 200)
    assert bad[0] == ("new", "has no explanation")
    assert len(bad) == 1 + 992 and bad[1][1] == "its id is not in dev.tfrecord"


def test_several_texts_of_one_image(tmp_path):
    texts = [{"id": "u", "conversations": [{"from": "gpt", "value": f"### Image Description\n{n}"}]} for n in "12"]
    (tmp_path / "RichHF-18K_train.jsonl").write_text("\n".join(map(json.dumps, texts)))
    write_tfrecord(tmp_path / "train.tfrecord", [richhf_example("u")])
    write_images(tmp_path / "images", ["u.png"])
    dataset = load("expl_aigi_eval", root=tmp_path, richhf=tmp_path)
    assert dataset["description"][:] == ["1", "2"] and dataset["score"][:] == [0.5, 0.5]


def test_missing_files_say_what_to_download(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"RichHF-18K_test.jsonl is missing. Download .*github.com/yfthu/HEIE"):
        load("expl_aigi_eval", root=tmp_path, split="test")
    (tmp_path / "RichHF-18K_test.jsonl").write_text("")
    with pytest.raises(FileNotFoundError, match="test.tfrecord is missing. Download"):
        load("expl_aigi_eval", root=tmp_path, split="test", richhf=tmp_path)
    with pytest.raises(ValueError, match="images= goes with richhf="):
        load("expl_aigi_eval", root=tmp_path, split="test", images=tmp_path)
