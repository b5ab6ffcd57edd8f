"""Checkpoints in the original layout, each made and converted once."""

import pytest
from transformers.utils import logging

from tests.conversion.originals import VIT_6B, VIT_300M, make_original

SMALL = {
    "max_patches": 4,
    "mapper_config": {"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32},
    "scorer_config": {"hidden_size": 16},
}
KINDS = {
    "internlm2": {"architecture": "InternLM2ForCausalLM", "vision": VIT_300M},
    "internlm2-biased": {"architecture": "InternLM2ForCausalLM", "vision": VIT_6B, "llm": {"bias": True}},
    "qwen2": {"architecture": "Qwen2ForCausalLM", "vision": VIT_6B, "template": "internvl2_5"},
    "llama": {
        "architecture": "LlamaForCausalLM",
        "vision": VIT_300M,
        "llm": {"rope_scaling": {"type": "linear", "factor": 4.0}},
    },
    "qwen3": {
        "architecture": "Qwen3ForCausalLM",
        "vision": VIT_300M,
        "select_layer": -2,
        "llm": {"tie_word_embeddings": True, "head_dim": 16},
    },
}


@pytest.fixture(autouse=True, scope="session")
def no_progress_bars():
    logging.disable_progress_bar()
    yield
    logging.enable_progress_bar()


@pytest.fixture(scope="session")
def original(tmp_path_factory):
    """original(kind) -> (directory, config.json, tensors)"""
    made = {}

    def make(kind):
        if kind not in made:
            directory = tmp_path_factory.mktemp("original") / kind
            made[kind] = (directory, *make_original(directory, **KINDS[kind]))
        return made[kind]

    return make


@pytest.fixture(scope="session")
def converted(tmp_path_factory, original):
    """converted(kind) -> directory of the HEIE checkpoint"""
    from heie_hf.conversion import convert

    made = {}

    def make(kind):
        if kind not in made:
            made[kind] = convert(original(kind)[0], tmp_path_factory.mktemp("converted") / kind, **SMALL)
        return made[kind]

    return make
