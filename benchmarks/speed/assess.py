"""Heatmap and score without text against one prefill of the prompt by the plain backbone.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.assess

Batches of 1 and of 4 images that are cut beforehand.
"""

import argparse
from functools import partial

import torch

from heie_hf.checkpoints import default_checkpoint

from .backbone import load, make_inputs
from .ratios import HEADING, compare

WANTED = 1.1
BATCH_SIZES = (1, 4)


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(default_checkpoint()))
    parser.add_argument("--rounds", type=int, default=25)
    options = parser.parse_args()
    model, plain, processor = load(options.model)
    print(HEADING)
    for batch_size in BATCH_SIZES:
        inputs, plain_inputs = make_inputs(processor, batch_size)
        compare(
            f"`assess`, batch of {batch_size}",
            partial(model.assess, **inputs),
            "one prefill of InternVL",
            partial(plain, **plain_inputs, logits_to_keep=1, use_cache=True),
            WANTED,
            options.rounds,
        )


if __name__ == "__main__":
    main()
