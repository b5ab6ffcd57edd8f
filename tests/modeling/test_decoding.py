"""Jumping over what is forced gives what Transformers' own loop gives, token by token, on random weights."""

import inspect

import pytest
import torch
from transformers import DynamicCache, InternVLModel, StaticCache
from transformers.generation import GenerationMixin
from transformers.generation.streamers import BaseStreamer

from heie_hf import HEIEForImplausibility


@pytest.fixture
def step_by_step(monkeypatch):
    """step_by_step(model, **arguments) = model.generate(**arguments), by Transformers' own loop."""

    def generate(model, **arguments):
        with monkeypatch.context() as patch:
            patch.setattr(HEIEForImplausibility, "_sample", GenerationMixin._sample)
            return model.generate(**arguments, return_dict_in_generate=True)

    return generate


def assert_same(one, other, tolerance=1e-5):
    assert torch.equal(one.sequences, other.sequences)
    torch.testing.assert_close(one.score, other.score, atol=tolerance, rtol=tolerance)
    for name in ("heatmap", "uncertainty"):
        for left, right in zip(one[name], other[name], strict=True):
            torch.testing.assert_close(left, right, atol=tolerance, rtol=tolerance)


def count_passes(model, **arguments):
    """Outputs of `generate`, and the widths of the language model's inputs, one per pass."""
    widths = []
    hook = model.model.language_model.register_forward_pre_hook(
        lambda module, args, kwargs: widths.append(kwargs["inputs_embeds"].shape[1]), with_kwargs=True
    )
    outputs = model.generate(**arguments, return_dict_in_generate=True)
    hook.remove()
    return outputs, widths


@pytest.mark.parametrize("seed", range(50))
def test_tokens_map_and_score_are_those_of_single_steps(make_tiny_model, tiny_processor, images, step_by_step, seed):
    """Batches of 1 to 4 images in changing order: mixed grids, padding on the left, literals of several lengths."""
    model = make_tiny_model(seed=seed)
    order = torch.randperm(4, generator=torch.Generator().manual_seed(seed)).tolist()
    chosen = [images[index] for index in order[: 1 + seed % 4]]
    inputs = tiny_processor(images=chosen, return_tensors="pt")
    assert_same(model.generate(**inputs, return_dict_in_generate=True), step_by_step(model, **inputs))


def test_a_literal_is_one_pass(tiny_model, tiny_processor, images):
    """Prompt and opening, three literals, and one pass per free token but those that end a section."""
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    outputs, widths = count_passes(tiny_model, **inputs)
    num_free = sum(tiny_model.config.section_max_tokens)
    assert sum(width > 1 for width in widths) == 4
    assert len(widths) <= 4 + num_free - 3
    assert sum(widths) == outputs.sequences.shape[1] - 1


@pytest.mark.parametrize(
    "settings",
    [
        {"use_cache": False},
        {"cache_implementation": "static"},
        {"repetition_penalty": 1.7, "no_repeat_ngram_size": 2},
        {"max_new_tokens": 60},
        {"output_scores": True},
        {"output_hidden_states": True},
    ],
    ids=lambda settings: "-".join(settings),
)
def test_settings_of_generate(tiny_model, tiny_processor, images, step_by_step, settings):
    inputs = tiny_processor(images=images, return_tensors="pt")
    jumped = tiny_model.generate(**inputs, **settings, return_dict_in_generate=True)
    stepped = step_by_step(tiny_model, **inputs, **settings)
    assert_same(jumped, stepped)
    for name in ("scores", "hidden_states"):
        by_token, expected = getattr(jumped, name), getattr(stepped, name)
        assert (by_token is None) == (expected is None)
        assert by_token is None or len(by_token) == len(expected)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_attention_implementations(make_tiny_model, tiny_processor, images, step_by_step, attention):
    model = make_tiny_model(seed=1)
    model.set_attn_implementation(attention)
    inputs = tiny_processor(images=images, return_tensors="pt")
    assert_same(model.generate(**inputs, return_dict_in_generate=True), step_by_step(model, **inputs))


