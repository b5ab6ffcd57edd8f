import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

import heie_hf
from heie_hf.metrics.judge import API_KEY_VARIABLE, Judge, JudgeError, parse_rating
from tests.metrics.chat_server import Server

KEY = "sk-very-secret-0123"


@pytest.fixture(autouse=True)
def online(monkeypatch):
    """The other tests run with HF_HUB_OFFLINE; here the network is loopback. A Hub token lies about, as at home."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_token_of_the_user")
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)


@pytest.fixture
def server():
    with Server() as server:
        yield server


def make_judge(server, **options):
    return Judge(**{"model": "judge-1", "base_url": server.url, "backoff": 0.01, "timeout": 5.0} | options)


def candidate_of(prompt):
    return re.search(r"<candidate>\n(.*)\n</candidate>", prompt).group(1)


def test_ratings_in_order_with_their_cost(server):
    server.reply = lambda prompt, count: f"Rating: {len(candidate_of(prompt))}"
    report = make_judge(server).rate(["a", "bbb", "a", "cc"], ["reference"] * 4)
    assert report.ratings == [1, 3, 1, 2]
    assert report.mean == 7 / 4
    assert (report.requests, report.prompt_tokens, report.completion_tokens) == (
        3,
        300,
        9,
    )  # equal pairs are asked once
    assert (report.num_failed, report.num_cached) == (0, 0)
    assert server.bodies[0]["model"] == "judge-1"
    assert "reference" in server.prompts[0]


def test_requests_run_side_by_side_within_the_limit(server):
    server.reply = lambda prompt, count: time.sleep(0.05) or "Rating: 1"
    make_judge(server, concurrency=3).rate([str(i) for i in range(10)], ["r"] * 10)
    assert 2 <= server.most_under_way <= 3


def test_the_key_comes_from_the_environment_and_nothing_else_is_sent(server, monkeypatch):
    make_judge(server).rate(["a"], ["r"])
    monkeypatch.delenv(API_KEY_VARIABLE)
    make_judge(server).rate(["b"], ["r"])
    assert server.keys == [f"Bearer {KEY}", None]


def test_busy_and_broken_servers_are_asked_again(server):
    replies = {1: (429, '{"error": "slow down"}', {"Retry-After": "0.2"}), 2: (503, "", {}), 3: "Rating: 5"}
    server.reply = lambda prompt, count: replies[count]
    begin = time.monotonic()
    report = make_judge(server).rate(["a"], ["r"])
    assert report.ratings == [5]
    assert report.requests == 3
    assert time.monotonic() - begin >= 0.2  # Retry-After was kept


def test_a_lost_pair_is_listed_and_the_others_go_on(server):
    server.reply = lambda prompt, count: (500, "out of memory", {}) if candidate_of(prompt) == "bad" else "Rating: 4"
    report = make_judge(server, max_attempts=3).rate(["a", "bad", "b"], ["r"] * 3)
    assert report.ratings == [4, None, 4]
    assert report.mean == 4
    assert report.num_failed == 1
    assert "500" in report.failures[1]
    assert "attempt 3 of 3" in report.failures[1]
    assert len([p for p in server.prompts if candidate_of(p) == "bad"]) == 3


def test_a_request_that_the_server_refuses_is_not_repeated(server):
    server.reply = lambda prompt, count: (400, "too long", {}) if candidate_of(prompt) == "bad" else "Rating: 4"
    report = make_judge(server).rate(["bad", "a"], ["r"] * 2)
    assert report.ratings == [None, 4]
    assert "too long" in report.failures[0]
    assert report.requests == 2


def test_a_stalled_server_counts_as_failed(server):
    server.reply = lambda prompt, count: time.sleep(1.0 if count == 1 else 0) or "Rating: 6"
    assert make_judge(server, timeout=0.2).rate(["a"], ["r"]).ratings == [6]


NONSENSE = [
    "I like it.",
    "",
    "Rating: 11",
    "Rating: -1",
    "Rating: 7.5",
    "There are 3 problems.",
    (200, "<html>welcome</html>", {}),
    (200, "{}", {}),
    (200, "[]", {}),
    (200, '{"choices": []}', {}),
    (200, '{"choices": [{"message": {"role": "assistant", "content": null}}]}', {}),
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_nonsense_is_no_rating(server, nonsense):
    server.reply = lambda prompt, count: nonsense if candidate_of(prompt) == "bad" or count == 1 else "Rating: 2"
    report = make_judge(server, max_attempts=2).rate(["bad", "a"], ["r"] * 2)
    assert report.ratings == [None, 2]
    assert report.requests == 4


@pytest.mark.parametrize(
    "answer", ["8", " Rating: 8\n", "**Rating: 8**", "rating = 8/10", "Both name the 6 fingers.\n\nRating: 8."]
)
def test_ratings_that_are_understood(answer):
    assert parse_rating(answer) == 8


def test_a_wrong_key_stops_everything_and_is_not_shown(server):
    server.reply = lambda prompt, count: (401, f"Incorrect API key provided: {KEY}", {})
    with pytest.raises(JudgeError, match=f"401.*judge-1.*{API_KEY_VARIABLE}") as error:
        make_judge(server).rate(["a", "b"], ["r"] * 2)
    assert len(server.prompts) == 1
    assert KEY not in str(error.value) + repr(make_judge(server))


def test_a_dead_server_is_reported_once(server):
    judge = make_judge(server, max_attempts=2)
    server.http.shutdown()
    server.http.server_close()
    with pytest.raises(JudgeError, match=r"127.0.0.1.*refused.*attempt 2 of 2"):
        judge.rate([str(i) for i in range(100)], ["r"] * 100)


def test_when_no_pair_can_be_rated_it_says_so(server):
    server.reply = lambda prompt, count: "no idea"
    with pytest.raises(JudgeError, match="no pair could be rated.*'no idea'"):
        make_judge(server, max_attempts=1).rate(["a", "b"], ["r"] * 2)


def test_offline_mode_is_named(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(JudgeError, match="HF_HUB_OFFLINE"):
        make_judge(server).rate(["a"], ["r"])


def test_a_second_run_asks_only_what_is_missing(server, tmp_path):
    cache = tmp_path / "ratings.jsonl"
    server.reply = lambda prompt, count: "?" if candidate_of(prompt) == "bad" else "Rating: 3"
    first = make_judge(server, cache=cache, max_attempts=1).rate(["a", "bad"], ["r"] * 2)
    assert first.num_failed == 1
    server.reply = lambda prompt, count: "Rating: 9"
    second = make_judge(server, cache=cache).rate(["a", "bad", "c"], ["r"] * 3)
    assert second.ratings == [3, 9, 9]
    assert (second.num_cached, second.requests, second.prompt_tokens) == (1, 2, 200)
    assert (second.total_prompt_tokens, second.total_completion_tokens) == (300, 9)  # of "a" in the first run, too
    assert make_judge(server, cache=cache, model="judge-2").rate(["a"], ["r"]).ratings == [9]  # another judge
    assert KEY not in cache.read_text()


# Without the package's __init__, which loads Transformers and more.
RATE_A_HUNDRED = """
import sys, types
sys.modules["heie_hf"] = package = types.ModuleType("heie_hf")
package.__path__ = [sys.argv[1]]
from heie_hf.metrics.judge import Judge
Judge("judge-1", sys.argv[2], sys.argv[3], concurrency=1).rate([str(i) for i in range(100)], ["r"] * 100)
"""


def test_a_run_killed_in_the_middle_goes_on(server, tmp_path):
    """Killed for good, and with half a line in the file, as a kill while writing leaves it."""
    cache = tmp_path / "ratings.jsonl"
    server.reply = lambda prompt, count: time.sleep(0.2 if int(candidate_of(prompt)) > 5 else 0) or "Rating: 3"
    folder = next(iter(heie_hf.__path__))
    environment = os.environ | {"HF_HUB_OFFLINE": "0"}
    process = subprocess.Popen([sys.executable, "-c", RATE_A_HUNDRED, folder, server.url, cache], env=environment)
    deadline = time.monotonic() + 60
    while len(server.prompts) < 8 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.kill()
    process.wait()
    lines = cache.read_text().splitlines(keepends=True)
    cache.write_text("".join(lines[:-1]) + lines[-1][:20])
    server.prompts.clear()
    server.reply = lambda prompt, count: "Rating: 8"
    report = make_judge(server, cache=cache).rate([str(i) for i in range(10)], ["r"] * 10)
    kept = len(lines) - 1
    assert kept >= 5
    assert report.ratings == [3] * kept + [8] * (10 - kept)
    assert len(server.prompts) == 10 - kept
    rows = [line for line in cache.read_text().splitlines() if line.endswith("}")]
    assert len([json.loads(row) for row in rows]) == 10


def test_no_pairs_need_no_server():
    report = Judge("judge-1", "http://127.0.0.1:9").rate([], [])
    assert report.ratings == []
    assert np.isnan(report.mean)
    with pytest.raises(ValueError):
        Judge("judge-1").rate(["a"], [])
