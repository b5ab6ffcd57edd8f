"""`heie export`: what Label Studio and spreadsheets get of a data set."""

import csv
import json
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from heie_hf.cli import main
from heie_hf.data import synthetic
from heie_hf.prediction.export import brush_code


def decoded(code, shape):
    """The mask of a brush code, read bit by bit as Label Studio's documentation tells."""
    bits = "".join(f"{byte:08b}" for byte in code)
    place = 0

    def take(number):
        nonlocal place
        place += number
        return int(bits[place - number : place], 2)

    number, word, sizes = take(32), take(5) + 1, [take(4) + 1 for _ in range(4)]
    values = []
    while len(values) < number:
        assert take(1) == 1  # a run
        length = take(sizes[take(2)]) + 1
        values += [take(word)] * length
    pixels = np.array(values, dtype=np.uint8).reshape(*shape, 4)
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0] > 0


def test_the_brush_code_of_label_studios_documentation():
    assert brush_code(np.array([[0, 1], [1, 0]], dtype=bool)) == [0, 0, 0, 16, 57, 27, 252, 96, 19, 255, 198, 0]


@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 300)])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 1.0])
def test_a_mask_comes_back_from_its_brush_code(shape, share):
    mask = np.random.default_rng(0).random(shape) < share
    assert np.array_equal(decoded(brush_code(mask), shape), mask)


@pytest.fixture
def folder(tmp_path):
    """Three scenes, the first with a defect that has a box, a mask and a text."""
    root = tmp_path / "scenes"
    synthetic.synthesize(3, 5, root)
    lines = [json.loads(line) for line in (root / "annotations.jsonl").read_text().splitlines()]
    with Image.open(root / lines[0]["image"]) as image:
        mask = Image.new("L", image.size)
    mask.paste(255, (10, 20, 40, 60))
    mask.save(root / "mask.png")
    defect = {"kind": None, "part": "hand", "box": [10, 20, 40, 60], "text": "Hand: melted.", "mask": "mask.png"}
    lines[0]["defects"] = [defect]
    lines[1]["id"] = "../strange id"
    lines[1]["prompt"] = "=HYPERLINK(1)"
    lines[2]["prompt"] = "＝HYPERLINK(1)"  # full width, which some spreadsheets read too
    (root / "annotations.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return root


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")


def export(*arguments):
    with pytest.raises(SystemExit) as exit:
        main(["export", *map(str, arguments)])
    return exit.value.code or 0


def test_label_studio_gets_tasks_that_fit_its_interface(folder, tmp_path):
    out = tmp_path / "out"
    assert export(folder, "--to", "label-studio", "--output-dir", out, "--image-prefix", "/files/?d=") == 0
    tasks = json.loads((out / "tasks.json").read_text())
    names = {element.get("name") for element in ElementTree.parse(out / "config.xml").iter()} - {None}
    kinds = {"rectanglelabels": "box", "brushlabels": "brush", "textarea": None}
    assert len(tasks) == 3
    for task in tasks:
        [prediction] = task["predictions"]
        place = task["data"]["image"].removeprefix("/files/?d=")
        with Image.open(out / place) as image:
            size = image.size
        ids = [result["id"] for result in prediction["result"]]
        assert len(set(ids)) == len(ids)
        for result in prediction["result"]:
            assert result["to_name"] in names and result["from_name"] in names
            assert kinds[result["type"]] in (None, result["from_name"])
            if result["type"] != "textarea":
                assert (result["original_width"], result["original_height"]) == size
    box, brush, *texts = tasks[0]["predictions"][0]["result"]
    with Image.open(out / "images" / f"{tasks[0]['data']['id']}.png") as image:
        width, height = image.size
    assert box["value"]["x"] == pytest.approx(1000 / width) and box["value"]["height"] == pytest.approx(4000 / height)
    mask = decoded(brush["value"]["rle"], (height, width))
    assert mask.sum() == 30 * 40 and mask[20:60, 10:40].all()
    assert [text["from_name"] for text in texts] == ["description", "regions", "analysis"]


def test_a_table_for_spreadsheets_holds_no_formulas(folder, tmp_path):
    out = tmp_path / "out"
    assert export(folder, "--to", "csv", "--output-dir", out) == 0
    with (out / "rows.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["num_defects"] for row in rows][0] == "1" and rows[1]["prompt"] == "'=HYPERLINK(1)"
    assert rows[2]["prompt"] == "'＝HYPERLINK(1)"
    for row in rows:
        assert (out / row["image"]).is_file() and (out / row["image"]).resolve().is_relative_to(out)
    assert float(rows[0]["score"]) == pytest.approx(synthetic.load(1, 5)[0]["score"])


def test_mistakes(folder, tmp_path, capsys):
    assert export(folder, "--to", "excel", "--output-dir", tmp_path / "out") == 2
    assert export("nowhere", "--to", "csv", "--output-dir", tmp_path / "out") == 2
    assert "no data set" in capsys.readouterr().err
