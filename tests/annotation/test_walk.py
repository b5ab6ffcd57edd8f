"""examples/annotate/walk.py, with few scenes: from pictures to a model that has learnt from their texts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.annotation.conftest import lines

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_walk_of_the_example(tmp_path):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "0"}
    command = [sys.executable, str(ROOT / "examples" / "annotate" / "walk.py"), "10", "walked"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    estimate, summary, figures, _, review, training = [json.loads(line) for line in done.stdout.splitlines()]
    assert estimate["calls"] == 30 and (summary["texts"], summary["failed"], summary["sent_back"]) == (10, 0, 1)
    assert figures["format_validity"] == figures["facts_right"] == 1
    assert (figures["leak_rate_at_first"], figures["leak_rate_in_the_end"], figures["repaired"]) == (0.1, 0, 1)
    assert (review["dropped"], review["kept"]) == (1, 9) and training["steps"] == 2
    [dropped] = lines(tmp_path / "walked" / "texts" / "dropped.jsonl")
    assert dropped["raters"] == ["ada"] and dropped["comments"] == {"ada": "I cannot see that."}
    assert (tmp_path / "walked" / "model" / "model.safetensors").exists()
