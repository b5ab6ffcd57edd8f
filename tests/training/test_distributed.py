"""However the rows of a step are cut into batches and put on processes, the step and the figures are the same."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from heie_hf import HEIEForImplausibility
from tests.training.one_step import evaluate, train

SCRIPT = Path(__file__).with_name("one_step.py")
ROOT = Path(__file__).parents[2]
TWO_PROCESSES = ROOT / "examples" / "accelerate" / "ddp-2cpu.yaml"
COMPONENTS = ("loss", "lm_loss", "heatmap_loss", "laplace_loss", "score_loss")
EVAL_ROWS = (5, 8)  # 5: in batches of two, the last ones are filled up with rows that must not count again


def launch(config, script, *arguments, **environment):
    """`accelerate launch` on a free port; its output."""
    command = [sys.executable, "-m", "accelerate.commands.launch", "--config_file", config, "--main_process_port", "0"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"} | environment
    done = subprocess.run(
        [*map(str, [*command, *script, *arguments])], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-5000:]
    return done.stdout


def difference(first, second):
    """The largest of all weights of two folders."""
    first, second = (HEIEForImplausibility.from_pretrained(folder).state_dict() for folder in (first, second))
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.fixture(scope="module")
def alone(tiny_checkpoint, tmp_path_factory):
    """The folder where one process has left its weights (8x1, 2x4, 1x8), logs and figures."""
    folder = tmp_path_factory.mktemp("alone")
    for cut in ("8x1", "2x4", "1x8"):
        train(Path(tiny_checkpoint), folder, cut)
    evaluate(Path(tiny_checkpoint), folder, EVAL_ROWS)
    return folder


@pytest.fixture(scope="module")
def together(tiny_checkpoint, tmp_path_factory):
    """The folder of two processes."""
    folder = tmp_path_factory.mktemp("together")
    rows = ("--eval-rows", *EVAL_ROWS)
    launch(TWO_PROCESSES, [SCRIPT], tiny_checkpoint, folder, "--cuts", "4x1", "2x2", "1x4", *rows)
    return folder


@pytest.mark.parametrize("cut", ["2x4", "1x8"])
def test_one_process_takes_the_same_step_however_it_accumulates(cut, alone, tiny_checkpoint):
    assert difference(tiny_checkpoint, alone / "8x1") > 1e-2  # a step that shows differences
    assert difference(alone / "8x1", alone / cut) < 1e-5


@pytest.mark.parametrize("cut", ["4x1", "2x2", "1x4"])
def test_two_processes_take_the_step_of_one(cut, alone, together):
    assert json.loads((together / cut / "step.json").read_text())["processes"] == [2, "MULTI_CPU"]
    assert difference(alone / "8x1", together / cut) < 1e-5


@pytest.mark.parametrize("cut", ["4x1", "2x2", "1x4"])
def test_the_logged_losses_are_those_of_the_whole_step(cut, alone, together):
    expected, logged = (json.loads((folder / "step.json").read_text()) for folder in (alone / "8x1", together / cut))
    for name in (*COMPONENTS, "grad_norm"):
        assert logged["log"][name] == pytest.approx(expected["log"][name], rel=1e-5), name


@pytest.mark.parametrize("rows", EVAL_ROWS)
def test_two_processes_measure_what_one_does(rows, alone, together):
    expected, found = (json.loads((folder / f"metrics-{rows}.json").read_text()) for folder in (alone, together))
    names = [name for name in expected if not name.endswith(("_runtime", "_per_second", "_preparation_time"))]
    assert {"eval_loss", "eval_cc", "eval_plcc"} <= set(names)
    for name in names:
        assert found[name] == pytest.approx(expected[name], abs=1e-5, nan_ok=True), name


def test_heie_train_on_two_processes(tiny_checkpoint, scenes, tmp_path):
    config = tmp_path / "config.yaml"
    fields = {"model_name_or_path": tiny_checkpoint, "train_datasets": [str(scenes)], "eval_datasets": [str(scenes)]}
    config.write_text(json.dumps(fields | {"output_dir": str(tmp_path / "out"), "max_steps": 2, "report_to": "none"}))
    printed = launch(
        TWO_PROCESSES,
        ["-m", "heie_hf.cli", "train"],
        *(config, "--use_cpu", "--num_overlays", "0", "--per_device_train_batch_size", "1"),
        HF_DATASETS_CACHE=str(tmp_path / "cache"),
    )
    (line,) = printed.splitlines()  # one process speaks
    metrics = json.loads(line)
    assert metrics["steps"] == 2 and metrics["eval_cc"] is not None
    assert difference(tiny_checkpoint, tmp_path / "out") > 0
