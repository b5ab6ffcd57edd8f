import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import heie_hf
from heie_hf.data.synthetic import SPLITS, draw_scene
from heie_hf.prediction.paths import as_text, printable
from tests.hostile_files import make_hostile_files


def test_one_line_of_json_and_two_pictures_per_image(predict, folder, tmp_path):
    out = tmp_path / "new" / "out"
    status, rows, err = predict(folder, "--output-dir", out)
    assert (status, err) == (0, [])
    assert [row["image"] for row in rows] == [
        str(folder / name) for name in ("a.jpg", "b.png", "sub/a.png", "sub/c.webp")
    ]
    for row, name in zip(rows, ("a", "b", "sub/a", "sub/c")):
        assert list(row) == ["image", "score", "description", "regions", "analysis", "heatmap", "overlay"]
        assert 0 <= row["score"] <= 1
        assert row["description"] and row["regions"] and row["analysis"]
        size = Image.open(row["image"]).size
        assert row["heatmap"] == str(out / f"{name}.heatmap.png")
        assert row["overlay"] == str(out / f"{name}.overlay.png")
        assert Image.open(row["heatmap"]).size == size
        assert Image.open(row["overlay"]).width > size[0]
    assert len([path for path in out.rglob("*") if path.is_file()]) == 9
    assert [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()] == rows


def test_a_second_run_writes_the_same_files(predict, folder):
    def snapshot():
        return {path: path.read_bytes() for path in folder.rglob("*.png")}

    first = predict(folder, "--output-dir", folder, "--no-explain"), snapshot()
    second = predict(folder, "--output-dir", folder, "--no-explain"), snapshot()
    assert first == second
    assert len(first[0][1]) == 4


def test_without_output_dir_nothing_is_written(predict, folder):
    before = sorted(folder.rglob("*"))
    _, rows, _ = predict(folder / "b.png", "--no-explain")
    assert (rows[0]["heatmap"], rows[0]["overlay"], rows[0]["description"]) == (None, None, "")
    assert sorted(folder.rglob("*")) == before


def test_the_batch_size_changes_nothing(predict, folder):
    _, one_by_one, _ = predict(folder)
    _, together, _ = predict(folder, "--batch-size", 3)
    for row, expected in zip(together, one_by_one, strict=True):
        assert row == {**expected, "score": pytest.approx(expected["score"], abs=1e-5)}


def test_a_bad_file_in_a_batch_leaves_its_neighbours_alone(predict, folder):
    good = sorted(folder.rglob("*.png"))
    bad = folder / "text\n.png"
    bad.write_text("no image")
    _, expected, _ = predict(*good, "--no-explain", "--batch-size", 3)
    status, rows, err = predict(good[0], bad, *good[1:], folder / "missing.png", "--no-explain", "--batch-size", 3)
    assert status == 1
    assert [row["image"] for row in rows] == [row["image"] for row in expected]
    assert [row["score"] for row in rows] == pytest.approx([row["score"] for row in expected], abs=1e-5)
    assert len(err) == 2
    assert err[0].startswith(f"heie: {folder}/text\\n.png: is not an image")
    assert err[1] == f"heie: {folder}/missing.png: no such file or directory"


def test_hostile_files_are_read_or_refused_one_line_each(predict, tmp_path):
    files = make_hostile_files(tmp_path / "hostile")
    paths = [path for path, _ in files.values()]
    status, rows, err = predict(*paths, "--no-explain", "--batch-size", 4, "--output-dir", tmp_path / "out")
    assert status == 1
    assert {row["image"] for row in rows} == {as_text(path) for path, good in files.values() if good}
    assert all(Path(os.fsdecode(path)).exists() for path in tmp_path.glob("out/*.png"))
    assert len(list(tmp_path.glob("out/*.png"))) == 2 * len(rows)
    refused = {printable(path) for path, good in files.values() if not good}
    assert {line.split(": ")[1] for line in err} == refused
    assert len(err) == len(refused)


def test_hostile_files_in_a_folder_are_found_too(predict, tmp_path):
    files = make_hostile_files(tmp_path)
    status, rows, err = predict(tmp_path, "--no-explain", "--batch-size", 4)
    assert status == 1
    assert [row["image"] for row in rows] == sorted(
        as_text(path) for path, good in files.values() if good and path.suffix
    )
    assert all(line.startswith(f"heie: {tmp_path}/") for line in err)
    assert {Path(line.split(": ")[1]).name for line in err} >= {"pipe.png", "dangling.png", "photo.heic", "empty.png"}


