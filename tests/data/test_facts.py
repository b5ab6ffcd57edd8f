"""What is true of a scene, and what is read out of texts."""

import json

import pytest

from heie_hf.data import load
from heie_hf.data.synthetic import draw_scene, synthesize
from heie_hf.data.synthetic.facts import COLORS, NOUNS, PLACES, Facts, ObjectFact, read_facts


def facts(*objects, places=()):
    return Facts(tuple(ObjectFact(*item) for item in objects), places)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", facts()),
        ("Something looks wrong, I cannot say what.", facts()),
        ("A red car in the snow.", facts(("car", "red"), places=("in the snow",))),
        (
            "An old photograph shows one shiny red car, parked, in deep snow.",
            facts(("car", "red"), places=("in the snow",)),
        ),
        (
            "A red car and a blue car on a city street.",
            facts(("car", "red"), ("car", "blue"), places=("on a city street",)),
        ),
        ("We see a close view of a woman in an orange shirt.", facts(("woman", "orange"))),
        (
            "A boy in gray, a raised hand and a wooden chair.",
            facts(("boy", "gray"), ("hand", None), ("chair", "wooden")),
        ),
        ("A raised hand in a pink sleeve.", facts(("hand", "pink"))),
        ("A round white clock, a dog.", facts(("clock", "white"), ("dog", None))),
        ("A dog in a green park.", facts(("dog", None), places=("in a green park",))),  # the park is green
        ("A dog in a green box.", facts(("dog", None))),
        ("A red and blue car.", facts(("car", "blue"))),
        ("A red blue car.", facts(("car", "red blue"))),  # contradiction
        ("A green man in a red shirt.", facts(("man", "green red"))),
        ("A car in the snow in a desert.", facts(("car", None), places=("in a desert", "in the snow"))),
        ("The orange is no carpet.", facts()),
    ],
)
def test_facts_by_hand(text, expected):
    assert read_facts(text) == expected


def test_a_text_that_says_everything():
    read = read_facts(f"a {' '.join(COLORS)} {', a '.join(NOUNS)} {' '.join(PLACES)}")
    assert {item.noun for item in read.objects} == NOUNS and read.places == PLACES
    assert set(read.objects[0].color.split()) == COLORS


@pytest.mark.parametrize("unseen", [False, True])
def test_the_description_of_a_scene_says_what_is_true_of_it(unseen):
    for index in range(30):
        scene = draw_scene(77, index, unseen)
        read = read_facts(scene.description)
        assert [item.noun for item in read.objects] == [item["noun"] for item in scene.facts["objects"]]
        assert [item.color for item in read.objects] == [item["color"] for item in scene.facts["objects"]]
        assert read.places == (scene.facts["place"],)
        close_views = [item for item in scene.facts["objects"] if item["close_view"]]
        assert bool(close_views) >= ("close view" in scene.description)
        assert [issue["kind"] for issue in scene.facts["issues"]] == [defect.kind for defect in scene.defects]


def test_facts_are_written_beside_the_annotations_and_read_again(tmp_path):
    folder = synthesize(3, 11, tmp_path / "scenes").parent
    lines = [json.loads(line) for line in (folder / "facts.jsonl").read_text().splitlines()]
    drawn = [draw_scene(11, index).facts for index in range(3)]
    assert [line["facts"] for line in lines] == drawn
    assert [row["facts"] for row in load(folder)] == drawn
    assert [row["facts"] for row in load("synthetic", num_images=3, seed=11)] == drawn
    (folder / "facts.jsonl").unlink()
    assert [row["facts"] for row in load(folder)] == [None] * 3


def test_facts_that_are_no_object_are_a_bad_row(tmp_path):
    folder = synthesize(2, 11, tmp_path / "scenes").parent
    lines = (folder / "facts.jsonl").read_text().splitlines()
    identity = json.loads(lines[0])["id"]
    (folder / "facts.jsonl").write_text(json.dumps({"id": identity, "facts": "a car"}) + "\n" + lines[1])
    bad = []
    rows = load(folder, on_bad_row=lambda *place_and_reason: bad.append(place_and_reason))
    assert len(rows) == 1 and bad[0][1] == "facts is not an object"
