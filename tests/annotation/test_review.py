"""`heie annotate --sheet` and `--review`: what people call wrong is left out, and comes back."""

import csv
import json

import pytest

from heie_hf.cli import main
from heie_hf.data import load
from tests.annotation.conftest import lines


@pytest.fixture
def check(tmp_path, capsys):
    """check(options ...) -> exit status, the JSON line (None without), stderr."""

    def run(*options):
        with pytest.raises(SystemExit) as exit:
            main(["annotate", "--output-dir", str(tmp_path / "out"), *map(str, options)])
        captured = capsys.readouterr()
        return exit.value.code or 0, json.loads(captured.out) if captured.out else None, captured.err

    return run


@pytest.fixture
def annotated(annotate, tmp_path):
    annotate("--max-images", 4, "--samples", 2)
    return tmp_path / "out"


def fill_in(folder, rater, verdicts):
    path = folder / "sheets" / f"ratings_{rater}.csv"
    with path.open(newline="", encoding="utf-8") as file:
        sheet = list(csv.DictReader(file))
    for row in sheet:
        row["rating"], row["comment"] = verdicts.get(row["id"], ("", ""))
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, sheet[0])
        writer.writeheader()
        writer.writerows(sheet)
    return path


def items(folder):
    return [f"{record['id']}#{record['sample']}" for record in lines(folder / "records.jsonl")]


def test_a_page_shows_every_stage(annotated, check):
    status, result, _ = check("--sheet", "ada", "--sheet", "bob")
    assert (status, result["texts"]) == (0, 8)
    page = (annotated / "sheets" / "ratings_ada.html").read_text(encoding="utf-8")
    for record in lines(annotated / "records.jsonl"):
        assert f'data-id="{record["id"]}#{record["sample"]}"' in page and record["free_form"] in page
    num_outlined = sum(bool(record["regions"]) for record in lines(annotated / "records.jsonl"))
    assert page.count("<img") == 8 + num_outlined
    assert page.count('value="wrong"') == page.count('value="unsure"') == 8


def test_a_large_data_set_is_checked_by_a_sample(annotated, check):
    check("--sheet", "ada", "--sheet", "bob", "--sheet-size", 3)
    ids = []
    for rater in ("ada", "bob"):
        with (annotated / "sheets" / f"ratings_{rater}.csv").open(newline="", encoding="utf-8") as file:
            ids.append({row["id"] for row in csv.DictReader(file)})
    assert len(ids[0]) == 3 and ids[0] == ids[1]


def test_what_people_call_wrong_is_left_out_and_comes_back(annotated, annotate, check, server):
    whole = (annotated / "annotations.jsonl").read_bytes()
    check("--sheet", "ada", "--sheet", "bob")
    both, tied, outvoted, doubted = items(annotated)[:4]
    ada = {both: ("wrong", "=no wheel"), tied: ("wrong", ""), outvoted: ("right", ""), doubted: ("unsure", "?")}
    bob = {both: ("wrong", ""), tied: ("right", ""), outvoted: ("right", "")}
    eve = {outvoted: ("wrong", "")}
    check("--sheet", "eve")
    sheets = [fill_in(annotated, *sheet) for sheet in (("ada", ada), ("bob", bob), ("eve", eve))]
    options = []
    for sheet in sheets:
        options += ["--review", sheet]
    num_asked = len(server.bodies)
    status, review, _ = check(*options)
    assert status == 0 and review["raters"] == ["ada", "bob", "eve"]
    assert (review["judged"], review["dropped"], review["kept"]) == (3, 2, 6)
    assert review["agreement"] < 1
    dropped = lines(annotated / "dropped.jsonl")
    assert [f"{row['id']}#{row['sample']}" for row in dropped] == [both, tied]
    assert dropped[0]["raters"] == ["ada", "bob"] and dropped[0]["comments"] == {"ada": "=no wheel"}
    assert len(load(annotated)) == 6
    card = (annotated / "README.md").read_text()
    assert "see `dropped.jsonl` | 2 |" in card and "\n6 explanations" in card and "| Raters | 3 |" in card
    _, review, _ = check("--review", sheets[2])  # other verdicts, from the whole again
    assert (review["dropped"], review["agreement"]) == (1, None)
    assert "right and wrong | undefined |" in (annotated / "README.md").read_text()
    assert len(server.bodies) == num_asked
    annotate("--max-images", 4, "--samples", 2)
    assert (annotated / "annotations.jsonl").read_bytes() == whole and len(server.bodies) == num_asked
    assert lines(annotated / "dropped.jsonl") == []
    assert "Checked by people" not in (annotated / "README.md").read_text()


def test_sheets_that_cannot_be_used_change_nothing(annotated, check, tmp_path):
    whole = (annotated / "annotations.jsonl").read_bytes()
    sheet = tmp_path / "ratings_ada.csv"
    for content, reason in (
        ("id,rating\nnobody#0,wrong\n", "judge 'nobody#0', but"),
        (f"id,rating\n{items(annotated)[0]},no\n", "write right, wrong or unsure"),
        ("a,b\n", "has no column 'id'"),
    ):
        sheet.write_text(content)
        status, result, errors = check("--review", sheet)
        assert status == 2 and result is None and reason in errors and errors.count("\n") == 1
    status, _, errors = check("--review", tmp_path / "missing.csv")
    assert status == 2 and "missing.csv" in errors
    assert (annotated / "annotations.jsonl").read_bytes() == whole


def test_assessments_are_not_judged_here(annotated, check):
    (annotated / "records.jsonl").write_text('{"id": "1", "texts": {}}\n')
    status, _, errors = check("--sheet", "ada")
    assert status == 2 and "records.jsonl:1: is no explanation that people could judge" in errors


def test_without_an_annotation_there_is_nothing_to_check(check):
    status, _, errors = check("--sheet", "ada")
    assert status == 2 and "records.jsonl is missing" in errors
    status, _, errors = check()
    assert status == 2 and "missing option --dataset" in errors
