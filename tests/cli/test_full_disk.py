"""A disk that takes no more: one line that names the file, status 1, and nothing half-written."""

import contextlib
import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import heie_hf
from heie_hf.cli.failures import disk_failure
from heie_hf.data.synthetic import synthesize
from tests.conversion.originals import VIT_300M, make_original

ROOT = Path(heie_hf.__file__).resolve().parents[1]
FULL = Path("/dev/full")
FAST = ("--device", "cpu", "--num-workers", "0", "--text", "none")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 256 KiB."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    try:
        subprocess.run(command, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("mounting a small tmpfs needs Linux and its root")
    yield mounted
    subprocess.run(["umount", str(mounted)], check=True)


@contextlib.contextmanager
def small_files():
    """No file may grow over 100 kB, as after `ulimit -f`."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    synthesize(4, 11, folder)
    return folder


@pytest.fixture
def commands(tmp_path, scenes, tiny_checkpoint):
    """commands(OUT) -> the arguments of each command, which writes to OUT."""

    def make(out):
        make_original(tmp_path / "original", architecture="InternLM2ForCausalLM", vision=VIT_300M)
        model = ("--model", tiny_checkpoint)
        return {
            "predict": ("predict", scenes / "images", *model, "--device", "cpu", "--no-explain", "--output-dir", out),
            "evaluate": ("evaluate", "--dataset", scenes, *model, *FAST, "--output-dir", out),
            "synthesize": ("synthesize", "--num-images", 4, "--output-dir", out),
            "convert": ("convert", tmp_path / "original", out),
            "push": ("push", *model, "--to-folder", out),
        }

    return make


NAMES = ("predict", "evaluate", "synthesize", "convert", "push")


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_is_one_line(heie, commands, small_disk, name):
    out = small_disk / "out"
    if name in ("predict", "evaluate"):  # they write less than the others
        (small_disk / "filled").write_bytes(bytes(200 * 1024))
    status, printed, err = heie(*commands(out)[name])
    *_, line = err
    assert status == 1
    assert line.startswith(f"heie: cannot write {out}") and line.endswith(": No space left on device")
    assert sum("heie: " in line for line in err) == 1
    assert not list(small_disk.rglob(".heie-*"))
    assert name in ("predict", "evaluate", "synthesize") or not out.exists()


@pytest.mark.parametrize("name", ["synthesize", "convert", "push"])
def test_a_limit_on_the_size_of_files_is_one_line(heie, commands, tmp_path, name):
    out = tmp_path / "out"
    arguments = commands(out)[name]
    with small_files():
        status, _, err = heie(*arguments)
    assert status == 1
    assert err[-1].startswith(f"heie: cannot write {out}") and err[-1].endswith(": File too large")
    assert not list(tmp_path.rglob(".heie-*"))


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
@pytest.mark.parametrize("arguments", [("--help",), ("predict", "--help"), ("--version",), ("version",)])
def test_a_full_standard_output_is_one_line(arguments):
    assert printed_to_full_stdout(arguments) == (1, "heie: cannot write output: No space left on device\n")


@pytest.mark.skipif(not FULL.exists(), reason="no /dev/full here")
def test_results_that_do_not_fit_end_the_run_with_one_line(scenes, tiny_checkpoint):
    arguments = ["predict", str(scenes / "images"), "--no-explain", "--device", "cpu", "--model", tiny_checkpoint]
    expected = "heie: cannot write standard output: No space left on device\n"
    assert printed_to_full_stdout(arguments) == (1, expected)


def printed_to_full_stdout(arguments):
    command = [sys.executable, "-m", "heie_hf.cli", *arguments]
    with FULL.open("w") as full:
        process = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ)
    return process.returncode, process.stderr


def test_an_error_that_comes_from_itself_is_looked_at_once():
    """`raise error.__cause__ from None` makes such a ring."""
    first, second = ValueError("no row is left"), OSError("elsewhere")
    first.__context__, second.__context__ = second, first
    assert disk_failure(first) is None
    second.errno = errno.ENOSPC
    assert disk_failure(first) == "cannot write output: No space left on device"
