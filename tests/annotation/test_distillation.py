"""`heie annotate --task quality`: M3-AGIQA's conversations, from a loopback server's answers."""

import json

import pytest
from PIL import Image

from heie_hf.annotation import read_conversations
from heie_hf.annotation.aspects import label, parse_answer, rating_problem
from heie_hf.cli import main
from tests.annotation.conftest import lines

TEXTS = {
    "quality": "Sharp, with a clean outline. The background is a little soft.",
    "correspondence": "It shows the 2 dogs of the description, but no cat.",
    "authenticity": "Like a photograph, but for the fur.",
}


@pytest.fixture
def images(tmp_path):
    """Six images whose opinion scores are at the fifths; one without a prompt, one without an authenticity."""
    folder = tmp_path / "rated"
    folder.mkdir()
    records = []
    for number in range(6):
        Image.new("RGB", (64, 48), (40 * number, 90, 0)).save(folder / f"{number}.png")
        opinion = number / 5
        record = {"id": f"picture {number}", "image": f"{number}.png", "prompt": f"{number} dogs", "score": opinion}
        records.append(record | {"overall_score": opinion, "alignment_score": 1 - opinion})
    del records[4]["prompt"], records[5]["score"]
    (folder / "annotations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return folder


@pytest.fixture
def distil(images, server, tmp_path, capsys):
    """distil(options ...) -> exit status, the JSON line (None without), stderr."""
    server.reply = teacher

    def run(*options):
        arguments = ["annotate", "--task", "quality", "--dataset", images, "--output-dir", tmp_path / "out"]
        arguments += ["--vision-model", "eye", "--vision-url", server.url, *options]
        with pytest.raises(SystemExit) as exit:
            main(list(map(str, arguments)))
        captured = capsys.readouterr()
        return exit.value.code or 0, json.loads(captured.out) if captured.out else None, captured.err

    return run


def asked_aspects(content):
    return json.loads(content[0]["text"].splitlines()[-1])


def teacher(content, count):
    return json.dumps({aspect: TEXTS[aspect] for aspect in asked_aspects(content)})


def test_conversations_come_out_and_read_back(distil, server, tmp_path):
    status, summary, errors = distil()
    assert status == 1 and (summary["texts"], summary["failed"], summary["requests"]) == (16, 2, 6)
    assert "picture 4#correspondence: has no prompt" in errors and "picture 5#authenticity: has no opinion" in errors
    out = tmp_path / "out"
    rows = {aspect: read_conversations(out / f"{aspect}.json") for aspect in TEXTS}
    assert [row["label"] for row in rows["quality"]] == ["bad", "poor", "fair", "good", "excellent", "excellent"]
    assert [row["label"] for row in rows["correspondence"]] == ["excellent", "excellent", "good", "fair", "bad"]
    assert len(rows["authenticity"]) == 5
    for aspect in TEXTS:
        for row in rows[aspect]:
            assert row["description"] == TEXTS[aspect]
            assert row["question"].startswith("<image>\n") and aspect in row["question"]
            assert Image.open(out / row["image"]).size == (64, 48)
    assert '"0 dogs"' in rows["quality"][0]["question"] and "description" not in rows["quality"][4]["question"]
    item = json.loads((out / "quality.json").read_text())[0]
    assert [turn["role"] for turn in item["conversations"]] == ["user", "assistant", "user", "assistant"]
    card = (out / "README.md").read_text()
    assert "(`hint`) | none |" in card and "| Texts | 16 |" in card and "leak the label" not in card
    assert not any("People rated it" in body["messages"][0]["content"][0]["text"] for body in server.bodies)
    num_asked = len(server.bodies)
    distil()
    assert len(server.bodies) == num_asked


def test_the_hint_tells_the_ratings_and_the_card_says_so(distil, server, tmp_path):
    distil("--hint", "mos", "--aspects", "quality,authenticity", "--max-images", 3)
    asked = [body["messages"][0]["content"][0]["text"] for body in server.bodies]
    assert all("from 0 (worst) to 5 (best): quality" in text for text in asked)
    assert any("quality 2.0, authenticity 2.0" in text for text in asked)
    assert "leak the label" in (tmp_path / "out" / "README.md").read_text()
    assert sorted(path.name for path in (tmp_path / "out").glob("*.json")) == [
        "authenticity.json",
        "quality.json",
        "summary.json",
    ]


def test_texts_that_tell_a_rating_are_sent_back_once(distil, server, tmp_path):
    def reply(content, count):
        if isinstance(content, str):  # the repair
            return json.dumps({"quality": "Still a 4.5." if "4.0" in content else TEXTS["quality"]})
        if '"1 dogs"' in content[0]["text"]:
            return json.dumps({"quality": "Sharp: 3.5 out of 5."})
        if '"2 dogs"' in content[0]["text"]:
            return json.dumps({"quality": "A quality of 4.0."})
        return teacher(content, count)

    server.reply = reply
    status, summary, errors = distil("--aspects", "quality", "--max-images", 4)
    assert status == 1 and (summary["texts"], summary["sent_back"], summary["failed"]) == (3, 2, 1)
    [repair, _] = [body for body in server.bodies if len(body["messages"]) == 3]
    assert "tells a rating. Write the whole answer again" in repair["messages"][2]["content"]
    [failure] = lines(tmp_path / "out" / "failures.jsonl")
    assert failure == {"id": "picture 2#quality", "reason": '"4.5" tells a rating'}


def test_nonsense_ends_as_listed_failures(distil, server, monkeypatch, tmp_path):
    monkeypatch.setattr("heie_hf.chat.client.sleep", lambda seconds: None)
    server.reply = lambda content, count: '{"quality": "cut'
    status, summary, _ = distil("--aspects", "quality", "--max-images", 2)
    assert status == 1 and (summary["texts"], summary["failed"]) == (0, 2)
    assert read_conversations(tmp_path / "out" / "quality.json") == []


def test_a_dry_run_estimates(distil, server):
    status, estimate, _ = distil("--dry-run")
    assert status == 0 and estimate["calls"] == 6 and server.bodies == []


def test_aspects_that_nobody_rated_are_refused(distil):
    status, _, errors = distil("--aspects", "quality,beauty")
    assert status == 2 and "none on 'beauty'" in errors


@pytest.mark.parametrize(
    "answer",
    [
        json.dumps(TEXTS),
        f"Sure:\n```json\n{json.dumps(TEXTS, indent=1)}\n```",
        json.dumps(TEXTS).replace(". The", ".\nThe"),
        "\n\n".join(f"{aspect.title()}: {text}" for aspect, text in TEXTS.items()),
        "\n".join(f"**{aspect}**: {text}" for aspect, text in TEXTS.items()),
    ],
)
def test_answers_in_all_the_forms_that_models_give(answer):
    assert parse_answer(answer, list(TEXTS)) == TEXTS


@pytest.mark.parametrize("answer", ["", "No.", '{"quality": ""}', '{"quality": 3}', '{"quality": "x" }" }', "[]", "{"])
def test_answers_without_a_text_are_errors(answer):
    with pytest.raises(ValueError):
        parse_answer(answer, list(TEXTS))


def test_one_aspect_in_plain_words():
    assert parse_answer(" Sharp\nand clean. ", ["quality"]) == {"quality": "Sharp and clean."}
    with pytest.raises(ValueError):
        parse_answer('Sharp and clean." }', ["quality"])


@pytest.mark.parametrize("text", ["a score of", "rated", "3.5", "4/5", "4 out of 5", "80 %", "4 stars", "The MOS"])
def test_what_tells_a_rating(text):
    assert rating_problem(f"It is {text} here.")


@pytest.mark.parametrize(
    "text", ["3 dogs", "in 1920", "excellent", "a separate 3D shape", "narrated", "at 10 o'clock"]
)
def test_what_does_not(text):
    assert rating_problem(f"It is {text} here.") is None


def test_labels_are_fifths():
    assert [label(score) for score in (0, 0.1999, 0.2, 0.4, 0.6, 0.8, 1)] == [
        "bad",
        "bad",
        "poor",
        "fair",
        "good",
        "excellent",
        "excellent",
    ]


@pytest.mark.parametrize(
    "content, reason",
    [
        ("{}", "is not a list"),
        ("[", "is not JSON"),
        ('[{"id": "1"}]', "item 1 is no conversation"),
        ('[{"id": "1", "image": "a", "conversations": [{"content": "x"}]}]', "item 1 is no conversation"),
    ],
)
def test_files_of_another_kind_are_refused_by_item(tmp_path, content, reason):
    path = tmp_path / "other.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=reason):
        read_conversations(path)
