"""`heie annotate` against a server on loopback: a data set comes out, whatever the server does on the way."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from PIL import Image

from heie_hf.annotation.prompts import NO_REGIONS
from heie_hf.data import load
from heie_hf.processing.explanation_heie import Explanation, render
from tests.annotation.conftest import lines

ROOT = Path(__file__).resolve().parents[2]
BAD = "Here you are: the wheel in the red circle is missing."


def test_a_data_set_comes_out_that_reads_back(annotate, folder, tmp_path, model):
    status, summary, _ = annotate()
    assert status == 0
    assert (summary["images"], summary["texts"], summary["failed"]) == (12, 12, 0)
    assert summary["requests"] == 3 * 12 and summary["prompt_tokens"] == 100 * 36
    scenes, rows = load(folder), load(tmp_path / "out")
    assert rows["id"] == scenes["id"] and rows["score"] == scenes["score"]
    for scene, row in zip(scenes, rows, strict=True):
        assert np.array_equal(np.asarray(scene["image"]), np.asarray(row["image"]))
        assert np.array_equal(np.asarray(scene["heatmap"]), np.asarray(row["heatmap"]))
        is_clean = not np.asarray(scene["heatmap"]).any()
        assert (row["regions"] == NO_REGIONS) == is_clean and bool(row["defects"]) != is_clean
        for defect in row["defects"]:
            x0, y0, x1, y1 = map(int, defect["box"])
            mask = np.asarray(defect["mask"]) > 0
            assert mask[y0:y1, x0:x1].sum() == mask.sum() > 0 and defect["text"] in row["analysis"]
            assert np.asarray(scene["heatmap"])[mask].min() >= 0.2 * 255 - 1
    [two] = [row for row in rows if len(row["defects"]) == 2]
    texts = [defect["text"] for defect in two["defects"]]
    assert texts == ["Wheel: number 1 is missing.", "Wheel: number 2 is missing."]
    assert "(region" not in two["analysis"]
    card = (tmp_path / "out" / "README.md").read_text()
    assert "| Vision model | eye |" in card and "| Texts written | 12 |" in card and str(tmp_path) not in card


def test_a_second_run_asks_nothing(annotate, model, tmp_path):
    annotate()
    before, files = dict(model.asked), snapshot(tmp_path / "out")
    status, summary, _ = annotate()
    assert status == 0 and model.asked == before and summary["requests"] == 0 and summary["texts"] == 12
    assert summary["earlier_prompt_tokens"] == 100 * 36 and summary["prompt_tokens"] == 0
    after = snapshot(tmp_path / "out")
    changed = {name for name in files if files[name] != after[name]}
    assert changed == {"summary.json"}  # tells what the last run cost; the card what all runs did


def snapshot(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_several_texts_per_image_have_one_question_each(annotate, server, tmp_path):
    _, summary, _ = annotate("--samples", 3, "--max-images", 2)
    assert (summary["texts"], summary["requests"]) == (6, 2 + 2 * 3 * 2)
    records = lines(tmp_path / "out" / "records.jsonl")
    assert [record["sample"] for record in records] == [0, 1, 2] * 2
    temperatures = {body["temperature"] for body in server.bodies if body["max_tokens"] == 700}
    assert temperatures == {0.8}


def test_each_text_keeps_its_own_problems(annotate, model, tmp_path):
    """Several texts of an image share its id: the problems must not be joined by it."""
    texts = []
    for place in ("bent", "gone", "blurred"):
        texts.append(render(Explanation("A street.", "The wheel.", f"Wheel: it is {place}.")))
    model.replies["format"] = list(texts)
    annotate("--samples", 3, "--max-images", 1, "--concurrency", 1)
    rows = load(tmp_path / "out")
    assert len(set(rows["id"])) == 1 and len(set(rows["analysis"])) == 3
    for row in rows:
        [defect] = row["defects"]
        assert defect["text"] == row["analysis"]


def test_what_else_the_source_knows_stays(annotate, folder, tmp_path):
    records = lines(folder / "annotations.jsonl")
    for record in records:
        record |= {"prompt": "a street", "alignment_score": 0.25, "misalignment_heatmap": record["heatmap"]}
    write(folder, records)
    annotate("--max-images", 2)
    for scene, row in zip(load(folder), load(tmp_path / "out"), strict=False):
        assert (row["prompt"], row["alignment_score"]) == ("a street", 0.25)
        assert row["facts"] == scene["facts"] and row["facts"]["place"]
        assert np.array_equal(np.asarray(row["misalignment_heatmap"]), np.asarray(scene["heatmap"]))


def test_an_image_with_several_rows_is_annotated_once(annotate, folder, tmp_path):
    records = lines(folder / "annotations.jsonl")[:3]
    write(folder, [records[0], records[1], records[0], records[1], records[2]])
    status, summary, _ = annotate()
    assert status == 0 and (summary["images"], summary["texts"]) == (3, 3)
    assert [record["id"] for record in lines(tmp_path / "out" / "annotations.jsonl")] == [r["id"] for r in records]


def test_two_images_of_one_id_are_not_mixed_up(annotate, folder, tmp_path):
    records = lines(folder / "annotations.jsonl")[:2]
    records[1]["id"] = records[0]["id"]
    write(folder, records)
    status, summary, errors = annotate()
    assert status == 1 and summary["texts"] == 1 and "another image, or heatmap, has this id too" in errors


def test_a_heatmap_that_changed_is_drawn_anew(annotate, folder, tmp_path):
    annotate("--max-images", 1)
    [record, *_] = lines(folder / "annotations.jsonl")
    empty = Image.new("L", Image.open(folder / record["image"]).size)
    empty.save(folder / record["heatmap"])
    annotate("--max-images", 1)
    [row] = load(tmp_path / "out")
    assert not np.asarray(row["heatmap"]).any() and row["defects"] == []


def write(folder, records):
    (folder / "annotations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


def test_what_does_not_fit_is_sent_back_once_with_the_reason(annotate, server, model, tmp_path):
    model.replies["format"] = [BAD]
    status, summary, _ = annotate("--max-images", 3)
    assert status == 0 and summary["texts"] == 3 and model.asked["repair"] == summary["sent_back"] == 1
    [repair] = [body for body in server.bodies if len(body["messages"]) == 3]
    assert repair["messages"][1] == {"role": "assistant", "content": BAD}
    assert "[MAP] stands there 0 times" in repair["messages"][2]["content"]


def test_what_still_does_not_fit_is_listed_with_its_reason_and_the_rest_goes_on(annotate, model, tmp_path):
    model.replies["format"], model.replies["repair"] = [BAD], [BAD]
    status, summary, errors = annotate("--max-images", 3)
    assert status == 1 and (summary["texts"], summary["failed"]) == (2, 1)
    [failure] = lines(tmp_path / "out" / "failures.jsonl")
    assert failure["id"] == "s5-000000#0" or "#0" in failure["id"]
    assert "format: [MAP] stands there 0 times" in failure["reason"] and errors.count("#0: format") == 1
    assert len(load(tmp_path / "out")) == 2


def test_sensitive_pictures_and_refusals_are_excluded_and_listed(annotate, model, tmp_path):
    refusal = {"choices": [{"message": {"content": None, "refusal": "I will not."}, "finish_reason": "stop"}]}
    filtered = {"choices": [{"message": {"content": ""}, "finish_reason": "content_filter"}]}
    model.replies["filter"] = [
        '{"sensitive": true, "category": "politics"}',
        (200, json.dumps(refusal), {}),
        (200, json.dumps(filtered), {}),
    ]
    status, summary, _ = annotate("--max-images", 5, "--concurrency", 1)
    assert status == 0 and summary["excluded_by_category"] == {"politics": 1, "refused": 2} and summary["texts"] == 2
    excluded = lines(tmp_path / "out" / "excluded.jsonl")
    assert [row["category"] for row in excluded] == ["politics", "refused", "refused"]
    assert "- politics: 1" in (tmp_path / "out" / "README.md").read_text()


def test_a_server_without_structured_output_is_asked_in_words(annotate, server, model):
    def reply(content, count):
        if "response_format" in server.bodies[-1]:
            return 400, '{"error": "response_format is not supported"}', {}
        return model(content, count)

    server.reply = reply
    status, summary, _ = annotate("--max-images", 3, "--concurrency", 1)
    assert status == 0 and summary["texts"] == 3
    assert sum("response_format" in body for body in server.bodies) == 1  # it is remembered


def test_a_slow_server_has_several_questions_at_a_time_but_no_more_than_it_may(annotate, server, model):
    def reply(content, count):
        sleep(0.05)
        return model(content, count)

    server.reply = reply
    status, summary, _ = annotate("--concurrency", 3)
    assert status == 0 and summary["texts"] == 12 and 1 < server.most_under_way <= 3


def test_a_busy_server_is_waited_for(annotate, model, monkeypatch):
    monkeypatch.setattr("heie_hf.chat.client.sleep", lambda seconds: None)
    model.replies["free"] = [(429, "slow down", {"Retry-After": "2"}), (503, "", {}), (429, "again", {})]
    status, summary, _ = annotate("--max-images", 2)
    assert status == 0 and summary["texts"] == 2 and summary["requests"] == 6 + 3


def test_a_spent_quota_ends_the_run_in_one_line_and_it_goes_on_later(annotate, model):
    model.replies["format"] = [(429, '{"error": {"code": "insufficient_quota"}}', {})]
    status, summary, errors = annotate("--max-images", 4)
    assert status == 2 and summary is None and "insufficient_quota" in errors and errors.count("\n") == 2
    asked = dict(model.asked)
    status, summary, _ = annotate("--max-images", 4)
    assert status == 0 and summary["texts"] == 4
    assert model.asked["filter"] == asked["filter"] and model.asked["free"] == asked["free"] == 4


CUT = json.dumps({"choices": [{"message": {"content": "Half a"}, "finish_reason": "length"}]})


@pytest.mark.parametrize("reply", [(200, "nonsense", {}), (200, CUT, {})])
def test_nonsense_and_cut_answers_are_asked_again(annotate, model, monkeypatch, reply):
    monkeypatch.setattr("heie_hf.chat.client.sleep", lambda seconds: None)
    model.replies["free"] = [reply, reply]
    status, summary, _ = annotate("--max-images", 2)
    assert status == 0 and summary["texts"] == 2 and model.asked["free"] == 4


def test_a_budget_stops_the_run_and_more_of_it_goes_on(annotate, monkeypatch, tmp_path):
    monkeypatch.setattr("heie_hf.annotation.run.CHUNK", 2)
    status, summary, errors = annotate("--budget", 700)
    assert status == 1 and summary["over_budget"] and summary["texts"] == 4  # 309 tokens an image, two at a time
    assert "the budget is used up" in errors and "Not complete" in (tmp_path / "out" / "README.md").read_text()
    status, summary, _ = annotate("--budget", 10_000)
    assert status == 0 and summary["texts"] == 12 and summary["requests"] == 3 * 8


def test_a_dry_run_estimates_and_sends_nothing(annotate, server, tmp_path):
    status, estimate, _ = annotate("--dry-run", "--samples", 3)
    assert status == 0 and server.bodies == [] and not (tmp_path / "out").exists()
    assert (estimate["images"], estimate["calls"]) == (12, 12 * 7)
    assert estimate["prompt_tokens"] > 12 * 3 * 1000 and estimate["completion_tokens"] > 12 * 3 * 300


def test_the_estimate_is_told_before_the_first_call(annotate, server):
    server.reply = lambda content, count: (401, "no such key", {})
    status, _, errors = annotate("--samples", 3)
    first, second = errors.splitlines()
    assert re.fullmatch(r"heie: 12 images, about 84 calls, about [\d,]+ tokens", first)
    assert status == 2 and "401" in second


def test_two_models_with_keys_of_their_own(annotate, server, tmp_path, monkeypatch):
    monkeypatch.setenv("HEIE_VISION_API_KEY", "key-of-the-eye")
    monkeypatch.setenv("HEIE_TEXT_API_KEY", "key-of-the-pen")
    annotate("--max-images", 1, "--text-model", "pen", "--text-url", server.url)
    keys = {(body["model"], key) for body, key in zip(server.bodies, server.keys, strict=True)}
    assert keys == {("eye", "Bearer key-of-the-eye"), ("pen", "Bearer key-of-the-pen")}
    written = b"".join(snapshot(tmp_path / "out").values())
    assert b"key-of-the" not in written and b"base64" not in written


def test_a_run_that_was_killed_asks_nothing_twice(folder, server, model, tmp_path):
    """SIGKILL while stage 3 is under way."""
    command = [sys.executable, "-m", "heie_hf.cli", "annotate", "--dataset", folder, "--output-dir", tmp_path / "out"]
    command += ["--vision-model", "eye", "--vision-url", server.url, "--concurrency", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    process = None

    def reply(content, count):
        if model.asked["format"] == 5:
            process.send_signal(signal.SIGKILL)
        return model(content, count)

    server.reply = reply
    process = subprocess.Popen(list(map(str, command)), env=environment)
    process.wait()
    assert process.returncode == -signal.SIGKILL
    server.reply = model
    asked = dict(model.asked)
    done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["texts"] == 12
    assert (model.asked["filter"], model.asked["free"]) == (asked["filter"], asked["free"]) == (12, 12)
    assert model.asked["format"] <= 12 + 1  # the answer that was under way


def test_rows_without_a_heatmap_are_failures(annotate, folder, tmp_path):
    records = lines(folder / "annotations.jsonl")
    del records[0]["heatmap"]
    write(folder, records)
    status, summary, errors = annotate("--max-images", 2)
    assert status == 1 and summary["texts"] == 1 and "has no heatmap" in errors


@pytest.mark.parametrize(
    "options, reason",
    [
        (["--dataset", "nowhere"], "no data set"),
        (["--vision-url", "ftp://host"], "must look like http"),
        (["--samples", "0"], "samples"),
        (["--hint", "mos"], "--hint go with --task quality"),
        (["--task", "quality", "--samples", "2"], "do not go with --task quality"),
    ],
)
def test_mistakes_are_told_in_one_line(annotate, options, reason):
    status, _, errors = annotate(*options)
    assert status == 2 and reason in errors and errors.strip().count("\n") == 0
