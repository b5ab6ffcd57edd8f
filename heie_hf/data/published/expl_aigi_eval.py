"""Expl-AIGI-Eval (HEIE, CVPR 2025): explanations for the images of RichHF-18K.

Published are text and scores. Heatmaps come from RichHF-18K's records (`richhf`), and so do all scores then; images
come from `images`, as for `richhf18k`. Without `richhf`, <id>.jpg and artifact_map/<id>.png must lie beside the JSON
lines.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from heie_hf.data import folder
from heie_hf.data.fields import Entries, checked_split, fail, required

from . import richhf18k

HOME = "https://github.com/yfthu/HEIE"
SPLITS = ("train", "dev", "test")
WHERE = f'Download "Expl-AIGI-Eval Dataset/RichHF-18K_{{train,dev,test}}.jsonl" from {HOME} (train with Git LFS).'


def sources(
    root: Path, split: str = "train", richhf: str | Path | None = None, images: str | Path | None = None
) -> dict:
    """`richhf`: the folder of RichHF-18K's record files.

    Raises:
        ValueError: all scores are the same, as in the published dev file, and `richhf` is not given.
    """
    lines = required(root / f"RichHF-18K_{checked_split(split, SPLITS)}.jsonl", WHERE)
    if richhf:
        joined = richhf18k.sources(Path(richhf).absolute(), split, images or root / "images")
        return {"lines": lines, **joined}
    if images:
        raise ValueError("images= goes with richhf=: without it the images must lie where the JSON lines say")
    scores = _scores(lines)
    if len(scores) > 1 and len(set(scores)) == 1:
        raise ValueError(
            f"all {len(scores)} scores of {lines} are {scores[0]}: the {split} scores are broken as published. Give "
            f"richhf=, the folder with {split}.tfrecord of RichHF-18K; the scores are taken from there. "
            f"{richhf18k.WHERE}"
        )
    return {"lines": lines, "root": root}


def _scores(lines: Path) -> list[float | None]:
    scores = []
    for _, record in folder.read_lines(lines):
        if isinstance(record, dict):
            scores.append(record.get("score"))
    return scores


def entries(lines: Path, root: Path | None = None, records: Path | None = None, images: Path | None = None) -> Entries:
    return folder.entries(lines, root) if root else _joined(lines, records, images)


def _joined(lines: Path, records: Path, images: Path) -> Entries:
    """One per text: an image of the train split has several."""
    texts: dict[str, list[tuple[str, dict]]] = {}
    for place, record in folder.read_lines(lines):
        if isinstance(record, ValueError):
            yield place, partial(fail, record)
        else:
            same_image = texts.setdefault(str(record.get("id")), [])
            same_image.append((place, record))
    for uid, make_row in richhf18k.entries(records, images):
        for place, record in texts.pop(uid, [(uid, None)]):
            yield place, partial(_with_text, make_row, record)
    for same_image in texts.values():
        for place, _ in same_image:
            yield place, partial(fail, f"its id is not in {records.name}")


def _with_text(make_row: Callable[[], dict], record: dict | None) -> dict:
    row = make_row()
    if record is None:
        raise ValueError("has no explanation")
    return row | folder.text_cells(record)
