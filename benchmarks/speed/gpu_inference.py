"""Images per second of an 8B model, with the full text and without any, for batches of 1, 8 and 32 images.

    python -m benchmarks.speed.gpu_inference                               # one GPU
    python -m benchmarks.speed.gpu_inference --tiny --device cpu --repeats 1

Random bf16 weights in the shape of InternVL2-8B, images already cut into patches. Random weights never end a section
by themselves, so every text is as long as the config allows (96 + 96 + 192 tokens beside the fixed ones): trained
models write less and are faster. Prints a markdown table.
"""

import gc
from collections.abc import Callable

import torch

from benchmarks.speed.internvl2_8b import (
    best_seconds,
    device_name,
    make_prompts,
    new_config,
    new_model,
    parser,
    peak_memory,
)

HEADER = """| patches | batch | full text, images/s | peak memory, GB | no text, images/s | peak memory, GB |
|---|---|---|---|---|---|"""


def measure(function: Callable[[], object], batch: int, device: str, repeats: int) -> str:
    """Two cells of the table: images per second and memory."""
    try:
        seconds, memory = peak_memory(device, lambda: best_seconds(function, device, repeats))
    except torch.OutOfMemoryError:
        return "out of memory | |"
    return f"{batch / seconds:.2f} | {memory} |"


def main() -> None:
    options = parser(__doc__, [1, 8, 32]).parse_args()
    device = options.device
    config = new_config(options.tiny)
    model = new_model(config, device)
    print(f"{device_name(device)}, torch {torch.__version__}\n\n{HEADER}")
    for patches in options.patches:
        for batch in options.batches:
            inputs = make_prompts(config, batch, patches, device)

            def full_text(inputs=inputs):
                return model.generate(**inputs, return_dict_in_generate=True)

            def no_text(inputs=inputs):
                return model.assess(**inputs)

            cells = [measure(function, batch, device, options.repeats) for function in (full_text, no_text)]
            print(f"| {patches} | {batch} |", *cells, flush=True)
            gc.collect()


if __name__ == "__main__":
    main()
