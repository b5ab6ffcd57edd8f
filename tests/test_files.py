"""Whole or not at all, and nothing of a killed run stays."""

import os
import signal
import subprocess
import sys

import pytest

from heie_hf.files import whole_file, whole_folder


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "below" / "a.txt"
    with whole_file(target) as draft:
        draft.write_text("half")
        assert not target.exists()
    assert target.read_text() == "half" and names(target.parent) == ["a.txt"]


def test_an_error_leaves_the_old_file_and_no_draft(tmp_path):
    target = tmp_path / "a.txt"
    target.write_text("old")
    with pytest.raises(OSError, match="disk full"), whole_file(target) as draft:
        draft.write_text("new")
        raise OSError("disk full")
    assert target.read_text() == "old" and names(tmp_path) == ["a.txt"]


def test_a_folder_appears_when_it_is_whole(tmp_path):
    target = tmp_path / "model"
    target.mkdir()  # empty: free
    with whole_folder(target) as draft:
        (draft / "config.json").write_text("{}")
        assert not any(target.iterdir())
    assert names(target) == ["config.json"] and names(tmp_path) == ["model"]


def test_a_folder_in_use_is_refused_before_any_work(tmp_path):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "mine.txt").write_text("keep")
    with pytest.raises(FileExistsError, match="not an empty folder"), whole_folder(tmp_path / "model"):
        raise AssertionError("the block must not run")
    assert names(tmp_path / "model") == ["mine.txt"]


def test_the_next_run_clears_what_a_killed_one_left_and_nothing_else(tmp_path):
    code = f"""
import os, signal
from pathlib import Path
from heie_hf.files import whole_file, whole_folder
with whole_file(Path({str(tmp_path)!r}) / "a.txt") as draft, whole_folder(Path({str(tmp_path)!r}) / "b") as folder:
    draft.write_text("half")
    (folder / "c").write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code])
    assert killed.returncode == -signal.SIGKILL and len(names(tmp_path)) == 2
    own = tmp_path / "notes.tmp"
    own.write_text("a user's file")
    command = f"from heie_hf.files import whole_file\nwith whole_file({str(tmp_path / 'd')!r}) as draft: draft.touch()"
    with whole_file(tmp_path / "e.txt") as alive:  # of a process that still works
        alive.write_text("more")
        subprocess.run([sys.executable, "-c", command], check=True, env=os.environ)
    assert names(tmp_path) == ["d", "e.txt", "notes.tmp"]
