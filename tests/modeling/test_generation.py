"""The grammar holds for whatever weights, and the states traced while decoding are those of a full forward."""

import inspect
from types import SimpleNamespace

import pytest
import torch
from transformers import GenerationConfig, InternVLModel, StaticCache

from heie_hf.modeling.generation_heie import (
    ALLOWED_SETTINGS,
    ChainOfThoughtRow,
    check_generation_config,
    fit_budgets,
)


def run_row(emitted, literals=((1, 2), (3, 4, 5, 10), (3, 6), (7, 8, 9)), budgets=(4, 4, 4)):
    """Feed `emitted` free tokens wherever the grammar forces nothing; return the whole answer."""
    row, free, answer = ChainOfThoughtRow([list(x) for x in literals], list(budgets)), list(emitted), []
    while not row.done:
        answer.append(row.forced[0] if row.forced else free.pop(0))
        row.advance(answer[-1])
    return answer, free


def test_a_section_ends_when_the_next_literal_begins():
    answer, left = run_row([20, 3, 4, 5, 21, 22, 3, 6, 23, 7, 8, 9])
    assert answer == [1, 2, 20, 3, 4, 5, 10, 21, 22, 3, 6, 23, 7, 8, 9] and not left


def test_two_tokens_of_the_next_literal_do_not_end_a_section():
    answer, _ = run_row([3, 4, 20, 21, 3, 6, 7, 8, 9])
    assert answer == [1, 2, 3, 4, 20, 21, 3, 4, 5, 10, 3, 6, 7, 8, 9]


def test_a_section_ends_with_its_budget():
    answer, _ = run_row([20] * 12)
    assert answer == [1, 2, *[20] * 4, 3, 4, 5, 10, *[20] * 4, 3, 6, *[20] * 4, 7, 8, 9]


def test_budgets_shrink_in_proportion():
    assert fit_budgets([100, 100, 200], 40) == [10, 10, 20]
    assert fit_budgets([10, 10, 20], 400) == [10, 10, 20]


def forward_over(model, inputs, sequences):
    length = inputs["input_ids"].shape[1]
    mask = torch.cat([inputs["attention_mask"], torch.ones_like(sequences[:, length:])], dim=1)
    return model(**{**inputs, "input_ids": sequences, "attention_mask": mask})


def assert_same_assessment(one, other, tolerance=1e-5):
    torch.testing.assert_close(one.score, other.score, atol=tolerance, rtol=0)
    for name in ("heatmap", "global_heatmap", "local_heatmap", "uncertainty"):
        for left, right in zip(one[name], other[name], strict=True):
            torch.testing.assert_close(left, right, atol=tolerance, rtol=0)
    for name in ("patch_logits", "patch_log_deviation", "score_states"):
        torch.testing.assert_close(one[name], other[name], atol=10 * tolerance, rtol=0)


@pytest.mark.parametrize("seed", range(50))
def test_every_answer_is_whole_on_random_weights(make_tiny_model, tiny_processor, images, seed):
    model = make_tiny_model(seed=seed)
    inputs = tiny_processor(images=images, return_tensors="pt")
    torch.manual_seed(seed)
    outputs = model.generate(**inputs, return_dict_in_generate=True, do_sample=bool(seed % 2), temperature=3.0)
    answers = outputs.sequences[:, inputs["input_ids"].shape[1] :].tolist()
    config = model.config
    for answer, count, (columns, rows), heatmap in zip(
        answers, inputs["num_patches"].tolist(), inputs["patch_grid"].tolist(), outputs.heatmap, strict=True
    ):
        maps = [token for token in answer if token in {config.map_token_id, *config.local_map_token_ids}]
        assert maps == [config.map_token_id, *config.local_map_token_ids[: count - 1]]
        assert answer.count(config.score_token_id) == 1 and config.eos_token_id in answer
        assert heatmap.shape == (rows * 16, columns * 16)
        assert heatmap.isfinite().all() and heatmap.min() >= 0 and heatmap.max() <= 1
    assert ((outputs.score >= 0) & (outputs.score <= 1)).all()
    sizes = [(image.height, image.width) for image in images]
    for result in tiny_processor.post_process(outputs, sizes, input_length=inputs["input_ids"].shape[1]):
        assert result["text"].count("[MAP]") == 1 and result["text"].count("[SCORE]") == 1


