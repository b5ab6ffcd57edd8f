import pytest

from heie_hf.evaluation.figures import FIGURES, NAMES
from heie_hf.evaluation.report.tables import issues, three_digits


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (0.0, "0"),
        (0.9375, "0.938"),
        (0.99996, "1.00"),
        (-0.25, "-0.250"),
        (0.001367, "0.00137"),
        (0.0000636, "0.0000636"),
        (3e-9, "3.00e-09"),
        (2.703, "2.70"),
        (9.999, "10.0"),
        (1234.5, "1230"),
    ],
)
def test_three_digits(value, text):
    assert three_digits(value) == text


def test_every_figure_and_count_has_a_readable_name(complete):
    counts = {name for name in complete.metrics if name.startswith("num_")}
    assert set(NAMES) == set(FIGURES) | counts


def test_issues_by_hand():
    samples = [
        {"issues_there": ["extra leg", "melted patch"], "issues_named": ["extra leg"]},
        {"issues_there": [], "issues_named": ["extra leg"]},
        {"issues_there": None, "issues_named": None},
    ]
    rows = {row.name: row.cells for row in issues(samples).rows}
    assert rows == {"extra leg": ["1", "2", "0.500", "1.00"], "melted patch": ["1", "0", "–", "0"]}
    assert issues(samples[2:]) is None
