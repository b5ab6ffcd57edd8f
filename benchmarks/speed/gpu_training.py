"""LoRA training of an 8B model: time, memory and use of the GPU, for batches of 1, 4 and 8 images.

    python -m benchmarks.speed.gpu_training                                # one GPU
    python -m benchmarks.speed.gpu_training --tiny --device cpu --repeats 1

Random bf16 weights in the shape of InternVL2-8B; LoRA of rank 16 on the language model as `heie train` makes it, heads
trained whole, AdamW, autocast to bf16. Texts are as long as the config allows. A step is forward, backward and update.
Prints a markdown table. Model FLOPs leave out what --checkpointing computes again; MFU is their share of what a large
bf16 matrix product reaches in the same run.
"""

import gc

import torch
from peft import PeftModel
from torch import nn

from benchmarks.speed.internvl2_8b import (
    best_seconds,
    device_name,
    forward_flops,
    make_training_batch,
    matmul_ceiling,
    new_config,
    new_model,
    parser,
    peak_memory,
)
from heie_hf.training.recipe import AdapterArguments
from heie_hf.training.start import HEADS, add_adapter

HEADER = """| patches | batch | tokens per image | step, s | images/s | peak memory, GB | model TFLOPs per step | MFU |
|---|---|---|---|---|---|---|---|"""


def step_flops(forward: dict[str, int]) -> int:
    """Operations that a LoRA step needs: forward, and backward to the states of all but the tower, which rests.

    A linear layer goes back at the cost of its forward pass where its weights rest, at twice that in the heads. So do
    attention's products, which have two factors that learn. Left out: what the LoRA matrices add, about a hundredth,
    and the gradient of all rows of lm_head, which peft computes for the few that learn.
    """
    twice = forward["attention"] + forward["mapper"] + forward["scorer"]
    return 2 * forward["total"] - forward["model.vision_tower"] + twice


def prepare(model: nn.Module, checkpointing: bool, rank: int = 16) -> PeftModel:
    for name in HEADS:
        getattr(model, name).float()
    adapted = add_adapter(model, AdapterArguments(lora_rank=rank))
    if checkpointing:
        adapted.activation_checkpointing_enable()
    return adapted.train()


def make_step(model: PeftModel, inputs: dict[str, torch.Tensor], device: str):
    optimizer = torch.optim.AdamW([parameter for parameter in model.parameters() if parameter.requires_grad], lr=1e-4)

    def step() -> None:
        with torch.autocast(torch.device(device).type, torch.bfloat16):
            loss = model(**inputs).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def main() -> None:
    options = parser(__doc__, [1, 4, 8])
    options.add_argument("--checkpointing", action="store_true", help="activations are computed again: less memory")
    options = options.parse_args()
    device = options.device
    ceiling = matmul_ceiling(device, 512 if options.tiny else 8192)
    config = new_config(options.tiny)
    model = new_model(config, device)
    samples = {patches: make_training_batch(config, 1, patches, device) for patches in options.patches}
    flops = {patches: step_flops(forward_flops(model, sample)) for patches, sample in samples.items()}
    model = prepare(model, options.checkpointing)
    kept = "computed again" if options.checkpointing else "kept"
    print(f"{device_name(device)}, torch {torch.__version__}; activations {kept}; ", end="")
    print(f"bf16 matrix product {ceiling / 1e12:.3g} TFLOP/s\n\n{HEADER}")
    for patches in options.patches:
        for batch in options.batches:
            step = make_step(model, make_training_batch(config, batch, patches, device), device)
            row = f"| {patches} | {batch} | {samples[patches]['input_ids'].shape[1]} |"
            try:
                seconds, memory = peak_memory(device, lambda step=step: best_seconds(step, device, options.repeats))
            except torch.OutOfMemoryError:
                model.zero_grad()
                print(row, "out of memory | | | | |", flush=True)
            else:
                work = flops[patches] * batch
                print(row, f"{seconds:.3f} | {batch / seconds:.2f} | {memory} |", end="")
                print(f" {work / 1e12:.3g} | {work / seconds / ceiling:.1%} |", flush=True)
            del step
            gc.collect()


if __name__ == "__main__":
    main()
