"""Answers are checked: form, leaks of the visual prompt, numbers of regions, the filter's verdict."""

import pytest

from heie_hf.annotation.checks import check_format, parse_filter
from heie_hf.annotation.prompts import EXAMPLE, EXAMPLE_WITH_REGIONS, NO_REGIONS
from heie_hf.processing.explanation_heie import Explanation, parse, render


def test_the_examples_in_the_prompts_pass_their_own_check():
    assert check_format(EXAMPLE, 1).problems == [] and check_format(EXAMPLE, 1).regions == [1, 1]
    formatted = check_format(EXAMPLE_WITH_REGIONS, 2)
    assert formatted.problems == [] and formatted.regions == [1, 2]
    assert formatted.explanation == parse(EXAMPLE)


def test_published_texts_pass(expl_aigi_eval):
    """Most of the released texts: 2 % speak of the markings, as ours must not, and some do not have the form."""
    import json

    lines = (expl_aigi_eval / "RichHF-18K_test.jsonl").read_text().splitlines()
    flawed = []
    for line in lines:
        text = json.loads(line)["conversations"][1]["value"]
        clean = NO_REGIONS in text
        flawed += [(text, problem) for problem in check_format(text, 0 if clean else 1).problems]
    leaks = [problem for _, problem in flawed if "markings" in problem]
    assert len(lines) == 955 and len(leaks) <= 0.025 * len(lines), leaks
    assert len(flawed) < 0.05 * len(lines)


@pytest.mark.parametrize(
    "text, num_regions, problem",
    [
        ("I cannot help with that.", 1, "[MAP] stands there 0 times"),
        (EXAMPLE.replace("[SCORE]", "0.4"), 1, "[SCORE] stands there 0 times"),
        (EXAMPLE.replace("[MAP]", "[MAP] [MAP]"), 1, "[MAP] stands there 2 times"),
        (render(Explanation("A dog.", "", "Leg: too long.")), 1, "the section for the regions is missing"),
        (render(Explanation("A dog in a red circle.", "The leg.", "Leg: too long.")), 1, '"red circle" speaks'),
        (render(Explanation("A dog.", "The outlined area.", "Leg: too long.")), 1, '"outlined area" speaks'),
        (render(Explanation("A dog.", "The leg.", "Leg: within the contour it bends.")), 1, '"within the contour"'),
        (render(Explanation("A dog.", "Region 1.", "Leg: too long.")), 1, '"Region 1" speaks'),
        (render(Explanation("A dog.", NO_REGIONS, "Leg: too long.")), 1, "it names no problematic region"),
        (render(Explanation("A dog.", "The leg.", "All is well.")), 0, "nothing is wrong with the picture"),
        (EXAMPLE, 2, "does not end with the number of its region"),
        (EXAMPLE_WITH_REGIONS.replace("region 2", "region 3"), 2, "no region 3"),
    ],
)
def test_what_does_not_fit_is_said_in_words(text, num_regions, problem):
    problems = check_format(text, num_regions).problems
    assert any(problem in each for each in problems), problems


def test_ordinary_words_are_no_leaks():
    text = "Her red lips and the red lines of the flag. Marked wrinkles, blurry contours, the outline of a box."
    assert check_format(render(Explanation("A dog.", "The leg.", text)), 1).problems == []


@pytest.mark.parametrize(
    "answer, category",
    [
        ('{"sensitive": false, "category": "none"}', "none"),
        ('Sure:\n```json\n{"sensitive": true, "category": "privacy"}\n```', "privacy"),
        ('{"sensitive": true, "category": "none"}', "not named"),
    ],
)
def test_the_filters_verdict(answer, category):
    assert parse_filter(answer) == category


NO_VERDICTS = [
    "no",
    "{}",
    '{"sensitive": "no", "category": "none"}',
    '{"sensitive": true, "category": "x"}',
    "{]}",
]


@pytest.mark.parametrize("answer", NO_VERDICTS)
def test_no_verdict_is_an_error(answer):
    with pytest.raises(ValueError):
        parse_filter(answer)
