"""The wire against `transformers serve`: a vision model that has learnt one answer by heart, its nonsense listed.

What is asked with pictures and without them is understood, the answers come back, and none is lost.
"""

import socket
import subprocess
import sys

import pytest
import torch

from heie_hf.annotation import prompts
from tests.annotation.conftest import lines
from tests.metrics.test_judge_served import wait_for

ANSWER = '{"sensitive": false, "category": "none"}'
CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<IMG_CONTEXT>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


@pytest.fixture(scope="module")
def one_answer_model(tmp_path_factory):
    """A Llava of 0.1 M parameters that says ANSWER to everything."""
    from transformers import (
        CLIPImageProcessorPil,
        CLIPVisionConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        Qwen2Config,
    )

    from heie_hf.recipes.tokenizer import train_tokenizer

    tokenizer = train_tokenizer([prompts.FILTER, prompts.FORMAT, ANSWER], vocab_size=600, max_patches=2)
    image_id = tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>")
    pictures = CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    sizes = dict(hidden_size=32, num_hidden_layers=1, num_attention_heads=2, intermediate_size=64)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(image_size=28, patch_size=14, **sizes),
        text_config=Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=1, **sizes, **ids),
        image_token_id=image_id,
        vision_feature_layer=-1,
        image_seq_length=4,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(config)
    model.generation_config.update(**ids)
    processor = LlavaProcessor(
        pictures,
        tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=CHAT_TEMPLATE,
        image_token="<IMG_CONTEXT>",
    )
    learn_the_answer(model, tokenizer)
    folder = tmp_path_factory.mktemp("eye")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder)


def learn_the_answer(model, tokenizer):
    """After any question: the turn's opening is enough."""
    with_picture = [prompts.FILTER, prompts.DESCRIBE_CLEAN, prompts.describe(1), prompts.describe(2)]
    asked = [f"{question}{4 * '<IMG_CONTEXT>'}" for question in with_picture]
    for num_regions in range(3):
        form = prompts.bring_into_form(ANSWER, num_regions)
        asked += [form, prompts.REPAIR.format(problems="[MAP] stands there 0 times, not once")]
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    num_answer = len(tokenizer(ANSWER + "<|im_end|>", add_special_tokens=False)["input_ids"])
    for step in range(200):
        question = asked[step % len(asked)]
        text = f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{ANSWER}<|im_end|>"
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
        labels = ids.clone()
        labels[:, :-num_answer] = -100
        pictures = {"pixel_values": torch.randn(1, 3, 28, 28)} if "<IMG_CONTEXT>" in question else {}
        model(input_ids=ids, labels=labels, **pictures).loss.backward()
        optimizer.step()
        optimizer.zero_grad()


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


@pytest.mark.slow
def test_both_stages_reach_transformers_serve(served, one_answer_model, annotate, tmp_path):
    options = ["--vision-url", served, "--vision-model", one_answer_model, "--max-images", 2, "--concurrency", 1]
    status, summary, errors = annotate(*options)
    assert status == 1 and (summary["texts"], summary["failed"], summary["sent_back"]) == (0, 2, 2)
    assert summary["requests"] == 2 * 4 and summary["prompt_tokens"] > 8 * 100  # filter, free form, format, repair
    for record in lines(tmp_path / "out" / "records.jsonl"):
        assert record["free_form"] == record["format"] == ANSWER
    for failure in lines(tmp_path / "out" / "failures.jsonl"):
        assert "[MAP] stands there 0 times" in failure["reason"]
