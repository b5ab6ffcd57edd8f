import importlib

import pytest

from heie_hf import HEIETrainer

PAGE = "Before.\n\n<!-- table -->\n\nold\n\n<!-- end of table -->\n\nAfter.\n"


@pytest.fixture
def benchmark(monkeypatch):
    module = importlib.import_module("benchmarks.claims.text_source")
    monkeypatch.setattr(module, "MIXES", {"none": {"none": 1.0}, "none, generated": {"none": 0.5, "generated": 0.5}})
    return module


def test_the_table_is_measured_once_and_written_into_the_page(benchmark, tiny_checkpoint, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    arguments = ["--output-dir", str(tmp_path / "run"), "--model", tiny_checkpoint, "--docs", str(page)]
    arguments += ["--steps", "1", "--batch-size", "2", "--num-train", "2", "--num-test", "4", "--freeze-vision"]
    benchmark.main(arguments)
    written = page.read_text()
    assert written.startswith("Before.\n\n<!-- table -->\n\n1 steps of 2 from 2 scenes")
    assert written.endswith("<!-- end of table -->\n\nAfter.\n") and "old" not in written
    rows = [line.split(" | ") for line in written.splitlines() if line.startswith("| none")]
    assert [row[0] for row in rows] == ["| none", "| none, generated"] * 2
    assert all(len(row) == 4 and -1 <= float(row[1].split()[0]) <= 1 for row in rows)

    monkeypatch.setattr(HEIETrainer, "train", None)  # would fail if it were called again
    page.write_text(PAGE)
    benchmark.main(arguments)
    assert page.read_text() == written
