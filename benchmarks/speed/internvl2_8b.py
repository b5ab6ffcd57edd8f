"""HEIE in the shape of InternVL2-8B, with random weights, and batches for it: what the GPU benchmarks share."""

import argparse
import time
from collections.abc import Callable

import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import set_seed

from heie_hf.modeling.configuration_heie import HEIEConfig
from heie_hf.modeling.generation_heie import chain_of_thought_literals
from heie_hf.modeling.modeling_heie import HEIEForImplausibility

GRIDS = {6: (3, 2), 12: (4, 3)}  # patches: columns, rows
PROMPT_TOKENS = 40  # beside the image's
MAX_PATCHES = 12
# InternViT-300M and InternLM2-7B (as Llama), with the config of OpenGVLab/InternVL2-8B
REAL = {
    "vision_config": {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
        "image_size": [448, 448],
        "patch_size": [14, 14],
        "attention_bias": True,
    },
    "text_config": {
        "model_type": "llama",
        "hidden_size": 4096,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 8,
        "intermediate_size": 14336,
        "max_position_embeddings": 32768,
        "rms_norm_eps": 1e-5,
        "rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e6},
    },
    "image_seq_length": 256,
    "section_max_tokens": [96, 96, 192],
}
TINY = {
    "vision_config": {
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "image_size": [56, 56],
        "patch_size": [14, 14],
    },
    "text_config": {
        "model_type": "llama",
        "hidden_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 1,
        "intermediate_size": 64,
    },
    "mapper_config": {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64},
    "scorer_config": {"hidden_size": 32},
    "image_seq_length": 4,
    "section_max_tokens": [3, 3, 3],
}


def parser(description: str, batches: list[int]) -> argparse.ArgumentParser:
    """The options that both benchmarks have."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--device", default="cuda")
    made.add_argument("--batches", type=int, nargs="+", default=batches)
    made.add_argument("--patches", type=int, nargs="+", default=list(GRIDS), choices=list(GRIDS))
    made.add_argument("--repeats", type=int, default=5, help="timed calls, after one that is not timed")
    made.add_argument("--tiny", action="store_true", help="a tiny model: only to see that the script runs")
    return made


def new_config(tiny: bool) -> HEIEConfig:
    """Token ids need no tokenizer: the special ones are the last of the vocabulary, the fixed texts are short runs."""
    words = 500 if tiny else 92_553
    image, end, first, *local, score = range(words, words + MAX_PATCHES + 4)
    sizes = TINY if tiny else REAL
    return HEIEConfig(
        **sizes | {"text_config": sizes["text_config"] | {"vocab_size": score + 1}},
        image_token_id=image,
        eos_token_id=end,
        map_token_id=first,
        local_map_token_ids=local,
        score_token_id=score,
        special_token_ids=[image, end, first, *local, score],
        template_ids=[list(range(10 * run, 10 * run + 6)) for run in range(1, 7)],
        max_patches=MAX_PATCHES,
        tie_word_embeddings=False,
    )


def new_model(config: HEIEConfig, device: str) -> HEIEForImplausibility:
    """Random bf16 weights, made on the device."""
    set_seed(0)
    with torch.device(device):
        return HEIEForImplausibility._from_config(config, dtype=torch.bfloat16).eval()


def make_prompts(config: HEIEConfig, batch: int, patches: int, device: str) -> dict[str, torch.Tensor]:
    """What the processor gives for `batch` images of `patches` patches: as input of `generate` and `assess`."""
    columns, rows = GRIDS[patches]
    count, side = patches + 1, config.vision_config.image_size[0]
    words = torch.randint(100, 500, (batch, PROMPT_TOKENS))
    pictures = torch.full((batch, count * config.image_seq_length), config.image_token_id)
    input_ids = torch.cat([words[:, :20], pictures, words[:, 20:]], dim=1)
    inputs = {
        "input_ids": input_ids,
        "attention_mask": torch.ones_like(input_ids),
        "pixel_values": torch.randn(batch * count, 3, side, side, dtype=torch.bfloat16),
        "num_patches": torch.full((batch,), count),
        "patch_grid": torch.tensor([[columns, rows]] * batch),
    }
    return {name: value.to(device) for name, value in inputs.items()}


def make_training_batch(config: HEIEConfig, batch: int, patches: int, device: str) -> dict[str, torch.Tensor]:
    """The prompts with answers whose sections are as long as the budgets allow, and all labels."""
    inputs = make_prompts(config, batch, patches, device)
    cells = config.vision_config.image_size[0] // config.vision_config.patch_size[0]
    cells *= config.mapper_config.upsample_factor
    sections = [torch.randint(100, 500, (length,)).tolist() for length in config.section_max_tokens]
    first, *others = chain_of_thought_literals(config, patches + 1)
    answer = first + [token for section, literal in zip(sections, others, strict=True) for token in section + literal]
    answers = torch.tensor([answer] * batch, device=device)
    learnt = ~torch.isin(answers, torch.tensor(config.local_map_token_ids, device=device))
    prompts = inputs["input_ids"]
    return inputs | {
        "input_ids": torch.cat([prompts, answers], dim=1),
        "attention_mask": torch.ones(batch, prompts.shape[1] + len(answer), dtype=torch.long, device=device),
        "labels": torch.cat([torch.full_like(prompts, -100), answers.where(learnt, -100)], dim=1),
        "heatmap_labels": torch.rand(batch * (patches + 1), cells, cells, device=device),
        "score_labels": torch.rand(batch, device=device),
    }


def forward_flops(model: HEIEForImplausibility, inputs: dict[str, torch.Tensor]) -> dict[str, int]:
    """Floating-point operations of one forward pass, in all and of some parts.

    "attention" are the language model's products of states with states, without its linear layers.
    """
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model(**inputs)
    names = ("model.vision_tower", "model.language_model", "lm_head", "mapper", "scorer")
    counts = {name: counter.get_flop_counts()[f"{type(model).__name__}.{name}"] for name in names}
    linear = (torch.ops.aten.mm, torch.ops.aten.addmm)
    attention = sum(count for kind, count in counts["model.language_model"].items() if kind not in linear)
    sums = {name: sum(operations.values()) for name, operations in counts.items()}
    return {"total": counter.get_total_flops(), "attention": attention, **sums}


def matmul_ceiling(device: str, size: int) -> float:
    """The most bf16 operations per second that a product of two square matrices reaches here."""
    left, right = (torch.randn(size, size, dtype=torch.bfloat16, device=device) for _ in range(2))
    return 2 * size**3 / best_seconds(lambda: left @ right, device, 20)


def best_seconds(function: Callable[[], object], device: str, repeats: int) -> float:
    """Wall time of the fastest call; the first one, which may compile and allocate, does not count."""
    times = []
    for _ in range(repeats + 1):
        synchronize(device)
        start = time.perf_counter()
        function()
        synchronize(device)
        times.append(time.perf_counter() - start)
    return min(times[1:])


def synchronize(device: str) -> None:
    if device.startswith("cuda"):
        torch.cuda.synchronize(device)


def peak_memory(device: str, function: Callable[[], object]) -> tuple[object, str]:
    """What `function` returns, and the most memory of the GPU that was allocated meanwhile, in GB; "-" on a CPU."""
    if not device.startswith("cuda"):
        return function(), "-"
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats(device)
    result = function()
    return result, f"{torch.cuda.max_memory_allocated(device) / 1e9:.1f}"


def device_name(device: str) -> str:
    return torch.cuda.get_device_name(device) if device.startswith("cuda") else device