@pytest.mark.parametrize("cache", [None, "static"])
def test_traced_states_are_those_of_a_full_forward(tiny_model, tiny_processor, images, cache):
    inputs = tiny_processor(images=images, return_tensors="pt")
    traced = tiny_model.generate(**inputs, return_dict_in_generate=True, cache_implementation=cache)
    assert_same_assessment(traced, forward_over(tiny_model, inputs, traced.sequences))


def test_cached_is_uncached(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images, return_tensors="pt")
    cached, uncached = (
        tiny_model.generate(**inputs, return_dict_in_generate=True, use_cache=use_cache) for use_cache in (True, False)
    )
    assert torch.equal(cached.sequences, uncached.sequences)
    assert_same_assessment(cached, uncached)


def test_batched_is_single(tiny_model, tiny_processor, images):
    batch = tiny_model.generate(**tiny_processor(images=images, return_tensors="pt"), return_dict_in_generate=True)
    for i, image in enumerate(images):
        inputs = tiny_processor(images=[image], return_tensors="pt")
        single = tiny_model.generate(**inputs, return_dict_in_generate=True)
        torch.testing.assert_close(single.heatmap[0], batch.heatmap[i], atol=1e-5, rtol=0)
        torch.testing.assert_close(single.score[0], batch.score[i], atol=1e-5, rtol=0)


def test_assess_is_the_template_without_text(tiny_model, tiny_processor, images):
    batch = tiny_model.assess(**tiny_processor(images=images, return_tensors="pt"))
    for i, image in enumerate(images):
        inputs = tiny_processor(images=[image], targets=[{"explanation": None}], return_tensors="pt")
        with torch.no_grad():
            forward = tiny_model(**{k: v for k, v in inputs.items() if not k.endswith("labels")})
        torch.testing.assert_close(forward.heatmap[0], batch.heatmap[i], atol=1e-5, rtol=0)
        torch.testing.assert_close(forward.score[0], batch.score[i], atol=1e-5, rtol=0)


def test_generate_returns_a_tensor_by_default(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    assert isinstance(tiny_model.generate(**inputs), torch.Tensor)


def test_max_new_tokens_shrinks_the_sections(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    length = inputs["input_ids"].shape[1]
    full = tiny_model.generate(**inputs).shape[1] - length
    limited = tiny_model.generate(**inputs, max_new_tokens=full - 12)
    assert limited.shape[1] - length <= full - 12
    assert tiny_model.config.score_token_id in limited[0].tolist()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"num_beams": 2}, "num_beams"),
        ({"num_return_sequences": 2, "do_sample": True}, "num_return_sequences"),
        ({"max_new_tokens": 3}, "max_new_tokens=3"),
        ({"prompt_lookup_num_tokens": 3}, "prompt_lookup_num_tokens"),
        ({"assistant_early_exit": 1}, "assistant_early_exit"),
        ({"max_time": 0.0}, "max_time"),
        ({"stop_strings": ["a"]}, "stop_strings"),
        ({"penalty_alpha": 0.6, "top_k": 4}, "penalty_alpha"),
        ({"guidance_scale": 2.0}, "guidance_scale"),
        ({"dola_layers": "high"}, "dola_layers"),
        ({"token_healing": True}, "token_healing"),
        ({"prefill_chunk_size": 2}, "prefill_chunk_size"),
        ({"force_words_ids": [[5]]}, "force_words_ids"),
        ({"output_hidden_states": "x"}, "output_hidden_states"),
        ({"assistant_model": None}, "assistant_model"),
        ({"custom_generate": "someone/code"}, "custom_generate"),
        ({"stopping_criteria": [lambda *_: True]}, "stopping_criteria"),
        ({"prefix_allowed_tokens_fn": lambda *_: [1]}, "prefix_allowed_tokens_fn"),
    ],
)
def test_what_the_grammar_cannot_do_is_refused(make_tiny_model, tiny_processor, images, arguments, message):
    """As an argument, and in the generation_config.json of a stranger."""
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    model = make_tiny_model()
    with pytest.raises(ValueError, match=message):
        model.generate(**inputs, **arguments)
    if message in vars(model.generation_config):
        model.generation_config.update(**arguments)
        with pytest.raises(ValueError, match=message):
            model.generate(**inputs)


