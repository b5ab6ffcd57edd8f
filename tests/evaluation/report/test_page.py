import re
from html import unescape
from html.parser import HTMLParser

import pytest

from heie_hf.evaluation import load_samples
from heie_hf.evaluation.report.cases import choose_cases
from heie_hf.evaluation.report.charts import calibration_bins, scatter
from heie_hf.evaluation.report.paper import ABHUMAN, FUSION, RICHHF, SCORE_SOURCE, TEXT, main_table


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.open, self.seen, self.links = [], [], []

    def handle_starttag(self, tag, attributes):
        self.seen.append(tag)
        self.links += [value for name, value in attributes if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(complete):
    return (complete.folder / "report.html").read_text()


def test_every_section_is_there(page):
    headings = re.findall("<h2>(.*?)</h2>", unescape(page))
    assert headings == [
        "This run",
        "The paper's table: RichHF-18K test (955 images)",
        "Figures with 95 % intervals",
        "The paper's ablations",
        "Scores",
        "Heatmaps",
        "Explanations",
        "Worst and best cases",
        "Failures",
        "Definitions",
    ]


def test_the_run_stands_in_the_papers_table(page, complete):
    row = re.search(r'<tr class="ours"><td>scenes \(this run, 6 images\)</td>(.*?)</tr>', page).group(1)
    cells = re.findall("<td>(.*?)</td>", row)
    assert cells[0] == f"{complete.metrics['mse']:.5f}" and cells[6] == f"{complete.metrics['plcc']:.3f}"
    assert "<td>HEIE (InternVL2-8B)</td><td>0.00825</td>" in page


def test_the_page_is_well_formed_and_needs_no_other_file(page):
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert "script" not in tags.seen and "link" not in tags.seen
    assert tags.links and all(link.startswith("data:image/jpeg;base64,") for link in tags.links)
    assert tags.seen.count("svg") == 4


def test_text_of_a_model_is_not_taken_for_markup(complete, data, tmp_path):
    from heie_hf.evaluation.report.page import single_report
    from heie_hf.evaluation.results import summarize
    from heie_hf.evaluation.store import PredictionStore

    samples = [sample | {"analysis": "<script>alert(1)</script>"} for sample in load_samples(complete.folder)]
    result = summarize("a<b", samples, [("x<y", "broken & gone")], complete.metrics["run"], num_resamples=10)
    store = PredictionStore(complete.folder / "predictions" / "scenes-generated")
    page = single_report(result, data, store)
    assert "<script>" not in page and "&lt;script&gt;" in page and "<td>x&lt;y</td><td>broken &amp; gone</td>" in page


def test_cases_are_the_extremes():
    def sample(key, cc, mse, gt_sum, score, target):
        return {"key": key, "cc": cc, "mse": mse, "gt_sum": gt_sum, "score": score, "target_score": target}

    samples = [
        sample("a", 0.9, 0.1, 5, 0.5, 0.5),
        sample("b", 0.1, 0.1, 5, 0.5, 0.9),
        sample("c", None, 0.3, 0, 0.5, None),
        sample("d", None, 0.4, 0, 0.5, 0.4),
    ]
    chosen = [[s["key"] for s in cases] for cases in choose_cases(samples, 2).values()]
    assert chosen == [["b", "a"], ["a", "b"], ["d", "c"], ["b", "d"]]


def test_calibration_bins_by_hand():
    bins = calibration_bins([0.05, 0.31, 0.39, 1.0], [0.5, 0.2, 0.4, 0.9])
    assert [count for *_, count in bins] == [1, 2, 1]
    assert bins[1][:3] == pytest.approx((0.35, 0.3, 0.1))
    assert bins[2][:3] == pytest.approx((1.0, 0.9, 0.0))


def test_a_dot_per_image():
    assert scatter([0, 1], [0.5, 1], "x", "y").count("<circle") == 2


def test_printed_rows_have_a_value_or_a_gap_per_column():
    assert main_table("abhuman") is ABHUMAN and main_table("scenes") is RICHHF
    for table in (ABHUMAN, RICHHF, FUSION, SCORE_SOURCE, TEXT):
        assert all(len(row) == len(table.columns) for row in table.rows.values())
