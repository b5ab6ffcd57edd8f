"""The judge against `transformers serve`, with a language model that has learnt one answer by heart."""

import json
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest
import torch

from heie_hf.metrics.judge import Judge, judge_prompt

ANSWER = "Rating: 7"
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
PAIRS = [("the left hand has six fingers", "an extra finger"), ("nothing", "the leg is missing")]


@pytest.fixture(scope="module")
def one_answer_model(tmp_path_factory):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    from heie_hf.recipes.tokenizer import train_tokenizer

    prompts = [judge_prompt(*pair) for pair in PAIRS]
    tokenizer = train_tokenizer([*prompts, ANSWER], vocab_size=600, max_patches=2)
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(0)
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, num_key_value_heads=1)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), intermediate_size=64, **sizes, **ids))
    model.generation_config.update(**ids)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    for step in range(60):
        messages = [{"role": "user", "content": prompts[step % 2]}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        batch = tokenizer(prompt + ANSWER + "<|im_end|>", return_tensors="pt", add_special_tokens=False)
        num_answer = len(tokenizer(ANSWER)["input_ids"]) + 1
        labels = batch["input_ids"].clone()
        labels[:, :-num_answer] = -100
        model(input_ids=batch["input_ids"], labels=labels).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    folder = tmp_path_factory.mktemp("judge")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def served(one_answer_model):
    for package in ("fastapi", "uvicorn", "openai"):
        pytest.importorskip(package, reason="transformers serve needs transformers[serving]")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "transformers.cli.transformers", "serve", one_answer_model]
    process = subprocess.Popen([*command, "--device", "cpu", "--host", "127.0.0.1", "--port", str(port)])
    try:
        wait_for(f"http://127.0.0.1:{port}/health", process)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait()


def wait_for(url, process, seconds=240):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                return json.load(response)
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.2)
    pytest.fail("transformers serve did not start")


@pytest.mark.slow
def test_ratings_from_transformers_serve(served, one_answer_model, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    judge = Judge(one_answer_model, served, tmp_path / "ratings.jsonl", max_tokens=16, timeout=120)
    report = judge.rate(*zip(*PAIRS, strict=True))
    assert report.ratings == [7, 7]
    assert report.requests == 2
    assert report.prompt_tokens > 100
    assert report.completion_tokens > 2
    assert judge.rate(*zip(*PAIRS, strict=True)).num_cached == 2
