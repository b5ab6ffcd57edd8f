"""What the text costs and what batches bring on a CPU: ratios within one run, with the embedded model.

    OMP_NUM_THREADS=1 python -m benchmarks.speed.cpu_inference

Processor time per image of the network alone (images are cut beforehand), best of several alternating rounds, so that
all ways see the same machine. Prints a markdown table; the ratio is to the full text of one image at a time.
"""

import argparse
import itertools
import time
from pathlib import Path

import torch
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoProcessor

import heie_hf  # noqa: F401 (registers HEIE)
from heie_hf.checkpoints import default_checkpoint

IMAGES = Path(__file__).parents[2] / "examples" / "images"


def full_text(model, inputs) -> None:
    model.generate(**inputs, return_dict_in_generate=True)


def no_text(model, inputs) -> None:
    model.assess(**inputs)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(default_checkpoint()))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = AutoModelForImageTextToText.from_pretrained(options.model).eval()
    processor = AutoProcessor.from_pretrained(options.model)
    pictures = [Image.open(path) for path in sorted(IMAGES.glob("*.png"))]
    images = list(itertools.islice(itertools.cycle(pictures), 8))
    batches = {1: [processor(images=image) for image in images], 8: [processor(images=images)]}
    times = {way: [] for way in itertools.product((full_text, no_text), batches)}
    for _ in range(options.rounds + 1):
        for (run, size), seen in times.items():
            start = time.process_time()
            for inputs in batches[size]:
                run(model, inputs)
            seen.append((time.process_time() - start) / len(images))
    best = {way: min(seen[1:]) for way, seen in times.items()}  # the first round warms up
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    print("| text | batch | CPU time per image, ms | times as fast |\n|---|---|---|---|")
    for (run, size), seconds in best.items():
        ratio = best[full_text, 1] / seconds
        print(f"| {run.__name__.replace('_', ' ')} | {size} | {1e3 * seconds:.1f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