def test_names_that_begin_with_a_dash_follow_two_dashes(predict, folder, monkeypatch):
    monkeypatch.chdir(folder)
    os.rename("b.png", "--help.png")
    _, rows, _ = predict("--no-explain", "--", "--help.png", "a.jpg")
    assert [row["image"] for row in rows] == ["--help.png", "a.jpg"]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
def test_json_is_valid_for_names_that_are_not_utf8(predict, folder, tmp_path):
    os.rename(folder / "b.png", os.fsencode(folder) + b"/caf\xe9.png")
    _, rows, _ = predict(folder, "--no-explain", "--output-dir", tmp_path / "out")
    assert rows[1]["image"] == rf"{folder}/caf\xe9.png"
    assert rows[1]["heatmap"] == rf"{tmp_path}/out/caf\xe9.heatmap.png"
    assert os.path.exists(os.fsencode(tmp_path) + b"/out/caf\xe9.heatmap.png")


def test_larger_images_than_allowed_are_refused(predict, folder):
    status, rows, err = predict(folder, "--no-explain", "--max-pixels", 10_000)
    assert status == 1
    assert [Path(row["image"]).name for row in rows] == ["a.jpg", "a.png"]
    assert "112 x 112 pixels, over the limit of 10000" in err[0]


def test_results_that_cannot_be_written_are_reported(predict, folder, tmp_path):
    (tmp_path / "out" / "b.heatmap.png").mkdir(parents=True)
    status, rows, err = predict(folder, "--no-explain", "--output-dir", tmp_path / "out")
    assert status == 1
    assert len(rows) == 4
    assert err == [f"heie: {folder}/b.png: result not written: Is a directory"]


def usage_mistakes(tmp_path):
    image = tmp_path / "in" / "b.png"
    return {
        "no command": [],
        "unknown command": ["pridict"],
        "no image": ["predict"],
        "unknown option": ["predict", image, "--colour"],
        "batch of none": ["predict", image, "--batch-size", "0"],
        "no such model": ["predict", image, "--model", tmp_path / "no\nmodel"],
        "no model in the folder": ["predict", image, "--model", tmp_path / "in"],
        "damaged model": ["predict", image, "--model", tmp_path / "damaged"],
        "no such device": ["predict", image, "--device", "quantum"],
        "no such dtype": ["predict", image, "--dtype", "float3"],
        "nothing to resume": ["predict", image, "--resume"],
        "output-dir is a file": ["predict", image, "--output-dir", image],
        "no number": ["synthesize", "--num-images", "many", "--output-dir", tmp_path],
        "how many scenes": ["synthesize", "--output-dir", tmp_path],
        "split and seed": ["synthesize", "--split", "dev", "--seed", "3", "--output-dir", tmp_path],
        "more than the split": ["synthesize", "--split", "dev", "--num-images", "501", "--output-dir", tmp_path],
    }


@pytest.mark.parametrize("mistake", usage_mistakes(Path()))
def test_usage_mistakes_are_one_line_and_status_2(heie, folder, tiny_checkpoint, mistake):
    damaged = folder.parent / "damaged"
    damaged.mkdir()
    for file in Path(tiny_checkpoint).iterdir():
        (damaged / file.name).write_bytes(file.read_bytes()[: 1000 if file.suffix == ".safetensors" else None])
    status, out, err = heie(*usage_mistakes(folder.parent)[mistake])
    assert (status, out, len(err)) == (2, [], 1)
    assert err[0].startswith("heie: ")


def test_synthesize_draws_the_same_again(heie, tmp_path):
    for name in ("a", "b"):
        assert heie("synthesize", "--num-images", 3, "--seed", 5, "--output-dir", tmp_path / name)[0] == 0
    first, second = (sorted(path for path in (tmp_path / name).rglob("*") if path.is_file()) for name in ("a", "b"))
    assert [path.name for path in first] == [path.name for path in second]
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    assert len(first) > 3


def test_synthesize_draws_a_split_of_the_benchmark(heie, tmp_path):
    assert heie("synthesize", "--split", "test-unseen", "--num-images", 1, "--output-dir", tmp_path)[0] == 0
    (image,) = (tmp_path / "images").iterdir()
    expected = draw_scene(SPLITS["test-unseen"].seed, 0, unseen=True).image
    assert np.array_equal(np.asarray(Image.open(image)), np.asarray(expected))


def test_version(heie):
    assert heie("version") == (0, [heie_hf.__version__], [])
