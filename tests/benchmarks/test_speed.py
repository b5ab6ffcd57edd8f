"""The GPU benchmarks at tiny size on the CPU: they run, print whole tables, and count operations as PyTorch does."""

import importlib
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

ROOT = Path(__file__).parents[2]
FAST = ("--tiny", "--device", "cpu", "--repeats", "1")


@pytest.fixture
def script():
    """script(NAME) -> the benchmark as a module."""
    return lambda name: importlib.import_module(f"benchmarks.speed.{name}")


@pytest.fixture
def table(script, monkeypatch, capsys):
    """table(NAME, ...) -> rows of the table that the benchmark prints, and the line above it."""

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *FAST, *arguments])
        script(name).main()
        headline, _, header, _, *rows = capsys.readouterr().out.splitlines()
        cells = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
        assert all(len(row) == header.count("|") - 1 for row in cells)
        return cells, headline

    return run


def test_training_prints_a_row_per_size_and_batch(table):
    rows, headline = table("gpu_training", "--batches", "1", "2")
    assert "TFLOP/s" in headline
    assert [row[:2] for row in rows] == [["6", "1"], ["6", "2"], ["12", "1"], ["12", "2"]]
    assert all(float(row[3]) > 0 and float(row[4]) > 0 for row in rows)
    assert float(rows[1][6]) == pytest.approx(2 * float(rows[0][6]), rel=0.01)
    assert float(rows[2][6]) > float(rows[0][6])


def test_training_with_checkpointing(table):
    rows, headline = table("gpu_training", "--batches", "1", "--patches", "6", "--checkpointing")
    assert "computed again" in headline and len(rows) == 1


def test_inference_prints_both_speeds(table):
    rows, _ = table("gpu_inference", "--batches", "1", "2")
    assert [row[:2] for row in rows] == [["6", "1"], ["6", "2"], ["12", "1"], ["12", "2"]]
    assert all(float(row[2]) > 0 and float(row[4]) > 0 for row in rows)


def test_model_flops_are_those_of_a_step_that_keeps_its_activations(script):
    shared, training = script("internvl2_8b"), script("gpu_training")
    config = shared.new_config(tiny=True)
    config._attn_implementation = "eager"  # PyTorch counts its matrix products one by one
    model = shared.new_model(config, "cpu")
    inputs = shared.make_training_batch(config, 1, 6, "cpu")
    forward = shared.forward_flops(model, inputs)
    step = training.make_step(training.prepare(model, checkpointing=False, rank=1), inputs, "cpu")
    with FlopCounterMode(display=False) as counter:
        step()
    needed = counter.get_total_flops() - forward["lm_head"]  # peft computes the gradient of all its rows
    assert training.step_flops(forward) == pytest.approx(needed, rel=0.03)


def test_the_real_size_is_that_of_internvl2_8b(script):
    shared = script("internvl2_8b")
    config = shared.new_config(tiny=False)
    with torch.device("meta"):
        model = shared.HEIEForImplausibility(config)
    sizes = {
        name: sum(parameter.numel() for parameter in module.parameters()) / 1e6
        for name, module in (("all", model), ("vision", model.model.vision_tower))
    }
    assert sizes["vision"] == pytest.approx(304, rel=0.01)  # InternViT-300M
    assert sizes["all"] == pytest.approx(8080, rel=0.01)  # InternVL2-8B has 8.08 billion


def test_they_start_as_commands():
    command = [sys.executable, "-m", "benchmarks.speed.gpu_inference", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "images already cut into patches" in done.stdout


def test_cpu_inference_compares_four_ways(script, tiny_checkpoint, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["cpu_inference", "--rounds", "1", "--model", tiny_checkpoint])
    script("cpu_inference").main()
    rows = [row.strip("| ").split(" | ") for row in capsys.readouterr().out.splitlines()[4:]]
    assert [row[:2] for row in rows] == [["full text", "1"], ["full text", "8"], ["no text", "1"], ["no text", "8"]]
    assert rows[0][3] == "1.0" and all(float(row[2]) > 0 for row in rows)
