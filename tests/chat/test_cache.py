import subprocess
import sys
from pathlib import Path

import pytest

import heie_hf
from heie_hf.chat.cache import AnswerCache, CachedAnswer

FIRST, SECOND = CachedAnswer("one\ntwo", 3, 4), CachedAnswer("ä", 0, 0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "answers.jsonl"
    cache = AnswerCache(path)
    cache.add("a", "model", FIRST)
    cache.add("b", "model", SECOND)
    return path


def test_answers_come_back(path):
    cache = AnswerCache(path)
    assert cache.answers == {"a": FIRST, "b": SECOND}
    assert cache.get("c") is None


@pytest.mark.parametrize("kept", range(1, 80, 13))
def test_a_torn_line_is_lost_and_the_next_one_is_not(path, kept, caplog):
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:kept])
    cache = AnswerCache(path)
    assert f"{path}: 1 of 3 lines are damaged, the first is line 3" in caplog.text
    assert cache.answers == {"a": FIRST, "b": SECOND}
    cache.add("c", "model", FIRST)
    assert AnswerCache(path).answers == {"a": FIRST, "b": SECOND, "c": FIRST}


GARBAGE = [
    b"\xff\xfe\x00",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"null",
    b"7",
    b"[]",
    b"{}",
    b'{"key": "a"}',
    b'{"key": "a", "text": 7, "prompt_tokens": 1, "completion_tokens": 1}',
    b'{"key": "a", "text": "x", "prompt_tokens": 1e999, "completion_tokens": 1}',
    b'{"key": "a", "text": "x", "prompt_tokens": NaN, "completion_tokens": 1}',
    b'{"key": "a", "text": "x", "prompt_tokens": null, "completion_tokens": 1}',
    b'{"key": "a", "rating": "good", "prompt_tokens": 1, "completion_tokens": 1}',
]


@pytest.mark.parametrize("garbage", GARBAGE, ids=lambda garbage: repr(garbage[:20]))
def test_garbage_costs_its_own_line_only(path, garbage, caplog):
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + garbage + b"\n\n" + lines[1])
    assert AnswerCache(path).answers == {"a": FIRST, "b": SECOND}
    assert "1 of 4 lines are damaged, the first is line 2" in caplog.text


def test_a_whole_file_says_nothing(path, caplog):
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))  # as some editors leave it
    cache = AnswerCache(path)
    cache.add("c", "model", FIRST)
    assert len(AnswerCache(path).answers) == 3
    assert caplog.records == []


def test_ratings_of_the_first_versions_count(path):
    path.write_text('{"key": "a", "model": "judge-1", "rating": 7, "prompt_tokens": 5, "completion_tokens": 6}\n')
    assert AnswerCache(path).get("a") == CachedAnswer("7", 5, 6)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_is_an_error(tmp_path):
    cache = AnswerCache(tmp_path / "answers.jsonl")
    (tmp_path / "answers.jsonl").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left"):
        cache.add("a", "model", FIRST)


# Without the package's __init__, which loads Transformers; the two begin when both are there.
WRITE = """
import sys, types
from pathlib import Path
sys.modules["heie_hf"] = package = types.ModuleType("heie_hf")
package.__path__ = [sys.argv[1]]
from heie_hf.chat.cache import AnswerCache, CachedAnswer
folder, name = Path(sys.argv[2]), sys.argv[3]
cache = AnswerCache(folder / "answers.jsonl")
(folder / name).touch()
while not all((folder / each).exists() for each in "ab"):
    pass
for number in range(300):
    cache.add(f"{name} {number}", "model", CachedAnswer("x" * 9000, 1, 1))
"""


def test_several_processes_share_a_file(tmp_path, caplog):
    command = [sys.executable, "-c", WRITE, heie_hf.__path__[0], str(tmp_path)]
    processes = [subprocess.Popen([*command, name]) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    assert len(AnswerCache(tmp_path / "answers.jsonl").answers) == 600
    assert caplog.records == []
