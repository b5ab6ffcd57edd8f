"""Generated texts against reference texts: ROUGE-L, BERTScore and a language model as judge."""

import re
import shutil

import numpy as np
import pytest

from heie_hf.data import load
from heie_hf.evaluation import EvaluationError, compare_results, load_samples
from heie_hf.metrics.judge import API_KEY_VARIABLE, Judge
from heie_hf.metrics.text import bert_score, rouge_l
from tests.metrics.chat_server import Server
from tests.metrics.tiny_bert import make_tiny_bert

KEY = "sk-very-secret-0123"
SECTIONS = ("description", "regions", "analysis")


@pytest.fixture
def server(monkeypatch):
    """Rates by the length of the candidate."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv(API_KEY_VARIABLE, KEY)
    with Server() as server:
        server.reply = lambda prompt, count: f"Rating: {len(candidate_of(prompt)) % 11}"
        yield server


def candidate_of(prompt):
    return re.search(r"<candidate>\n(.*)\n</candidate>", prompt, re.DOTALL).group(1)


@pytest.fixture
def judge(server):
    return Judge("judge-1", server.url, backoff=0.01, max_attempts=2)


@pytest.fixture
def again(run, complete, stored_only, tmp_path):
    """again(...) -> the complete evaluation once more, from its predictions."""
    shutil.copytree(complete.folder / "predictions", tmp_path / "out" / "predictions")
    return lambda **settings: run(model=stored_only, **settings)


@pytest.fixture(scope="session")
def pairs(complete, scenes):
    """Generated and reference texts of the six scenes."""
    rows = load_samples(complete.folder), list(load(scenes))
    return tuple(["\n".join(row[name] for name in SECTIONS if row[name]) for row in side] for side in rows)


def test_rouge_l_is_there_by_itself(complete, pairs):
    pytest.importorskip("rouge_score")
    expected = rouge_l(*pairs)
    assert [sample["rouge_l"] for sample in load_samples(complete.folder)] == pytest.approx(expected.tolist())
    assert complete.metrics["rouge_l"] == pytest.approx(expected.mean())
    low, high = complete.metrics["intervals"]["rouge_l"]
    assert low < complete.metrics["rouge_l"] < high
    assert "rouge_score" in complete.metrics["parameters"]["rouge_l"]
    assert (complete.metrics["bert_score"], complete.metrics["judge_rating"]) == (None, None)
    assert "rouge_l" in {difference.figure for difference in compare_results(complete.folder, complete.folder)[0]}


def test_without_rouge_score_it_is_left_out(again, monkeypatch):
    monkeypatch.setattr("heie_hf.evaluation.texts.find_spec", lambda name: None)
    result = again()
    assert result.metrics["rouge_l"] is None and "rouge_l" not in result.metrics["parameters"]


def test_without_generated_text_there_is_nothing_to_compare(run):
    assert run(text="none").metrics["rouge_l"] is None


def test_bertscore_by_an_encoder_of_ones_own(again, pairs, tmp_path):
    pytest.importorskip("bert_score")
    encoder = make_tiny_bert(tmp_path / "encoder")
    result = again(bertscore=encoder)
    assert result.metrics["bert_score"] == pytest.approx(bert_score(*pairs, encoder, 2).mean())
    assert result.metrics["parameters"]["bert_score"] == "F1 by bert_score with layer 2 of encoder, not rescaled"


def test_a_judge_rates_every_text_once(again, judge, server, pairs, tmp_path):
    result = again(judge=judge, fusions=["uncertainty"])
    ratings = [len(candidate) % 11 for candidate in pairs[0]]
    assert [sample["judge_rating"] for sample in result.samples] == ratings
    assert result.metrics["judge_rating"] == pytest.approx(np.mean(ratings))
    costs = {"requests": 6, "prompt_tokens": 600, "completion_tokens": 18}
    costs |= {"total_prompt_tokens": 600, "total_completion_tokens": 18}
    counts = {"num_rated": 6, "num_failed": 0, "num_cached": 0}
    assert result.metrics["judge"] == {"model": "judge-1", "url": server.url} | counts | costs
    assert "judge-1" in (tmp_path / "out" / "report.html").read_text()

    other = again(judge=judge, fusions=["local"])  # the same texts
    assert len(server.prompts) == 6 and other.metrics["judge_rating"] == result.metrics["judge_rating"]
    assert other.metrics["judge"]["requests"] == 0 and other.metrics["judge"]["total_prompt_tokens"] == 600
    assert server.keys == [f"Bearer {KEY}"] * 6
    for file in (tmp_path / "out").rglob("*.*"):
        assert KEY.encode() not in file.read_bytes(), file


def test_a_text_that_is_not_rated_is_listed_and_asked_again_next_time(again, judge, server, pairs, data):
    lost = candidate_of(f"<candidate>\n{pairs[0][2]}\n</candidate>")
    server.reply = lambda prompt, count: "no idea" if candidate_of(prompt) == lost else "Rating: 4"
    result = again(judge=judge)
    places = [place for place, text in enumerate(pairs[0]) if text == lost]
    assert [place for place, _ in result.failures] == [data.keys[place] for place in places]
    assert "not rated: no rating from 0 to 10 in the answer 'no idea'" in result.failures[0][1]
    assert result.metrics["judge"]["num_rated"] == 6 - len(places) and result.metrics["judge_rating"] == 4
    server.reply = lambda prompt, count: "Rating: 4"
    assert again(judge=judge).failures == []


def test_without_the_judge_the_other_figures_stand(again, judge, server, complete):
    server.reply = lambda prompt, count: (401, f"wrong key {KEY}", {})
    result = again(judge=judge)
    [(place, reason)] = result.failures
    assert place == "judge judge-1" and "401" in reason and KEY not in reason
    assert result.metrics["judge_rating"] is None and result.metrics["judge"]["num_rated"] == 0
    assert result.metrics["cc"] == complete.metrics["cc"]


def test_what_cannot_be_compared_is_said_before_the_inference(run, stored_only, judge, tmp_path):
    with pytest.raises(EvaluationError, match="compare generated texts, but the text is to be 'none'"):
        run(text="none", model=stored_only, judge=judge)
    pytest.importorskip("bert_score")
    with pytest.raises(EvaluationError, match="no BERTScore with .*nowhere"):
        run(model=stored_only, bertscore=str(tmp_path / "nowhere"))
