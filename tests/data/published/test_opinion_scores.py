"""AGIQA-3K, AIGCIQA2023 and AIGCIQA-20k: mean opinion scores moved to [0, 1], ratios of the splits."""

import csv

import numpy as np
import pytest
from scipy.io import savemat

from heie_hf.data import load
from heie_hf.data.published import agiqa3k, aigciqa2023
from tests.data.published.published_files import write_images

AGIQA_COLUMNS = "name,prompt,adj1,adj2,style,mos_quality,std_quality,mos_align,std_align".split(",")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def write_csv(path, columns, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([columns, *rows])


def reported(*arguments, **options):
    bad = []
    dataset = load(*arguments, on_bad_row=lambda place, reason: bad.append((place, reason)), **options)
    return dataset, bad


@pytest.fixture
def agiqa(tmp_path):
    names = [f"{model}_{number:03d}.jpg" for model in ("AttnGAN_normal", "sd1.5_highcorr") for number in range(20)]
    rows = [
        [name, f"prompt {name[-7:-4]}, anime style", "", "", "anime style", 0.1 * number, 0.2, 5 - 0.1 * number, 0.6]
        for number, name in enumerate(names)
    ]
    write_csv(tmp_path / "data.csv", AGIQA_COLUMNS, rows)
    write_images(tmp_path / "image", names)
    return tmp_path


def test_agiqa3k_scores_and_split(agiqa):
    train, test = load("agiqa3k", root=agiqa), load("agiqa3k", root=agiqa, split="test")
    assert (len(train), len(test)) == (32, 8)  # 4 : 1
    assert not set(train["id"]) & set(test["id"])
    assert not set(train["prompt"]) & set(test["prompt"])
    rows = {row["id"]: row for row in [*train, *test]}
    row = rows["sd1.5_highcorr_005"]
    assert (row["score"], row["alignment_score"]) == pytest.approx((2.5 / 5, 2.5 / 5))
    assert row["prompt"] == "prompt 005, anime style" and row["heatmap"] is None
    assert "score: mos_quality, there from 0 to 5" in train.info.description
    assert agiqa3k.SCALES["score"] == ("mos_quality", 0, 5)


def test_agiqa3k_bad_rows(agiqa):
    rows = [
        ["AttnGAN_normal_000.jpg", "a", "", "", "", "5.5", 0, 1, 0],
        ["AttnGAN_normal_001.jpg", "a", "", "", "", "", 0, 1, 0],
        ["AttnGAN_normal_002.jpg", "a", "", "", "", "1.5", 0, "2", 0],
        ["AttnGAN_normal_003.jpg", "a", "", "", "", "1.5", 0],
        ["other.jpg", "a", "", "", "", "1", 0, 1, 0],
        ["twice.jpg", "a", "", "", "", "1", 0, 1, 0],
    ]
    write_csv(agiqa / "data.csv", AGIQA_COLUMNS, rows)
    write_images(agiqa / "image", ["twice.jpg"])
    write_images(agiqa / "copy", ["twice.jpg"])
    dataset, bad = reported("agiqa3k", root=agiqa)
    assert dataset["id"][:] == ["AttnGAN_normal_002"]
    assert [place for place, _ in bad] == [row[0] for row in rows if row is not rows[2]]
    reasons = [reason for _, reason in bad]
    assert reasons[:4] == [
        "mos_quality is 5.5, not from 0 to 5",
        "mos_quality is '', not a number",
        "mos_align is None, not a number",
        "has no image file",
    ]
    assert reasons[4].startswith("2 images have this name: ")


def write_aigciqa2023(root, with_prompts):
    for number, name in enumerate(aigciqa2023.FILES.values()):
        (root / "DATA" / "MOS").mkdir(parents=True, exist_ok=True)
        scores = np.linspace(20 * number, 20 * number + 40, 2400).reshape(2400, 1)
        savemat(root / "DATA" / "MOS" / name, {"MOSz": scores})
    if with_prompts:
        rows = [[n, f"{n}.png", f"prompt {n // 4 % 100}", "Basic", "Animals", 1, 1, 1, 1, 1, 1] for n in range(2400)]
        columns = ",name,prompt,style,class,quality_mos,authenticity_mos,correspondence_mos,quality_std,a,c".split(",")
        write_csv(root / "AIGCIQA2023.csv", columns, rows)


@pytest.mark.parametrize("with_prompts", [False, True])
def test_aigciqa2023(tmp_path, with_prompts):
    write_aigciqa2023(tmp_path, with_prompts)
    write_images(tmp_path / "Image" / "allimg", [f"{number}.png" for number in range(2360, 2400)], size=(2, 2))
    (train, bad_train), (test, bad_test) = (
        reported("aigciqa2023", root=tmp_path, split=split) for split in ("train", "test")
    )
    assert (len(train) + len(bad_train), len(test) + len(bad_test)) == (1800, 600)  # 3 : 1
    assert len(train) + len(test) == 40
    prompts_of_train, prompts_of_test = (
        {int(identity) // 4 % 100 for identity in dataset["id"]} for dataset in (train, test)
    )
    assert len(prompts_of_train) + len(prompts_of_test) == 10 and not prompts_of_train & prompts_of_test
    row = next(row for row in [*train, *test] if row["id"] == "2399")
    assert (row["overall_score"], row["score"], row["alignment_score"]) == pytest.approx((0.4, 0.6, 0.8))
    assert row["prompt"] == ("prompt 99" if with_prompts else None)
    assert "score: authenticity, there from 0 to 100" in test.info.description


@pytest.mark.parametrize("streaming", [False, True])
def test_aigciqa20k(tmp_path, streaming):
    for split, names in {"train": ["a.png", "b.png"], "val": ["c.png"], "test": ["d.png", "lost.png"]}.items():
        write_csv(tmp_path / f"info_{split}.csv", ["name", "prompt", "mos"], [[n, f"of {n}", 3.5] for n in names])
        write_images(tmp_path / split, [name for name in names if name != "lost.png"])
    assert [row["id"] for row in load("aigciqa20k", root=tmp_path, streaming=streaming)] == ["a", "b"]
    dataset, bad = reported("aigciqa20k", root=tmp_path, split="test", streaming=streaming)
    [row] = dataset
    assert (row["id"], row["prompt"], row["score"]) == ("d", "of d.png", pytest.approx(0.7))
    assert bad == [("lost.png", "has no image file")]


def test_missing_files_say_what_to_download(tmp_path):
    for name, wanted in {
        "agiqa3k": r"data.csv is missing. Download data.csv from https://github.com/lcysyzxdxc",
        "aigciqa2023": r"mosz1.mat is missing. Download .* https://github.com/wangjiarui153",
        "aigciqa20k": r"info_train.csv is missing. Download .* https://huggingface.co",
    }.items():
        with pytest.raises(FileNotFoundError, match=wanted):
            load(name, root=tmp_path)


def test_another_table_is_refused(tmp_path):
    write_csv(tmp_path / "data.csv", ["name", "mos"], [["a.jpg", 1]])
    with pytest.raises(ValueError, match="data.csv has no column mos_align, mos_quality, prompt"):
        load("agiqa3k", root=tmp_path)
