"""Processes that hold a part of the weights each take the step of one: FSDP2, and DeepSpeed where it is installed."""

import importlib.util
import json
from pathlib import Path

import pytest

from tests.training.one_step import train
from tests.training.test_distributed import ROOT, SCRIPT, difference, launch

CONFIGS = ROOT / "examples" / "accelerate"
ON_TWO_CPUS = ("--num_processes", "2", "--mixed_precision", "no")


@pytest.fixture(scope="module")
def alone(tiny_checkpoint, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone")
    train(Path(tiny_checkpoint), folder, "8x1")
    return folder / "8x1"


def test_fsdp2_takes_the_step_of_one_process(tiny_checkpoint, alone, tmp_path):
    launch(CONFIGS / "fsdp2.yaml", [*ON_TWO_CPUS, SCRIPT], tiny_checkpoint, tmp_path, "--cuts", "4x1", "2x2")
    for cut in ("4x1", "2x2"):
        assert json.loads((tmp_path / cut / "step.json").read_text())["processes"] == [2, "FSDP"]
        assert difference(alone, tmp_path / cut) < 1e-5


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("deepspeed") is None, reason="DeepSpeed is not installed")
@pytest.mark.parametrize("stage", [2, 3])
def test_zero_takes_the_step_of_one_process(stage, tiny_checkpoint, alone, tmp_path):
    settings = json.dumps({"use_cpu": False, "ddp_backend": "gloo"})  # use_cpu would switch DeepSpeed off
    launch(
        CONFIGS / f"zero{stage}.yaml",
        [*ON_TWO_CPUS, SCRIPT],
        *(tiny_checkpoint, tmp_path, "--cuts", "4x1", "2x2", "--settings", settings),
        DS_ACCELERATOR="cpu",
    )
    for cut in ("4x1", "2x2"):
        assert json.loads((tmp_path / cut / "step.json").read_text())["processes"] == [2, "DEEPSPEED"]
        assert difference(alone, tmp_path / cut) < 1e-5
