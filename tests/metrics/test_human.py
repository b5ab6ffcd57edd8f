import csv
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from heie_hf.metrics.human import export_sheets, import_ratings, krippendorff_alpha

NAN = np.nan
# Krippendorff, Computing Krippendorff's Alpha-Reliability (2011), example C: 4 observers, 12 units.
PUBLISHED = np.array(
    [
        [1, 2, 3, 3, 2, 1, 4, 1, 2, NAN, NAN, NAN],
        [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, NAN, 3],
        [NAN, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, NAN],
        [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, NAN],
    ]
)


@pytest.mark.parametrize("level, alpha", [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_alpha_of_the_published_example(level, alpha):
    assert krippendorff_alpha(PUBLISHED, level) == pytest.approx(alpha, abs=0.0005)


def test_alpha_at_its_ends():
    assert krippendorff_alpha(np.array([[1, 2, 5], [1, 2, 5]])) == 1
    assert krippendorff_alpha(np.array([[1.0, 5.0], [5.0, 1.0]])) < 0
    rng = np.random.default_rng(0)
    assert krippendorff_alpha(rng.integers(1, 6, (3, 3000)).astype(float)) == pytest.approx(0, abs=0.03)
    assert np.isnan(krippendorff_alpha(np.array([[3.0, 3.0], [3.0, 3.0]])))  # no variation: undefined
    assert np.isnan(krippendorff_alpha(np.array([[1.0, NAN], [NAN, 2.0]])))  # nothing rated twice


@pytest.fixture
def rows():
    return [
        {"id": f"scene/{i}", "text": f'Hand {i} has "six"\nfingers, <b>all</b> bent & long.', "image": picture}
        for i, picture in enumerate(Image.new("RGB", (20, 10), (40 * i, 0, 0)) for i in range(6))
    ]


def fill_in(path, ratings):
    with path.open(newline="", encoding="utf-8") as file:
        sheet = list(csv.DictReader(file))
    for row in sheet:
        row["rating"] = ratings.get(row["id"], "")
    with path.open("w", newline="", encoding="utf-8-sig") as file:  # as a spreadsheet program saves it
        writer = csv.DictWriter(file, sheet[0])
        writer.writeheader()
        writer.writerows(sheet)


def test_sheets_go_out_and_ratings_come_back(tmp_path, rows):
    export_sheets(rows, tmp_path, ["ada", "bob"])
    fill_in(tmp_path / "ratings_ada.csv", {"scene/0": "1", "scene/1": "4", "scene/2": "5"})
    fill_in(tmp_path / "ratings_bob.csv", {"scene/0": "2", "scene/1": "4", "scene/5": " 3 "})
    ratings = import_ratings(sorted(tmp_path.glob("ratings_*.csv")))
    assert ratings.raters == ["ada", "bob"]
    found = {item: column.tolist() for item, column in zip(ratings.ids, ratings.values.T, strict=True)}
    assert found == {
        "scene/0": [1, 2],
        "scene/1": [4, 4],
        "scene/2": [5, pytest.approx(NAN, nan_ok=True)],
        "scene/5": [pytest.approx(NAN, nan_ok=True), 3],
    }
    assert ratings.mean == (1.5 + 4 + 5 + 3) / 4
    assert ratings.alpha == krippendorff_alpha(ratings.values)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.items, self.pictures, self.choices, self.texts, self.tags = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append(tag)
        if tag == "article":
            self.items.append(attributes["data-id"])
            self.texts.append("")
        elif tag == "img":
            self.pictures.append(attributes["src"])
        elif tag == "input":
            self.choices.append((attributes["name"], attributes["value"]))

    def handle_data(self, data):
        if self.texts:
            self.texts[-1] += data


def test_page_shows_every_item_with_its_picture(tmp_path, rows):
    rows[0]["overlay"] = Image.new("RGB", (20, 10), "red")
    export_sheets(rows, tmp_path, ["ada"])
    page = Page((tmp_path / "ratings_ada.html").read_text(encoding="utf-8"))
    assert sorted(page.items) == [row["id"] for row in rows]
    assert len(page.pictures) == 7
    colours = set()
    for path in page.pictures:
        with Image.open(tmp_path / path) as picture:
            colours.add(picture.getpixel((0, 0)))
    assert len(colours) == 7
    assert len(set(page.choices)) == 6 * 5
    assert "b" not in page.tags  # the text is shown, not interpreted
    assert "<b>all</b> bent & long." in page.texts[0]


def test_page_and_table_of_one_rater_have_the_same_order_which_is_their_own(tmp_path, rows):
    export_sheets(rows, tmp_path, ["ada", "bob"])
    orders = {}
    for rater in ("ada", "bob"):
        with (tmp_path / f"ratings_{rater}.csv").open(newline="", encoding="utf-8") as file:
            orders[rater] = [row["id"] for row in csv.DictReader(file)]
        assert Page((tmp_path / f"ratings_{rater}.html").read_text(encoding="utf-8")).items == orders[rater]
    assert orders["ada"] != orders["bob"]


@pytest.mark.parametrize("value", ["6", "0", "3.5", "good", "-1"])
def test_a_rating_off_the_scale_is_refused_by_name(tmp_path, rows, value):
    export_sheets(rows, tmp_path, ["ada"])
    fill_in(tmp_path / "ratings_ada.csv", {"scene/2": value})
    with pytest.raises(ValueError, match=f"ratings_ada.csv: the rating of 'scene/2' is '{value}'"):
        import_ratings([tmp_path / "ratings_ada.csv"])


def test_other_files_and_double_items_are_refused(tmp_path, rows):
    other = tmp_path / "other.csv"
    other.write_text("name,mark\na,1\n")
    with pytest.raises(ValueError, match="other.csv: needs the columns id and rating"):
        import_ratings([other])
    other.write_text("id,rating\na,1\na,2\n")
    with pytest.raises(ValueError, match="other.csv: item 'a' occurs twice"):
        import_ratings([other])
    with pytest.raises(ValueError, match="unique"):
        export_sheets([rows[0], rows[0]], tmp_path, ["ada"])
    with pytest.raises(ValueError, match="'../ada' cannot"):
        export_sheets(rows, tmp_path, ["../ada"])
