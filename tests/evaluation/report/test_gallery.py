"""Sorting and filtering, by what a browser makes of the page."""

import pytest


@pytest.fixture(scope="module")
def cards(browse, complete):
    """cards(address) -> the attributes of each card, in the order shown, and the text of the page."""

    def read(address):
        page = browse(complete.folder / "report.html", address)
        [controls] = [form for form in page.all("form") if form["id"] == "controls"]
        assert "hidden" not in controls
        return [item for item in page.all("li") if "data-row" in item], page.text

    return read


def test_without_an_address_all_images_are_in_their_order(cards):
    items, text = cards("")
    assert [int(item["data-row"]) for item in items] == [0, 1, 2, 3, 4, 5]
    assert not any("hidden" in item for item in items)
    assert "6 of 6 images" in text


@pytest.mark.parametrize("column", ["score", "error", "cc"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_sorting(cards, column, sign):
    items, _ = cards(f"#sort={sign}{column}")
    values = [float(item[f"data-{column}"]) for item in items if f"data-{column}" in item]
    assert values == sorted(values, reverse=bool(sign))
    assert len(items) == 6 and len(set(values)) > 2
    known = [f"data-{column}" in item for item in items]
    assert known == sorted(known, reverse=True)  # what has no such value comes last


def test_filtering_by_score(cards):
    items, _ = cards("")
    scores = sorted(float(item["data-score"]) for item in items)
    low, high = int(scores[1] * 100) / 100, int(scores[3] * 100 + 1) / 100
    items, text = cards(f"#sort=score&from={low}&to={high}")
    shown = [float(item["data-score"]) for item in items if "hidden" not in item]
    assert shown == [score for score in scores if low <= score <= high]
    assert 0 < len(shown) < 6 and f"{len(shown)} of 6 images" in text


def test_an_address_that_makes_no_sense_shows_all(cards):
    items, text = cards("#sort=nothing&from=x")
    assert [int(item["data-row"]) for item in items] == [0, 1, 2, 3, 4, 5]
