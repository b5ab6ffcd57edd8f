"""A converted checkpoint computes what the original computes."""

import pytest
import torch

from heie_hf import HEIEForImplausibility
from tests.conversion import reference
from tests.conversion.conftest import KINDS

SHORT, LONG = 24, 90  # tokens, below and above the 48 of max_position_embeddings


def load(directory, **kwargs):
    model, info = HEIEForImplausibility.from_pretrained(directory, output_loading_info=True, **kwargs)
    assert not any(info.values()), info
    return model.eval()


def prompt(config, image_token, length):
    """Ids (1, length) with two patches of four tokens, and the pixels."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(3, config["llm_config"]["vocab_size"], (1, length), generator=generator)
    ids[ids == image_token] = 3
    ids[0, 3:11] = image_token
    return ids, torch.randn(2, 3, 56, 56, generator=generator)


@torch.no_grad()
def greedy(model, output, steps, vocab_size):
    """Greedy tokens of the backbone; HEIE's own `generate` forces a grammar."""
    tokens = [int(output.logits[0, -1, :vocab_size].argmax())]
    while len(tokens) < steps:
        output = model(input_ids=torch.tensor([tokens[-1:]]), past_key_values=output.past_key_values, use_cache=True)
        tokens.append(int(output.logits[0, -1, :vocab_size].argmax()))
    return tokens


@pytest.mark.parametrize("length", [SHORT, LONG])
@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_same_logits_and_greedy_tokens(original, converted, kind, length):
    _, config, tensors = original(kind)
    model = load(converted(kind))
    ids, pixels = prompt(config, model.config.image_token_id, length)
    cache = {}
    expected = reference.prompt_logits(ids, pixels, model.config.image_token_id, tensors, config, cache)
    output = model(input_ids=ids, pixel_values=pixels, use_cache=True)
    vocab_size = config["llm_config"]["vocab_size"]
    torch.testing.assert_close(output.logits[..., :vocab_size], expected, atol=1e-4, rtol=0)
    assert expected.std() > 0.5  # logits that differ enough for 1e-4 to mean something
    tokens = reference.greedy(expected, tensors, config, cache, steps=40)
    assert greedy(model, output, 40, vocab_size) == tokens
    assert len(set(tokens)) > 3


def test_rope_scaling_matters(original, converted):
    """Beyond max_position_embeddings the same weights without dynamic NTK give other logits."""
    _, config, tensors = original("internlm2")
    model = load(converted("internlm2"))
    ids, pixels = prompt(config, model.config.image_token_id, LONG)
    unscaled = config | {"llm_config": config["llm_config"] | {"rope_scaling": None}}
    logits = [
        reference.prompt_logits(ids, pixels, model.config.image_token_id, tensors, some, {})
        for some in (config, unscaled)
    ]
    assert (logits[0] - logits[1]).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["internlm2", "qwen2"])
@torch.no_grad()
def test_eager_attention_too(original, converted, kind):
    _, config, tensors = original(kind)
    model = load(converted(kind), attn_implementation="eager")
    ids, pixels = prompt(config, model.config.image_token_id, LONG)
    expected = reference.prompt_logits(ids, pixels, model.config.image_token_id, tensors, config, {})
    logits = model(input_ids=ids, pixel_values=pixels).logits[..., : expected.shape[-1]]
    torch.testing.assert_close(logits, expected, atol=1e-4, rtol=0)
