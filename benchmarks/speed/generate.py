"""The full text against InternVL's own `generate` of as many tokens with the same weights.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.generate

Greedy, batches of 1 and of 4 images that are cut beforehand. HEIE's time holds map and score, too.
"""

import argparse
from functools import partial

from heie_hf.checkpoints import default_checkpoint

from .backbone import load, make_inputs
from .ratios import HEADING, compare

WANTED = {1: 0.6, 4: 0.75}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(default_checkpoint()))
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    model, plain, processor = load(options.model)
    print(HEADING)
    for batch_size, wanted in WANTED.items():
        inputs, plain_inputs = make_inputs(processor, batch_size)
        num_tokens = model.generate(**inputs).shape[1] - inputs["input_ids"].shape[1]
        lengths = {"min_new_tokens": num_tokens, "max_new_tokens": num_tokens}
        compare(
            f"`generate`, batch of {batch_size}, {num_tokens} tokens",
            partial(model.generate, **inputs, return_dict_in_generate=True),
            "InternVL's `generate`",
            partial(plain.generate, **plain_inputs, **lengths, do_sample=False),
            wanted,
            options.rounds,
        )


if __name__ == "__main__":
    main()