def test_sampling_with_the_same_draws(make_tiny_model, tiny_processor, images, step_by_step, monkeypatch):
    """Every draw at the same quantile, so that jumping, which draws less often, sees the same."""

    def quantile(probabilities, num_samples):
        return (probabilities.cumsum(dim=-1) < 0.6).sum(dim=-1, keepdim=True)

    monkeypatch.setattr(torch, "multinomial", quantile)
    inputs = tiny_processor(images=images, return_tensors="pt")
    sampling = {"do_sample": True, "temperature": 1.3, "top_k": 40}
    answers = set()
    for seed in range(5):
        model = make_tiny_model(seed=seed)
        jumped = model.generate(**inputs, **sampling, return_dict_in_generate=True)
        assert_same(jumped, step_by_step(model, **inputs, **sampling))
        answers.add(tuple(jumped.sequences.flatten().tolist()))
    assert len(answers) == 5


def test_a_header_that_the_model_has_written_whole(make_tiny_model, tiny_processor, images, step_by_step):
    """One of a single token, and a wish for that token: the section ends, and nothing is left to force."""
    model = make_tiny_model(seed=3)
    opening, header, *rest = model.config.template_ids
    model.config.template_ids = [opening, header[:1], *rest]
    inputs = tiny_processor(images=images, return_tensors="pt")
    wish = {"sequence_bias": [[header[:1], 50.0]]}
    jumped = model.generate(**inputs, **wish, return_dict_in_generate=True)
    assert_same(jumped, step_by_step(model, **inputs, **wish))
    longest = model.config.section_max_tokens[0]
    first_answer = jumped.sequences[0, inputs["input_ids"].shape[1] :].tolist()
    assert first_answer.index(header[0], len(opening)) < len(opening) + longest


class Recorder(BaseStreamer):
    def __init__(self):
        self.puts = []

    def put(self, value):
        self.puts.append(value.tolist())

    def end(self):
        self.puts.append("end")


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_streamer_gets_the_same_tokens_in_the_same_order(
    tiny_model, tiny_processor, images, step_by_step, batch_size
):
    inputs = tiny_processor(images=images[:batch_size], return_tensors="pt")
    jumped, stepped = Recorder(), Recorder()
    tiny_model.generate(**inputs, streamer=jumped)
    step_by_step(tiny_model, **inputs, streamer=stepped)
    assert jumped.puts == stepped.puts


def cache_name():
    return "cache" if "cache" in inspect.signature(InternVLModel.forward).parameters else "past_key_values"


@pytest.mark.parametrize("kind", [DynamicCache, StaticCache])
def test_a_cache_that_holds_the_beginning_of_the_prompts(tiny_model, tiny_processor, images, step_by_step, kind):
    inputs = tiny_processor(images=[images[0], images[0].rotate(90)], return_tensors="pt")
    assert inputs["attention_mask"].all()
    size = {"max_cache_len": 512} if kind is StaticCache else {}
    caches = [{cache_name(): kind(config=tiny_model.config.text_config, **size)} for _ in range(2)]
    for cache in caches:
        with torch.no_grad():
            tiny_model(input_ids=inputs["input_ids"][:, :2], use_cache=True, **cache)
    jumped = tiny_model.generate(**inputs, **caches[0], return_dict_in_generate=True)
    assert_same(jumped, step_by_step(tiny_model, **inputs, **caches[1]))


def test_half_precision_keeps_the_grammar_and_the_states(make_tiny_model, tiny_processor, images):
    model = make_tiny_model(seed=2).to(torch.bfloat16)
    inputs = tiny_processor(images=images, return_tensors="pt").to(torch.bfloat16)
    outputs = model.generate(**inputs, return_dict_in_generate=True)
    prompt_length = inputs["input_ids"].shape[1]
    answer_mask = torch.ones_like(outputs.sequences[:, prompt_length:])
    mask = torch.cat([inputs["attention_mask"], answer_mask], dim=1)
    with torch.no_grad():
        forward = model(**{**inputs, "input_ids": outputs.sequences, "attention_mask": mask})
    torch.testing.assert_close(outputs.score, forward.score, atol=0.02, rtol=0)
    for traced, full in zip(outputs.heatmap, forward.heatmap, strict=True):
        torch.testing.assert_close(traced, full, atol=0.05, rtol=0)
