"""The chain of thought as text, on texts of our own and on every published one."""

import json
import re

import pytest

from heie_hf.processing.explanation_heie import (
    TEMPLATE,
    Explanation,
    collapse_map_tokens,
    literals,
    parse,
    render,
    special_tokens,
)

DOG = Explanation("A dog.\nIt sits.", "1. the leg\n2. the tail", "The leg is melted.")
DOG_TEXT = (
    "Sure. \n### Image Description\nA dog.\nIt sits.\n\n"
    "### Problematic Regions Identification\n1. the leg\n2. the tail\n"
    "So, the potential problematic regions in the image are [MAP]\n\n"
    "### Analysis of Issues\nThe leg is melted.\n"
    "Based on the overall analysis, the plausibility score for this image is [SCORE]."
)


def test_stored_form():
    assert render(DOG) == DOG_TEXT
    assert parse(DOG_TEXT) == DOG


@pytest.mark.parametrize(
    "old, new",
    [
        ("Description\n", "Description:\n"),
        ("Analysis of Issues\n", "Analysis of Issues  \n"),
        ("Identification\n", "Identification : \n\n"),
        ("tail\nSo, the", "tail.So, the"),
        ("sits.\n\n###", "sits. \n###"),
        ("A dog.\nIt", "A dog. \n \n\nIt"),
        ("### Analysis", "#### Analysis"),
        ("[MAP]", "[MAP][MAP_1][MAP_2]"),
        ("[MAP]", "[MAP] [MAP_1] [MAP_2]"),
        ("Sure. \n", ""),
        (" [SCORE].", " [SCORE].<|im_end|>"),
    ],
)
def test_variants_parse_alike(old, new):
    variant = DOG_TEXT.replace(old, new)
    assert variant != DOG_TEXT
    assert parse(variant) == Explanation(DOG.description, DOG.regions + "." * ("tail." in new), DOG.analysis)


@pytest.mark.parametrize("nothing", ["N/A", "No obvious problematic regions found."])
def test_what_says_that_nothing_is_wrong_is_kept(nothing):
    assert parse(render(Explanation("A dog.", nothing, "N/A"))) == Explanation("A dog.", nothing, "N/A")


@pytest.mark.parametrize(
    "text, expected",
    [
        ("", Explanation()),
        ("I cannot see the image.", Explanation()),
        ("Sure. \n### Image Description\nA do", Explanation("A do")),
        (DOG_TEXT[: DOG_TEXT.index("the tail")], Explanation(DOG.description, "1. the leg\n2.")),
        (DOG_TEXT[: DOG_TEXT.index("The leg is")], Explanation(DOG.description, DOG.regions)),
        (DOG_TEXT[DOG_TEXT.index("### Analysis") :], Explanation(analysis=DOG.analysis)),
        (render(Explanation()), Explanation()),
    ],
)
def test_missing_sections_are_empty(text, expected):
    assert parse(text) == expected


def test_the_first_of_repeated_sections_counts():
    assert parse(DOG_TEXT + "\n### Image Description\nA cat.") == DOG


def test_an_explanation_is_tidy_and_knows_whether_it_says_anything():
    assert Explanation(" A dog. \r\n\r\n  It sits.\t\n", None) == Explanation("A dog.\n  It sits.", "")
    assert Explanation(analysis="N/A") and not Explanation(" \n")


def test_literals_surround_the_sections():
    assert "".join(literals(0)) == render(Explanation())
    assert literals(2)[2] == (
        "\nSo, the potential problematic regions in the image are [MAP][MAP_1][MAP_2]\n\n### Analysis of Issues\n"
    )
    assert "".join(TEMPLATE) == "".join(literals(0)).replace("[MAP]", "").replace("[SCORE]", "")


@pytest.mark.parametrize("separator", ["", " "])
def test_a_run_of_map_tokens_is_stored_as_one(separator):
    generated = DOG_TEXT.replace("[MAP]", separator.join(["[MAP]", "[MAP_1]", "[MAP_12]"]))
    assert collapse_map_tokens(generated) == DOG_TEXT == collapse_map_tokens(DOG_TEXT)


def test_names_of_the_special_tokens():
    assert special_tokens(2) == {
        "map_token": "[MAP]",
        "map_1_token": "[MAP_1]",
        "map_2_token": "[MAP_2]",
        "score_token": "[SCORE]",
    }


@pytest.mark.parametrize("split, count, unchanged", [("dev", 995, 854), ("test", 955, 839)])
def test_every_published_text(expl_aigi_eval, split, count, unchanged):
    with open(expl_aigi_eval / f"RichHF-18K_{split}.jsonl", encoding="utf-8") as lines:
        texts = [json.loads(line)["conversations"][1]["value"] for line in lines]
    assert len(texts) == count
    remnant = re.compile(
        r"#|^:|\[MAP|\[SCORE|Image Description|Regions Ident|Analysis of|So, the pot|Based on the over"
    )
    for text in texts:
        explanation = parse(text)
        for section in (explanation.description, explanation.regions, explanation.analysis):
            assert section and section in _tidy_lines(text) and not remnant.search(section)
        rendered = render(explanation)
        assert parse(rendered) == explanation
        assert _without_colons_and_blanks(rendered) == _without_colons_and_blanks(text)
    assert sum(render(parse(text)) == text for text in texts) == unchanged


def _tidy_lines(text):
    return re.sub(r"\s*\n", "\n", text)


def _without_colons_and_blanks(text):
    return re.sub(r"\s+", "", re.sub(r"(?m)^(###[^:\n]*):\s*$", r"\1", text))
