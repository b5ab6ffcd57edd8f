"""A disk that takes no more: one line that names the file, nothing half-written, and the next run goes on."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import heie_hf
from heie_hf.evaluation import load_samples
from tests.evaluation.test_command import FAST

ROOT = Path(heie_hf.__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def heie(tiny_checkpoint, scenes, complete, datasets_cache):
    """heie(folder, limit) -> the finished process of an evaluation whose files may have `limit` bytes each."""

    def run(folder, limit=resource.RLIM_INFINITY):
        command = [sys.executable, "-m", "heie_hf.cli", "evaluate", "--model", tiny_checkpoint, *FAST]
        return subprocess.run(
            [*command, "--dataset", str(scenes), "--output-dir", str(folder), "--text", "none"],
            cwd=ROOT,
            env=os.environ | {"HF_DATASETS_CACHE": str(datasets_cache)},
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
            capture_output=True,
            text=True,
        )

    return run


def test_a_full_disk_is_one_line_and_the_next_run_goes_on(heie, tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "out"
    assert heie(whole).returncode == 0
    predictions = "predictions/scenes-none"
    for name in (f"{predictions}/heads.safetensors", "report.html"):
        done = heie(folder, (whole / name).stat().st_size - 1)
        assert done.returncode == 1 and done.stdout == "", done.stderr
        last = done.stderr.splitlines()[-1]
        assert last == f"heie: cannot write {folder / name}: File too large"
        assert "Traceback" not in done.stderr
        assert not (folder / name).exists() and not list(folder.rglob("*.tmp"))
    shards = {file.name: file.stat().st_mtime_ns for file in (folder / predictions).glob("*.npz")}
    assert len(shards) == 3
    assert heie(folder).returncode == 0
    assert shards == {file.name: file.stat().st_mtime_ns for file in (folder / predictions).glob("*.npz")}
    assert load_samples(folder) == load_samples(whole)
