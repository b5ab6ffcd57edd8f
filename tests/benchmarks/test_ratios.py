"""A published ratio says what its heading says: a clock that the test turns shows which way up it is."""

import functools
import json
import re
import sys
from pathlib import Path

import pytest
from transformers import InternVLForConditionalGeneration

from benchmarks.speed import assess, cpu_inference, generate, metrics, preprocessing, synthetic
from heie_hf import HEIEImageProcessor
from heie_hf.modeling.modeling_heie import HEIEForImplausibility

DOCS = Path(__file__).parents[2] / "docs"


class Clock:
    """Processor time that stands still but for what the test says something costs."""

    def __init__(self, monkeypatch):
        self.seconds = 0.0
        self.monkeypatch = monkeypatch
        monkeypatch.setattr("time.process_time", lambda: self.seconds)

    def charge(self, owner, name: str, seconds: float) -> None:
        """From now on each call of `owner.name`, which still does its work, takes so long."""
        function = getattr(owner, name)

        @functools.wraps(function)
        def charged(*arguments, **options):
            self.seconds += seconds
            return function(*arguments, **options)

        self.monkeypatch.setattr(owner, name, charged)


@pytest.fixture
def clock(monkeypatch):
    return Clock(monkeypatch)


def table_rows(text: str) -> list[list[str]]:
    """The cells of all Markdown tables in a text, headings among them."""
    rows = []
    for line in text.splitlines():
        if line.startswith("|") and not set(line) <= set("|-: "):
            cells = line.strip("|").split("|")
            rows.append([cell.strip() for cell in cells])
    return rows


def test_without_text_is_so_many_times_faster(clock, tiny_checkpoint, monkeypatch, capsys):
    clock.charge(HEIEForImplausibility, "forward", 1.0)  # a second per pass through the network
    monkeypatch.setattr(sys, "argv", ["cpu_inference", "--model", tiny_checkpoint, "--rounds", "1"])
    cpu_inference.main()
    heading, *rows = table_rows(capsys.readouterr().out)
    assert heading[2:] == ["CPU time per image, ms", "times as fast"]
    cells = {(text, batch): (float(time), float(speedup)) for text, batch, time, speedup in rows}
    passes, speedup = cells["full text", "1"]
    assert passes > 10_000 and speedup == 1  # every word is a pass
    assert cells["no text", "1"] == (1000, pytest.approx(passes / 1000, abs=0.05))
    assert cells["no text", "8"] == (125, pytest.approx(passes / 125, abs=0.05))
    assert 1 < cells["full text", "8"][1] < 8.05


def rows_of_ratios(run, monkeypatch, capsys, *arguments: str) -> list[tuple[float, float, float]]:
    """Our milliseconds, the peer's and the ratio, row by row, of a benchmark that compares in one round."""
    monkeypatch.setattr(sys, "argv", ["benchmark", *arguments, "--rounds", "1"])
    run()
    heading, *rows = table_rows(capsys.readouterr().out)
    assert heading == ["what", "CPU ms", "compared with", "CPU ms", "ratio", "wanted"]
    return [(float(ours), float(peer), float(ratio)) for _, ours, _, peer, ratio, _ in rows]


def test_the_full_text_takes_fewer_passes_than_plain_decoding(clock, tiny_checkpoint, monkeypatch, capsys):
    clock.charge(HEIEForImplausibility, "forward", 1.0)
    clock.charge(InternVLForConditionalGeneration, "forward", 1.0)
    rows = rows_of_ratios(generate.main, monkeypatch, capsys, "--model", tiny_checkpoint)
    for ours, peer, ratio in rows:  # one free token in two
        assert 10_000 < ours < 0.8 * peer
        assert ratio == pytest.approx(ours / peer, abs=0.005)
    assert len(rows) == 2


def test_assessing_is_compared_with_one_prefill(clock, tiny_checkpoint, monkeypatch, capsys):
    clock.charge(HEIEForImplausibility, "forward", 1.0)
    clock.charge(InternVLForConditionalGeneration, "forward", 4.0)
    rows = rows_of_ratios(assess.main, monkeypatch, capsys, "--model", tiny_checkpoint)
    assert rows == [(1000, 4000, 0.25)] * 2


def test_preprocessing_is_compared_with_the_textbook(clock, monkeypatch, capsys):
    clock.charge(HEIEImageProcessor, "_cut_image", 1.0)
    clock.charge(preprocessing, "textbook", 2.0)
    assert rows_of_ratios(preprocessing.main, monkeypatch, capsys) == [(1000, 2000, 0.5)]


def test_drawing_is_so_many_times_as_fast_as_png(clock, capsys):
    clock.charge(synthetic, "draw_scene", 0.5)
    clock.charge(synthetic, "png_round_trip", 2.0)
    synthetic.main(num_images=2, seed=0)
    figures = json.loads(capsys.readouterr().out)
    assert figures["draw_images_per_cpu_second"] == 2 and figures["png_images_per_cpu_second"] == 0.5
    assert figures["drawing_times_as_fast_as_png"] == 4


def test_the_metrics_are_so_many_times_as_fast_as_their_peers(clock, monkeypatch, capsys):
    clock.charge(metrics.metrics, "auc_judd", 1.0)
    clock.charge(metrics.metrics, "krcc", 1.0)
    clock.charge(metrics.metrics, "image_metrics", 1.0)
    for number, peer in enumerate(("auc_loop", "auc_mit", "krcc_loop"), start=2):
        clock.charge(metrics, peer, number)
    monkeypatch.setattr(sys, "argv", ["metrics", "--size", "32", "--num-scores", "9"])
    metrics.main()
    heading, *rows = table_rows(capsys.readouterr().out)
    assert heading[1:5] == ["ours, ms", "peer", "peer, ms", "peer / ours"]
    loops = [row for row in rows if "loop" in row[2]]
    for number, row in enumerate(loops, start=2):
        assert [float(row[cell]) for cell in (1, 3, 4)] == [1000, 1000 * number, number]
    assert len(loops) == 3


def test_ratios_in_the_pages_are_those_of_their_columns():
    """Of every table with a column headed "x / y" beside columns "x, unit" and "y, unit"."""
    checked = 0
    for page in DOCS.glob("*.md"):
        heading = []
        for row in table_rows(page.read_text()):
            if any(re.fullmatch(r"\w+ / \w+", cell) for cell in row):
                heading, start = row, re.compile(r"(\w+) / (\w+)")
                continue
            if len(row) != len(heading):
                heading = []
                continue
            position = next(i for i, cell in enumerate(heading) if start.fullmatch(cell))
            columns = [column(heading, name) for name in start.fullmatch(heading[position]).groups()]
            above, below = (float(row[i]) for i in columns)
            low, high = (above - 0.005) / (below + 0.005), (above + 0.005) / (below - 0.005)
            assert low - 0.05 <= float(row[position]) <= high + 0.05, (page.name, row)
            checked += 1
    assert checked


def column(heading: list[str], name: str) -> int:
    [position] = [i for i, cell in enumerate(heading) if re.fullmatch(rf"{name}, \w+", cell)]
    return position
