"""A run that was killed and resumed is the run that was not: bit for bit, with generated texts and dropout."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.training.small_run import make_trainer

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = str(Path(__file__).with_name("small_run.py"))
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}


@pytest.fixture(scope="module")
def model(tmp_path_factory, make_tiny_model, tiny_processor):
    """With dropout, so that the state of the random numbers counts."""
    folder = tmp_path_factory.mktemp("model")
    tiny = make_tiny_model(seed=1)
    tiny.config.text_config.attention_dropout = 0.3
    tiny.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def whole(model, tmp_path_factory):
    """The folder of a run that nobody killed, and its trainer."""
    folder = tmp_path_factory.mktemp("whole")
    trainer = make_trainer(model, folder)
    trainer.train()
    return folder, trainer


@pytest.fixture(scope="module")
def killed(model, tmp_path_factory):
    """The folder of a run that was killed while it saved its second checkpoint."""
    folder = tmp_path_factory.mktemp("killed")
    command = [sys.executable, SCRIPT, str(model), str(folder), "--kill-in-save", "6"]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=600)
    assert run.returncode == -signal.SIGKILL, run.stderr
    left = {path.name for path in folder.iterdir()}
    trainer = make_trainer(model, folder)
    trainer.train(resume_from_checkpoint=True)
    return folder, trainer, left


def same(one, other) -> bool:
    """Nested containers and tensors, bit for bit."""
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other) if not hasattr(one, "shape") else bool((one == other).all())


def test_a_half_written_checkpoint_is_none(killed):
    folder, _, left = killed
    assert left == {"checkpoint-3", "_unfinished"}
    assert {path.name for path in folder.iterdir()} == {"checkpoint-3", "checkpoint-6"}


def test_three_steps_and_three_more_are_six(whole, killed):
    assert same(whole[1].model.state_dict(), killed[1].model.state_dict())
    for name in ("optimizer.pt", "scheduler.pt", "rng_state.pth"):
        files = [folder / "checkpoint-6" / name for folder in (whole[0], killed[0])]
        assert same(*(torch.load(file, weights_only=False) for file in files)), name


def test_so_are_the_logged_losses(whole, killed):
    names = ("step", "loss", "lm_loss", "heatmap_loss", "laplace_loss", "score_loss", "grad_norm", "learning_rate")
    logs = [[[e[n] for n in names] for e in run[1].state.log_history if "loss" in e] for run in (whole, killed)]
    assert len(logs[0]) == 6 and logs[0] == logs[1]


def test_generated_texts_are_kept_with_the_checkpoint(whole, killed):
    texts = [(folder / "checkpoint-3" / "generated_texts_0.json").read_text() for folder in (whole[0], killed[0])]
    assert json.loads(texts[0]) and texts[0] == texts[1]


@pytest.mark.parametrize("lost", ["rng_state.pth", "generated_texts_0.json"])
def test_dropout_and_generated_texts_matter(lost, whole, model, tmp_path):
    """If they did not, the tests above would prove less than they say."""
    shutil.copytree(whole[0] / "checkpoint-3", tmp_path / "checkpoint-3")
    (tmp_path / "checkpoint-3" / lost).unlink()
    trainer = make_trainer(model, tmp_path)
    trainer.train(resume_from_checkpoint=True)
    assert not same(whole[1].model.state_dict(), trainer.model.state_dict())


def test_a_checkpoint_of_an_earlier_run_is_replaced(model, whole, tmp_path):
    old = tmp_path / "checkpoint-3"
    old.mkdir()
    (old / "old.txt").touch()
    make_trainer(model, tmp_path, max_steps=3, text_source="none").train()
    assert {path.name for path in old.iterdir()} >= {"model.safetensors", "trainer_state.json"}
    assert not (old / "old.txt").exists()


@pytest.fixture(scope="module")
def two(model, tmp_path_factory):
    """The folder of a run on two processes, and of one that went on from its fifth step."""
    folder = tmp_path_factory.mktemp("two")
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += [SCRIPT, str(model), str(folder)]
    run = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, timeout=900)
    assert run.returncode == 0, run.stderr
    return folder


class TestTwoProcesses:
    def test_resume_within_the_second_epoch(self, two):
        one, other = (load_file(two / run / "model.safetensors") for run in ("whole", "resumed"))
        assert same(one, other)

    def test_each_writes_the_texts_of_its_rows(self, two):
        texts = [
            json.loads((two / "whole" / "checkpoint-5" / f"generated_texts_{process}.json").read_text())
            for process in (0, 1)
        ]
        assert texts[0] or texts[1]
        assert not texts[0].keys() & texts[1].keys()

    def test_evaluation_is_that_of_one_process(self, two, tmp_path):
        metrics = json.loads((two / "metrics.json").read_text())
        alone = make_trainer(two / "whole", tmp_path).evaluate()
        for name in ("mse", "kld", "cc", "sim", "nss", "auc_judd", "plcc", "srcc", "cc_given_text", "plcc_given_text"):
            assert metrics[f"eval_{name}"] == pytest.approx(alone[f"eval_{name}"], abs=1e-5), name
