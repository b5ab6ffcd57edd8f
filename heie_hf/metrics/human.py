"""People rate explanations: sheets with pictures go out, ratings come back, and their agreement is measured."""

import csv
import html
import itertools
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from heie_hf.files import whole_file

Level = Literal["nominal", "ordinal", "interval"]
COLUMNS = ("item", "id", "text", "rating", "comment")

# Cells that spreadsheets may take for formulas (OWASP, "CSV injection", and the full-width forms), quoted ones too.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")
_RATER = re.compile(r"\w([\w.-]*\w)?")
_MAX_RATER_BYTES = 200  # file names end at 255

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>Rating sheet: {rater}</title><style>
body {{ font-family: sans-serif; max-width: 64rem; margin: 2rem auto 5rem; padding: 0 1rem; line-height: 1.4 }}
article {{ border-top: 1px solid #999; padding: 1rem 0 }}
h2 {{ font-size: 1rem; margin: 0 0 .5rem }}
h2 small {{ color: #666; font-weight: normal }}
figure {{ display: flex; flex-wrap: wrap; gap: .5rem; margin: 0 }}
figure img {{ flex: 0 1 auto; min-width: 0; max-width: 24rem; max-height: 24rem; object-fit: contain }}
p.text, details p {{ white-space: pre-line }}
details p {{ border-left: 3px solid #ccc; padding-left: .75rem; color: #444 }}
fieldset {{ border: 0; padding: 0; margin: .75rem 0; display: flex; flex-wrap: wrap; gap: .5rem }}
fieldset label {{ border: 1px solid #777; border-radius: .3rem; padding: .35rem .8rem; cursor: pointer }}
fieldset label:has(:checked) {{ background: #205493; border-color: #205493; color: white }}
textarea {{ width: 100%; box-sizing: border-box; font: inherit }}
footer {{ position: fixed; inset: auto 0 0 0; padding: .6rem 1rem; text-align: center; background: #eee }}
button {{ font: inherit; padding: .3rem 1rem; margin-left: 1rem }}
</style></head><body>
<h1>Rating sheet: {rater}</h1>
<p>{question} Leave an item open if you cannot tell. The button below saves your answers as a file; send that back.</p>
<form autocomplete="off">{items}</form>
<footer><output></output><button type="button">Save ratings</button></footer>
<script>
const count = () => {{
  const number = document.querySelectorAll("input:checked").length;
  document.querySelector("output").textContent = `${{number}} of {number} answered`;
}};
document.querySelector("form").onchange = count;
count();
document.querySelector("button").onclick = () => {{
  const noFormula = value => /^{formula}/.test(value) ? "'" + value : value;
  const quote = value => '"' + noFormula(value).replaceAll('"', '""') + '"';
  const lines = [...document.querySelectorAll("article")].map(item => [
    item.dataset.item, item.dataset.id, item.querySelector(".text").textContent,
    item.querySelector("input:checked")?.value ?? "", item.querySelector("textarea").value].map(quote).join(","));
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob(["{header}\\r\\n" + lines.join("\\r\\n") + "\\r\\n"]));
  link.download = "{file}";
  link.click();
}};
</script></body></html>
"""
_ITEM = """<article data-item="{item}" data-id="{id}"><h2>{item} <small>{id}</small></h2><figure>{pictures}</figure>
<p class="text">{text}</p>{background}<fieldset>{choices}</fieldset>
<label>Comment<textarea rows="1"></textarea></label></article>
"""
_BACKGROUND = "<details><summary>How it came about</summary><p>{background}</p></details>"


@dataclass(frozen=True)
class Form:
    """What raters are asked.

    Args:
        question: stands at the top of the page.
        answers: what may stand in the column `rating`, and the number that it counts as; NaN counts as not rated.
        level: of those numbers, for the agreement.
    """

    question: str
    answers: Mapping[str, float]
    level: Level


RATING = Form(
    "How well does the text describe what is implausible in the picture? 1 = not at all, 5 = completely.",
    {"1": 1, "2": 2, "3": 3, "4": 4, "5": 5},
    "ordinal",
)


@dataclass(frozen=True)
class Ratings:
    """What came back.

    Args:
        raters: by the files' names.
        ids: of the items.
        values: (raters, items) float, NaN = not rated; columns in the order of `ids`.
        comments: by rater and id, where there is one.
        level: of the values.
    """

    raters: list[str]
    ids: list[str]
    values: np.ndarray
    comments: dict[tuple[str, str], str] = field(default_factory=dict)
    level: Level = "ordinal"

    @property
    def mean(self) -> float:
        """Mean over items of the items' mean ratings; items that nobody rated do not count."""
        rated = self.values[:, ~np.isnan(self.values).all(axis=0)]
        return float(np.nanmean(rated, axis=0).mean()) if rated.size else float("nan")

    @property
    def alpha(self) -> float:
        """Krippendorff's alpha."""
        return krippendorff_alpha(self.values, self.level)


def export_sheets(
    rows: Sequence[Mapping], output_dir: str | Path, raters: Sequence[str], form: Form = RATING, *, seed: int = 0
) -> None:
    """One sheet per rater, `ratings_<rater>.csv` and `ratings_<rater>.html`, items in an order of the rater's own.

    Either file can be filled in: the page saves a CSV of the same form. Pictures lie in `images/` beside them. A cell
    that a spreadsheet would take for a formula has "'" in front; `import_ratings` takes it off again.

    Args:
        rows: id (str, unique), text (str, what is rated), image (PIL) and, where there is one, overlay (PIL) and
            background (str, folded away beneath the text).
        raters: names of letters, digits, "_", and "-" and "." in between; they become file names.

    Raises:
        ValueError: if two rows have the same id, two raters the same name but for capitals, or a rater another name.
        OSError: if a file cannot be written.
    """
    _check_raters(raters)
    if len({row["id"] for row in rows}) != len(rows):
        raise ValueError("ids must be unique: ratings are joined by them")
    output_dir = Path(output_dir)
    (output_dir / "images").mkdir(parents=True, exist_ok=True)
    items = []
    for number, row in enumerate(rows, 1):
        pictures = _save_pictures(number, row, output_dir)
        item = {"item": number, "id": row["id"], "text": row["text"], "background": row.get("background")}
        items.append(item | {"pictures": pictures})
    for rater in raters:
        own_order = random.Random(f"{seed} {rater}").sample(items, len(items))
        _write_table(output_dir / f"ratings_{rater}.csv", own_order)
        with whole_file(output_dir / f"ratings_{rater}.html") as draft:
            draft.write_text(_page(rater, own_order, form), encoding="utf-8")


def import_ratings(paths: Sequence[str | Path], form: Form = RATING) -> Ratings:
    """Read filled-in CSV files, one per rater; the rater is the file's name without "ratings_".

    Raises:
        ValueError: naming the file, the row as spreadsheets count them and what to do, for a rating that is none of
            the form's answers, an item that occurs twice or has no id, a file without the columns `id` and `rating`,
            or one that is no CSV in UTF-8; for two files of one rater.
        OSError: if a file cannot be read.
    """
    sheets, comments = {}, {}
    for path in map(Path, paths):
        rater = path.stem.removeprefix("ratings_")
        if rater in sheets:
            raise ValueError(f"{path}: there is another sheet of {rater!r}; give each rater a file name of their own")
        sheets[rater] = _read_sheet(path, form, comments, rater)
    ids = []
    for sheet in sheets.values():
        ids += sorted(sheet.keys() - set(ids))
    values = np.full((len(sheets), len(ids)), np.nan)
    for row, sheet in zip(values, sheets.values(), strict=True):
        for column, item in enumerate(ids):
            row[column] = sheet.get(item, np.nan)
    return Ratings(list(sheets), ids, values, comments, form.level)


def krippendorff_alpha(values: np.ndarray, level: Level = "ordinal") -> float:
    """Inter-rater agreement: 1 = perfect, 0 = as by chance.

    K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.

    Args:
        values: (raters, items), NaN = not rated. Items with fewer than two ratings do not count.

    Returns:
        NaN if no item was rated twice, or all ratings are the same (nothing could have disagreed).
    """
    num_ratings = (~np.isnan(values)).sum(axis=0)  # (items,)
    values = values[:, num_ratings > 1]
    grades = np.unique(values[~np.isnan(values)])
    is_grade = values[None] == grades[:, None, None]  # (grades, raters, items)
    counts = is_grade.sum(axis=1).astype(np.float64)  # (grades, items)
    shares = counts / (counts.sum(axis=0) - 1)
    pairs = shares @ counts.T - np.diag(shares.sum(axis=1))  # (grades, grades), of different raters
    totals = counts.sum(axis=1)  # (grades,)
    distance = _distances(grades, totals, level)
    observed = (pairs * distance).sum()
    expected = (np.outer(totals, totals) * distance).sum()
    if not expected:
        return float("nan")
    return float(1 - (totals.sum() - 1) * observed / expected)


def _distances(grades: np.ndarray, totals: np.ndarray, level: str) -> np.ndarray:
    """Squared distance of every two grades, (grades, grades)."""
    if level == "nominal":
        return 1.0 - np.eye(len(grades))
    position = grades if level == "interval" else np.cumsum(totals) - totals / 2
    return (position[:, None] - position[None]) ** 2


def _check_raters(raters: Sequence[str]) -> None:
    names = set()
    for rater in raters:
        if not _RATER.fullmatch(rater) or len(rater.encode()) > _MAX_RATER_BYTES:
            raise ValueError(f"a rater's name becomes a file name: {rater!r} cannot")
        if rater.casefold() in names:
            raise ValueError(f"two raters have the name {rater!r}: one's sheet would replace the other's")
        names.add(rater.casefold())


def _save_pictures(number: int, row: Mapping, output_dir: Path) -> list[str]:
    """Paths of the item's pictures, relative to the folder."""
    pictures = []
    for name in ("image", "overlay"):
        if row.get(name) is None:
            continue
        path = f"images/{number:05d}_{name}.png"
        with whole_file(output_dir / path) as draft:
            row[name].save(draft, format="PNG")
        pictures.append(path)
    return pictures


def _write_table(path: Path, items: list[dict]) -> None:
    with whole_file(path) as draft, draft.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for item in items:
            writer.writerow([item["item"], no_formula(item["id"]), no_formula(item["text"]), "", ""])


def no_formula(cell: str) -> str:
    """The cell with an apostrophe before it, where a spreadsheet would take it for a formula (OWASP's rule)."""
    return f"'{cell}" if _FORMULA.match(cell) else cell


def _as_it_was(cell: str) -> str:
    """What `no_formula` was given."""
    if cell.startswith("'") and _FORMULA.match(cell):
        return cell[1:]
    return cell


def _page(rater: str, items: list[dict], form: Form) -> str:
    articles = [_article(item, form) for item in items]
    return _PAGE.format(
        rater=html.escape(rater),
        question=form.question,
        items="".join(articles),
        number=len(items),
        header=",".join(COLUMNS),
        file=f"ratings_{rater}.csv",
        formula=_FORMULA.pattern,
    )


def _article(item: dict, form: Form) -> str:
    choices = ""
    for answer in form.answers:
        choices += f'<label><input type="radio" name="item{item["item"]}" value="{answer}"> {answer}</label>'
    pictures = ""
    for path in item["pictures"]:
        pictures += f'<img src="{path}" alt="">'
    background = ""
    if item["background"]:
        background = _BACKGROUND.format(background=html.escape(item["background"]))
    return _ITEM.format(
        item=item["item"],
        id=html.escape(item["id"]),
        text=html.escape(item["text"]),
        pictures=pictures,
        background=background,
        choices=choices,
    )


def _read_sheet(path: Path, form: Form, comments: dict[tuple[str, str], str], rater: str) -> dict[str, float]:
    """The ratings of one file by the item's id; its comments go into `comments`."""
    ratings = {}
    seen = set()
    for number, item, rating, comment in _read_rows(path):
        place = f"{path}, row {number}"
        if not item and not rating:
            continue  # an empty row
        if not item:
            raise ValueError(f"{place}: a rating without an id; copy the id from the sheet that was sent out")
        if item in seen:
            raise ValueError(f"{place}: item {item!r} occurs twice; keep one of its rows")
        seen.add(item)
        if rating:
            ratings[item] = _rating(rating, form, f"{place}: the rating of {item!r}")
        if comment:
            comments[rater, item] = comment
    return ratings


def _read_rows(path: Path) -> list[tuple[int, str, str, str]]:
    """Number as spreadsheets count, id, rating and comment of each row."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a byte order mark first
            header, *rows = list(csv.reader(file)) or [[]]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path}: is no CSV in UTF-8 ({error}); save the sheet as such, with commas") from error
    for name in ("id", "rating"):
        if name not in header:
            raise ValueError(f"{path}: has no column {name!r} but {header}; save the sheet as CSV with commas")
    table = []
    for number, row in enumerate(rows, 2):
        cells = dict(itertools.zip_longest(header, row[: len(header)], fillvalue=""))
        comment = _as_it_was(cells.get("comment", "")).strip()
        table.append((number, _as_it_was(cells["id"]), cells["rating"].strip(), comment))
    return table


def _rating(rating: str, form: Form, place: str) -> float:
    if rating not in form.answers:
        *others, last = form.answers
        answers = f"{', '.join(others)} or {last}"
        raise ValueError(f"{place} is {rating!r:.40}; write {answers}, or leave it empty")
    return form.answers[rating]