def test_every_setting_of_transformers_is_allowed_or_refused():
    """One that a newer version adds is refused until somebody has looked at it."""
    settings = {name for name in vars(GenerationConfig()) if not name.startswith("_")} - {"transformers_version"}
    assert {"num_beams", "max_time", "stop_strings"} < settings - ALLOWED_SETTINGS
    for name in settings - ALLOWED_SETTINGS:
        with pytest.raises(ValueError, match=name):
            check_generation_config(SimpleNamespace(**{name: 17}))


def test_sampling_writes_no_id_beyond_the_tokenizer(make_tiny_model, tiny_processor, images):
    """A vocabulary that is padded, as InternVL's are, and weights that love the padding."""
    num_tokens = len(tiny_processor.tokenizer)
    text = {"model_type": "qwen2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    text |= {"num_key_value_heads": 1, "intermediate_size": 64, "tie_word_embeddings": False}
    model = make_tiny_model(text_config=text | {"vocab_size": 4 * num_tokens})
    inputs = tiny_processor(images=images, return_tensors="pt")
    torch.manual_seed(0)
    for settings in ({"do_sample": False}, {"do_sample": True, "temperature": 9.0}):
        assert model.generate(**inputs, **settings).max() < num_tokens


def cache_name():
    """Of the argument: `past_key_values` until Transformers 5.23, `cache` from 5.24."""
    return "cache" if "cache" in inspect.signature(InternVLModel.forward).parameters else "past_key_values"


def test_a_cache_of_the_user_is_filled(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    cache = StaticCache(config=tiny_model.config.text_config, max_cache_len=512)
    own = tiny_model.generate(**inputs, return_dict_in_generate=True, **{cache_name(): cache})
    assert cache.get_seq_length() == own.sequences.shape[1] - 1
    assert getattr(own, cache_name()) is cache
    assert_same_assessment(own, tiny_model.generate(**inputs, return_dict_in_generate=True))


def test_the_forward_pass_returns_what_the_backbone_does(tiny_model, tiny_processor, images):
    """Whatever this Transformers calls it, and nothing of it is deprecated in the way it is passed on."""
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    arguments = {name: inputs[name] for name in ("input_ids", "pixel_values", "attention_mask")}
    asked = {"output_hidden_states": True, "use_cache": True}
    backbone = tiny_model.model(**arguments, **asked)
    outputs = tiny_model(**arguments, **asked)
    assert {*backbone} < {*outputs}
    assert getattr(outputs, cache_name()).get_seq_length() == inputs["input_ids"].shape[1]
    assert torch.equal(outputs.last_hidden_state, backbone.last_hidden_state)


def test_a_decode_step_compiles_without_graph_breaks(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    cache = StaticCache(config=tiny_model.config.text_config, max_cache_len=inputs["input_ids"].shape[1] + 4)
    step = torch.compile(tiny_model.forward, fullgraph=True, backend="aot_eager")
    position = inputs["input_ids"].shape[1]
    with torch.no_grad():
        prompt = {k: inputs[k] for k in ("input_ids", "pixel_values")}
        tiny_model(**prompt, **{cache_name(): cache})
        token = inputs["input_ids"][:, -1:]
        compiled = step(input_ids=token, position_ids=torch.tensor([[position]]), **{cache_name(): cache})
        full = tiny_model(**{**prompt, "input_ids": torch.cat([inputs["input_ids"], token], dim=1)})
    torch.testing.assert_close(compiled.last_hidden_state[:, -1], full.last_hidden_state[:, -1], atol=1e-5, rtol=0)
