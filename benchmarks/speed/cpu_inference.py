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


def measure(model, batches: dict[int, list], rounds: int) -> dict[tuple, float]:
    """(way, batch size) -> seconds of processor time per image, the least of several rounds.

    `batches`: batch size -> inputs for the same images, cut into batches of that size.
    """
    num_images = max(batches)
    best = {}
    for turn in range(rounds + 1):
        for run, size in itertools.product((full_text, no_text), batches):
            start = time.process_time()
            for inputs in batches[size]:
                run(model, inputs)
            seconds = (time.process_time() - start) / num_images
            if turn > 0:  # the first round warms up
                best[run, size] = min(seconds, best.get((run, size), seconds))
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default=str(default_checkpoint()))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = AutoModelForImageTextToText.from_pretrained(options.model).eval()
    processor = AutoProcessor.from_pretrained(options.model)
    pictures = [Image.open(path) for path in sorted(IMAGES.glob("*.png"))]
    images = list(itertools.islice(itertools.cycle(pictures), 8))
    one_by_one = [processor(images=image) for image in images]
    together = [processor(images=images)]
    best = measure(model, {1: one_by_one, 8: together}, options.rounds)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} thread(s)\n")
    print("| text | batch | CPU time per image, ms | times as fast |\n|---|---|---|---|")
    for (run, size), seconds in best.items():
        text = run.__name__.replace("_", " ")
        ratio = best[full_text, 1] / seconds
        print(f"| {text} | {size} | {1e3 * seconds:.1f} | {ratio:.1f} |")


if __name__ == "__main__":
    main()
