import re
from pathlib import Path

import pytest
from PIL import Image

from heie_hf.data.synthetic import synthesize
from heie_hf.evaluation import EvaluatedModel, EvaluationData, evaluate, read_data
from heie_hf.evaluation.data import open_image
from heie_hf.evaluation.report.tables import three_digits
from tests.evaluation.report.html_page import Page

HOSTILE = "<script>alert(1)</script>"
NOTICE = "This model knows drawings only."


@pytest.fixture
def hostile(data, run, tmp_path):
    """Folder of a result whose ids and texts are markup."""
    texts = {"id": f'"{HOSTILE}', "description": f"'{HOSTILE}", "analysis": f"</p></details>{HOSTILE}"}
    rows = data.rows.select([0, 3]).map(lambda row: texts)
    run(data=EvaluationData(f"a<b>{HOSTILE}", rows, data.source, [("x<y", "broken & gone")]), text="none")
    return tmp_path / "out"


def test_the_page_is_well_formed_and_needs_nothing_but_its_pictures(page, complete):
    assert page.open == []
    assert not page.all("link")
    assert [script.get("src") for script in page.all("script")] == [None]
    sources = [image["src"] for image in page.all("img")]
    beside = [source for source in sources if not source.startswith("data:image/jpeg;base64,")]
    assert beside == [f"report/{row:06d}.jpg" for row in range(6)]
    assert sorted(path.name for path in (complete.folder / "report").iterdir()) == sorted(
        Path(source).name for source in beside
    )
    [policy] = [meta["content"] for meta in page.all("meta") if "http-equiv" in meta]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy


def test_pictures_have_descriptions_and_controls_have_labels(page):
    assert all(image["alt"] for image in page.all("img"))
    assert all(svg["role"] == "img" and svg["aria-label"] for svg in page.all("svg"))
    assert len(page.all("label")) == len(page.all("select")) + len(page.all("input")) == 3
    assert page.all("html") == [{"lang": "en"}]


def test_the_headline_comes_first_with_three_digits_and_intervals(page, complete):
    text = page.text
    cc, (low, high) = complete.metrics["cc"], complete.metrics["intervals"]["cc"]
    assert f"CC {three_digits(cc)} [{three_digits(low)}, {three_digits(high)}] higher is better" in text
    html = (complete.folder / "report.html").read_text()
    assert re.findall("<h2>(.*?)</h2>", html) == [
        "Beside the paper",
        "Charts",
        "Worst and best cases",
        "All images",
        "All figures",
        "Failures",
        "Settings",
    ]
    assert html.index('<dl class="headline">') < html.index("<h2>")


def test_what_the_weights_know_stands_on_top(data, make_tiny_model, tiny_processor, tmp_path):
    model = make_tiny_model(training_data_notice=NOTICE)
    settings = {"text": "none", "batch_size": 3, "num_workers": 0}
    pair = evaluate(
        data,
        EvaluatedModel("tiny", lambda: (model, tiny_processor)),
        tmp_path,
        fusions=["local", "global"],
        **settings,
    )
    assert [result.metrics["run"]["notice"] for result in pair] == [NOTICE, NOTICE]
    for path in (tmp_path / "local" / "report.html", tmp_path / "report.html"):
        html = path.read_text()
        assert html.count(NOTICE) == 1
        assert html.index("<h1>") < html.index(NOTICE) < html.index("<section")


def test_figures_have_readable_names(page):
    assert "MSE GT=0 ↓" in page.text and "PLCC, token alone ↑" in page.text and "Perplexity, generated" in page.text
    assert not re.search(r"\b(mse_gt0|auc_judd|plcc_token|num_gt0|issue_f1)\b", page.text.split("This run")[0])
    assert re.search("Not measured, as the data or the command do not give it: .*BERTScore; Judge's rating", page.text)


def test_markup_in_ids_and_texts_is_text(hostile):
    html = (hostile / "report.html").read_text()
    page = Page(html)
    assert page.open == []
    assert HOSTILE not in html and len(page.all("script")) == 1
    assert page.text.count("alert(1)") > 6
    assert "x<y broken & gone" in page.text
    assert not [attributes for _, attributes in page.tags if any("alert" in name for name in attributes)]


def test_a_browser_runs_no_script_of_the_data(hostile, browse):
    page = browse(hostile / "report.html")
    assert len(page.all("script")) == 1
    assert len(page.all("li")) == 2


def test_a_picture_that_has_gone_since_it_was_predicted(run, tmp_path, stored_only):
    folder = tmp_path / "scenes"
    synthesize(3, 11, folder)
    data = read_data(str(folder))
    run(data=data, text="none")
    next((folder / "images").iterdir()).unlink()
    again = run(data=data, text="none", model=stored_only)
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert again.metrics["num_images"] == len(page.all("li")) == 3
    assert page.text.count("The picture cannot be read any more.") >= 1
    assert len([image for image in page.all("img") if image["src"].startswith("report/")]) == 2


def test_a_row_without_a_reference_heatmap(run, data, tmp_path):
    rows = data.rows.select([0]).map(lambda row: {"heatmap": None}, features=data.rows.features)
    run(data=EvaluationData("bare", rows, data.source), text="none")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "No image has a heatmap with defects." in page.text
    strip = Image.open(tmp_path / "out" / "report" / "000000.jpg").convert("L")
    assert strip.crop((164, 0, 324, strip.height)).getextrema()[0] > 240  # its place stays white


def test_rows_in_memory_need_no_name(run, data, tmp_path):
    run(data=EvaluationData("", data.rows.select([0])), text="none")
    page = Page((tmp_path / "out" / "report.html").read_text())
    assert "This run" in page.text


def test_pictures_of_the_gallery_show_image_reference_and_prediction(complete, data):
    for row in range(6):
        strip = Image.open(complete.folder / "report" / f"{row:06d}.jpg")
        image = open_image(data.rows[row]["image"])
        image.thumbnail((160, 160))
        assert strip.size == (3 * 160 + 8, image.height)
        for x in (0, 164, 328):
            part = strip.crop((x, 0, x + image.width, image.height))
            assert len(part.getcolors(160 * 160)) > 50
    sizes = [path.stat().st_size for path in (complete.folder / "report").iterdir()]
    assert max(sizes) < 25_000  # 25 MB per 1,000 images
