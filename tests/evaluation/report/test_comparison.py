import pytest

from heie_hf.evaluation import load_samples
from heie_hf.evaluation.report.comparison import ablations, main_comparisons
from heie_hf.evaluation.report.paper import ABHUMAN, FUSION, RICHHF, SCORE_SOURCE, TEXT
from heie_hf.evaluation.results import summarize

RICHHF_TEST = {"dataset": "richhf18k", "root": "richhf", "split": "test"}


@pytest.fixture
def result(complete):
    """result(label, **run): the figures of `complete`, with other settings of the run."""

    def make(label="scenes", **run):
        samples = load_samples(complete.folder)
        return summarize(label, samples, [], complete.metrics["run"] | run, num_resamples=10)

    return make


def names(table):
    return [row.name for row in table.rows]


def test_printed_rows_have_a_value_or_a_gap_per_column():
    for table in (ABHUMAN, RICHHF, FUSION, SCORE_SOURCE, TEXT):
        assert all(len(row) == len(table.columns) for row in table.rows.values())


def test_a_run_on_the_papers_images_stands_in_its_table(result):
    [comparison] = main_comparisons([result("mine", **RICHHF_TEST)])
    [table] = comparison.tables
    assert names(table) == [*RICHHF.rows, "mine (this run, 6 images)"]
    assert [row.ours for row in table.rows] == [False] * 5 + [True]
    assert table.rows[3].cells[0] == "0.00825" and table.rows[3].cells[6] == "0.697"
    assert not comparison.other_images


@pytest.mark.parametrize(
    "run",
    [
        {},  # drawn scenes
        RICHHF_TEST | {"split": "train"},
        RICHHF_TEST | {"split": None},  # the data set's first: train
        RICHHF_TEST | {"dataset": "agiqa3k"},
        RICHHF_TEST | {"root": None},  # somebody's folder of that name
    ],
)
def test_other_images_have_a_table_of_their_own_beside_the_papers(result, run):
    for comparison in [*main_comparisons([result(**run)]), *ablations([result(**run)])]:
        own, printed = comparison.tables
        assert all(row.ours for row in own.rows) and not any(row.ours for row in printed.rows)
        assert own.caption.startswith("This run, ") and own.caption != printed.caption
        assert printed.caption == "The paper, RichHF-18K test (955 images)"
        assert comparison.other_images


def test_abhuman_has_its_own_printed_table(result):
    [comparison] = main_comparisons([result("abhuman", dataset="abhuman", root="abhuman", split="val")])
    assert names(comparison.tables[0]) == ["HEIE (InternVL2-8B)", "abhuman (this run, 6 images)"]


def test_results_of_several_data_sets_stand_apart(result):
    results = [result("mine", **RICHHF_TEST), result("scenes"), result("drawn", dataset="drawn")]
    [comparison] = main_comparisons(results)
    captions = [table.caption for table in comparison.tables]
    assert captions == ["This run, scenes", "This run, drawn", "The paper, RichHF-18K test (955 images)"]
    assert [row.name for table in comparison.tables for row in table.rows if row.ours] == [
        "scenes (this run, 6 images)",
        "drawn (this run, 6 images)",
        "mine (this run, 6 images)",
    ]


def test_ablations_have_the_rows_that_the_run_is_of(result):
    fusion, source, text = ablations([result("mine", **RICHHF_TEST, heatmap="reference")])
    assert names(fusion.tables[0])[-1] == "uncertainty: mine (this run)"
    assert names(text.tables[0])[-1] == "generated: mine (this run)"
    kinds = ["token", "reference heatmap", "token and reference heatmap"]
    assert names(source.tables[0])[-3:] == [f"{kind}: mine (this run)" for kind in kinds]
    metrics = result().metrics
    assert source.tables[0].rows[-2].cells[0] == f"{metrics['plcc_map']:.3g}"
