"""Whether texts are true, and what the texts of other images give."""

import numpy as np
import pytest

from heie_hf.data.synthetic import synthesize
from heie_hf.evaluation import compare_results, load_samples, read_data
from heie_hf.evaluation.text_truth import add_shuffled, partners, text_figures

FACTS = {
    "objects": [
        {"noun": "car", "color": "red", "close_view": False},
        {"noun": "dog", "color": "brown", "close_view": False},
    ],
    "place": "in the snow",
    "issues": [],
}
FACT_FIGURES = ("description_objects", "description_colors", "description_place", "description_facts")


def figures_of(description, facts=FACTS, defects=None):
    texts = {"description": description, "regions": "", "analysis": "- Wheel of the car: one wheel is missing."}
    return text_figures({"facts": facts, "defects": defects}, texts)


@pytest.mark.parametrize(
    ("description", "objects", "colors", "place"),
    [
        ("A red car and a brown dog in the snow.", 1, 1, 1),
        ("", 0, 0, 0),
        ("A blue car and a brown cat in the snow.", 1 / 2, 1 / 2, 1),
        ("A brown car and a red dog in a desert.", 1, 0, 0),
        ("A red car, a red car and a brown dog in the snow, on the moon.", 2 / 3, 2 / 3, 0),
    ],
)
def test_facts_by_hand(description, objects, colors, place):
    figures = figures_of(description)
    mean = (objects + colors + place) / 3
    assert [figures[name] for name in FACT_FIGURES] == pytest.approx([objects, colors, place, mean])


def test_what_is_not_known_is_no_figure():
    assert figures_of("A red car.", facts=None) == {}
    colourless = FACTS | {"objects": [{"noun": "hand", "color": None, "close_view": False}]}
    figures = figures_of("A raised hand in the snow.", facts=colourless)
    assert [figures[name] for name in FACT_FIGURES] == [1, None, 1, 1]
    assert (
        text_figures({"facts": FACTS, "defects": []}, dict.fromkeys(("description", "regions", "analysis"), "")) == {}
    )


def test_issues_by_hand():
    figures = figures_of("A car.", facts=None, defects=[{"kind": "missing wheel"}, {"kind": "melted patch"}])
    assert (figures["hits"], figures["false_alarms"], figures["misses"]) == (1, 0, 1)
    assert figures_of("A car.", facts=None, defects=[{"kind": "something else"}]) == {}


@pytest.mark.parametrize("number", [2, 3, 10, 1001])
def test_everybody_gets_the_text_of_another(number):
    others = partners(number)
    assert sorted(others) == list(range(number)) and others == partners(number)
    assert all(other != own for own, other in enumerate(others))


@pytest.fixture
def told(complete, scenes):
    """The complete evaluation as if the model had written the reference texts: data and samples."""
    data = read_data(str(scenes))
    samples = load_samples(complete.folder)
    for sample in samples:
        row = data.rows[sample["row"]]
        sample |= {name: row[name] for name in ("description", "regions", "analysis")}
        sample |= text_figures(row, sample)
    return data, samples


def test_the_reference_texts_are_true_and_those_of_others_are_not(told):
    data, samples = told
    for sample, shuffled in zip(samples, add_shuffled(data, samples), strict=True):
        assert sample["description_facts"] == 1 and sample["false_alarms"] == sample["misses"] == 0
        assert shuffled["description_facts_shuffled"] < 1
        num_issues = sample["hits"]
        assert shuffled["hits_shuffled"] + shuffled["misses_shuffled"] == num_issues
    assert add_shuffled(data, samples[:1]) == [{}]


def test_the_figures_stand_in_metrics_samples_and_report(complete):
    samples = load_samples(complete.folder)
    assert complete.metrics["num_fact_images"] == 6
    page = (complete.folder / "report.html").read_text()
    for name in (*FACT_FIGURES, *(f"{name}_shuffled" for name in FACT_FIGURES)):
        known = [sample[name] for sample in samples if sample[name] is not None]
        assert complete.metrics[name] == pytest.approx(np.mean(known)), name
        low, high = complete.metrics["intervals"][name]
        assert low <= complete.metrics[name] <= high
    hits = sum(sample["hits_shuffled"] for sample in samples)
    wrong = sum(sample["false_alarms_shuffled"] + sample["misses_shuffled"] for sample in samples)
    assert complete.metrics["issue_f1_shuffled"] == pytest.approx(2 * hits / (2 * hits + wrong))
    assert page.index("Description, facts said rightly") < page.index("ROUGE-L")
    assert "texts of other images" in page


def test_chance_has_no_verdict(complete):
    differences, _ = compare_results(complete.folder, complete.folder)
    figures = {difference.figure for difference in differences}
    assert "description_colors" in figures and not any(name.endswith("_shuffled") for name in figures)


def test_data_without_facts_have_no_such_figures(run, tmp_path):
    folder = tmp_path / "scenes"
    synthesize(3, 11, folder)
    (folder / "facts.jsonl").unlink()
    metrics = run(data=read_data(str(folder))).metrics
    for name in FACT_FIGURES:
        assert metrics[name] is metrics[f"{name}_shuffled"] is None
    assert metrics["num_fact_images"] == 0 and metrics["num_issue_images"] == 3
