"""People rate explanations: sheets with pictures go out, ratings come back, and their agreement is measured."""

import csv
import html
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

QUESTION = "How well does the text describe what is implausible in the picture?"
SCALE = (1, 5)
SCALE_ENDS = ("not at all", "completely")
COLUMNS = ("item", "id", "text", "rating", "comment")

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>Rating sheet: {rater}</title><style>
body {{ font-family: sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; line-height: 1.4 }}
article {{ border-top: 1px solid #999; padding: 1rem 0 }}
img {{ max-width: 24rem; max-height: 24rem; margin-right: .5rem }}
p.text {{ white-space: pre-line }}
textarea {{ width: 100% }}
</style></head><body>
<h1>Rating sheet: {rater}</h1>
<p>{question} {low} = {worst}, {high} = {best}. Leave an item open if you cannot tell. The button at the end saves your
ratings as a file; send that back.</p>
<form>{items}</form><button type="button">Save ratings</button>
<script>
document.querySelector("button").onclick = () => {{
  const quote = value => '"' + value.replaceAll('"', '""') + '"';
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
_ITEM = """<article data-item="{item}" data-id="{id}"><h2>{item}</h2>{pictures}<p class="text">{text}</p>
<p>{choices}</p><label>Comment<textarea rows="2"></textarea></label></article>
"""


@dataclass(frozen=True)
class Ratings:
    """What came back: `values` (raters, items) float, NaN = not rated; columns in the order of `ids`."""

    raters: list[str]
    ids: list[str]
    values: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over items of the items' mean ratings; items that nobody rated do not count."""
        rated = self.values[:, ~np.isnan(self.values).all(axis=0)]
        return float(np.nanmean(rated, axis=0).mean()) if rated.size else float("nan")

    @property
    def alpha(self) -> float:
        """Krippendorff's alpha for ordinal ratings."""
        return krippendorff_alpha(self.values, "ordinal")


def export_sheets(rows: Sequence[Mapping], output_dir: str | Path, raters: Sequence[str], *, seed: int = 0) -> None:
    """One sheet per rater, `ratings_<rater>.csv` and `ratings_<rater>.html`, items in an order of the rater's own.

    Either file can be filled in: the page saves a CSV of the same form. Pictures lie in `images/` beside them.

    Args:
        rows: id (str, unique), text (str, what is rated), image (PIL) and, where there is one, overlay (PIL).
        raters: names of letters, digits, "_", "-" and ".".

    Raises:
        ValueError: if two rows have the same id, or a rater has another name.
    """
    if bad := [rater for rater in raters if not re.fullmatch(r"[\w.-]+", rater)]:
        raise ValueError(f"a rater's name becomes a file name: {bad[0]!r} cannot")
    if len({row["id"] for row in rows}) != len(rows):
        raise ValueError("ids must be unique: ratings are joined by them")
    output_dir = Path(output_dir)
    (output_dir / "images").mkdir(parents=True, exist_ok=True)
    items = [_item(number, row, output_dir) for number, row in enumerate(rows, 1)]
    for rater in raters:
        own = random.Random(f"{seed} {rater}").sample(items, len(items))
        with (output_dir / f"ratings_{rater}.csv").open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, COLUMNS, restval="", extrasaction="ignore")
            writer.writeheader()
            writer.writerows(own)
        page = _page(rater, own)
        (output_dir / f"ratings_{rater}.html").write_text(page, encoding="utf-8")


def import_ratings(paths: Sequence[str | Path]) -> Ratings:
    """Read filled-in CSV files, one per rater; the rater is the file's name without "ratings_".

    Raises:
        ValueError: naming file and item, for a rating that is no integer of the scale, an item that occurs twice, or a
            file without the columns `id` and `rating`.
    """
    sheets = {Path(path).stem.removeprefix("ratings_"): _read_sheet(Path(path)) for path in paths}
    ids = list(dict.fromkeys(item for sheet in sheets.values() for item in sorted(sheet)))
    values = [[sheet.get(item, np.nan) for item in ids] for sheet in sheets.values()]
    return Ratings(list(sheets), ids, np.array(values, dtype=np.float64))


def krippendorff_alpha(values: np.ndarray, level: Literal["nominal", "ordinal", "interval"] = "ordinal") -> float:
    """Inter-rater agreement: 1 = perfect, 0 = as by chance.

    K. Krippendorff, Computing Krippendorff's Alpha-Reliability, 2011.

    Args:
        values: (raters, items), NaN = not rated. Items with fewer than two ratings do not count.

    Returns:
        NaN if no item was rated twice, or all ratings are the same (nothing could have disagreed).
    """
    values = values[:, (~np.isnan(values)).sum(axis=0) > 1]
    grades = np.unique(values[~np.isnan(values)])
    counts = (values[None] == grades[:, None, None]).sum(axis=1).astype(np.float64)  # (grades, items)
    per_item = counts.sum(axis=0)
    pairs = (counts / (per_item - 1)) @ counts.T - np.diag((counts / (per_item - 1)).sum(axis=1))
    totals = counts.sum(axis=1)  # (grades,)
    distance = _distances(grades, totals, level)
    expected = (np.outer(totals, totals) * distance).sum()
    if not expected:
        return float("nan")
    return float(1 - (totals.sum() - 1) * (pairs * distance).sum() / expected)


def _distances(grades: np.ndarray, totals: np.ndarray, level: str) -> np.ndarray:
    """Squared distance of every two grades, (grades, grades)."""
    if level == "nominal":
        return 1.0 - np.eye(len(grades))
    position = grades if level == "interval" else np.cumsum(totals) - totals / 2
    return (position[:, None] - position[None]) ** 2


def _item(number: int, row: Mapping, output_dir: Path) -> dict:
    """One item as the sheets need it; writes its pictures."""
    pictures = []
    for name in ("image", "overlay"):
        if row.get(name) is not None:
            pictures.append(f"images/{number:05d}_{name}.png")
            row[name].save(output_dir / pictures[-1])
    return {"item": number, "id": row["id"], "text": row["text"], "pictures": pictures}


def _page(rater: str, items: list[dict]) -> str:
    return _PAGE.format(
        rater=html.escape(rater),
        question=QUESTION,
        low=SCALE[0],
        high=SCALE[1],
        worst=SCALE_ENDS[0],
        best=SCALE_ENDS[1],
        items="".join(map(_article, items)),
        header=",".join(COLUMNS),
        file=f"ratings_{rater}.csv",
    )


def _article(item: dict) -> str:
    choices = "".join(
        f'<label><input type="radio" name="item{item["item"]}" value="{grade}">{grade}</label> '
        for grade in range(SCALE[0], SCALE[1] + 1)
    )
    pictures = "".join(f'<img src="{path}" alt="">' for path in item["pictures"])
    text, item_id = html.escape(item["text"]), html.escape(item["id"])
    return _ITEM.format(item=item["item"], id=item_id, text=text, pictures=pictures, choices=choices)


def _read_sheet(path: Path) -> dict[str, int]:
    with path.open(newline="", encoding="utf-8-sig") as file:  # spreadsheets put a byte order mark first
        reader = csv.DictReader(file)
        if not {"id", "rating"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{path}: needs the columns id and rating, has {reader.fieldnames}")
        sheet = {}
        for row in reader:
            if row["id"] in sheet:
                raise ValueError(f"{path}: item {row['id']!r} occurs twice")
            sheet[row["id"]] = _rating((row["rating"] or "").strip(), path, row["id"])
    return {item: rating for item, rating in sheet.items() if rating is not None}


def _rating(value: str, path: Path, item: str) -> int | None:
    if not value:
        return None
    if not value.isdecimal() or not SCALE[0] <= int(value) <= SCALE[1]:
        raise ValueError(f"{path}: the rating of {item!r} is {value!r}, not an integer from {SCALE[0]} to {SCALE[1]}")
    return int(value)
