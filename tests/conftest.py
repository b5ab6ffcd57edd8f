"""Tiny models with real parts: a tokenizer trained here, the real processors, random weights, saved and loaded."""

import os
import shutil
from pathlib import Path
from tempfile import mkdtemp

# A cache of its own for every process that runs tests: nothing is there from before, and no neighbour writes into it.
os.environ["HF_HOME"] = mkdtemp(prefix="heie-tests-")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# What the tests start runs this checkout, too.
os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])

import numpy as np
import pytest
import torch
import transformers
from PIL import Image

SHARED_ANNOTATIONS = Path(__file__).resolve().parents[2] / "shared" / "data" / "expl_aigi_eval"
IMAGE_SIZES = [(112, 112), (150, 60), (60, 150), (168, 112)]  # width, height: grids 2x2, 3x1 (or 2x1), 1x3, 3x2


def pytest_report_header() -> str:
    capability = torch.backends.cpu.get_cpu_capability()
    return f"Transformers {transformers.__version__}, PyTorch {torch.__version__}, vector instructions: {capability}"


def pytest_unconfigure() -> None:
    shutil.rmtree(os.environ["HF_HOME"], ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_processor():
    from heie_hf import HEIEImageProcessor, HEIEProcessor
    from heie_hf.processing.explanation_heie import Explanation, render
    from heie_hf.recipes.tokenizer import train_tokenizer

    texts = [
        render(Explanation(f"A {thing} in a {place}.", f"1. the {part}\n2. the {thing}", f"The {part} is {fault}."))
        for thing in ("dog", "person", "clock")
        for place in ("garden", "kitchen")
        for part in ("left hand", "leg")
        for fault in ("melted", "missing", "N/A")
    ]
    image_processor = HEIEImageProcessor(
        size={"height": 56, "width": 56}, max_patches=6, heatmap_size={"height": 16, "width": 16}
    )
    tokenizer = train_tokenizer(texts, vocab_size=400, max_patches=6)
    return HEIEProcessor(image_processor, tokenizer, image_seq_length=4)


@pytest.fixture(scope="session")
def tiny_config(tiny_processor):
    return make_tiny_config(tiny_processor)


def make_tiny_config(processor, **overrides):
    from heie_hf import HEIEConfig

    vision = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64)
    text = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, num_key_value_heads=1)
    return HEIEConfig(
        **{
            "vision_config": {"model_type": "internvl_vision", "image_size": 56, "patch_size": 14, **vision},
            "text_config": {
                "model_type": "qwen2",
                "intermediate_size": 64,
                "vocab_size": len(processor.tokenizer),
                "tie_word_embeddings": False,
                **text,
            },
            "mapper_config": {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64},
            "scorer_config": {"hidden_size": 32},
            "image_seq_length": 4,
            "section_max_tokens": [8, 9, 10],
            "tie_word_embeddings": False,
            **processor.model_token_config(),
            **overrides,
        }
    )


@pytest.fixture(scope="session")
def make_tiny_model(tiny_processor):
    """A fresh random model in evaluation mode: make_tiny_model(seed=0, **config_overrides)."""
    from heie_hf import HEIEForImplausibility

    def make(seed=0, **overrides):
        torch.manual_seed(seed)
        model = HEIEForImplausibility(make_tiny_config(tiny_processor, **overrides)).eval()
        randomize(model)
        model.generation_config.pad_token_id = tiny_processor.tokenizer.pad_token_id
        return model

    return make


def randomize(model):
    """InternVL starts with zero positions and tiny layer scales; at std 0.02 outputs hardly depend on inputs."""
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.15)


@pytest.fixture(scope="session")
def tiny_model(make_tiny_model):
    return make_tiny_model()


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory, make_tiny_model, tiny_processor):
    folder = tmp_path_factory.mktemp("tiny-heie")
    make_tiny_model().save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in IMAGE_SIZES]


@pytest.fixture(scope="session")
def targets(images):
    """Explanation, heatmap and score for each of `images`."""
    rng = np.random.default_rng(1)
    return [
        {
            "explanation": {"description": "A dog.", "regions": f"the leg {i}", "analysis": "The leg is melted."},
            "heatmap": rng.random((image.height, image.width), dtype=np.float32),
            "score": 0.2 * i,
        }
        for i, image in enumerate(images)
    ]


@pytest.fixture
def transformers_loads_adapters():
    """Skips where this Transformers asks for a newer PEFT than there is: 5.24.0 asks for 0.22, newer than PyPI's."""
    from transformers.integrations.peft import MIN_PEFT_VERSION
    from transformers.utils import check_peft_version

    try:
        check_peft_version(MIN_PEFT_VERSION)
    except ValueError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def expl_aigi_eval():
    if not SHARED_ANNOTATIONS.is_dir():
        pytest.skip("the published Expl-AIGI-Eval annotations are not beside this checkout")
    return SHARED_ANNOTATIONS
