"""Heatmap, score and explanation of image files with the pipeline.

python examples/predict.py examples/images/*.png
"""

import sys
from pathlib import Path

from transformers import pipeline

import heie_hf  # noqa: F401  (registers the task)
from heie_hf.visualization import overlay


def main(paths: list[str]) -> None:
    pipe = pipeline("image-implausibility")
    for path, result in zip(paths, pipe(paths, batch_size=4), strict=True):
        print(f"{path}: score {result['score']:.2f}\n{result['regions']}\n{result['analysis']}\n")
        picture = overlay(pipe.image_processor.fetch_images(path), result["predicted_heatmap"], result["score"])
        picture.save(f"{Path(path).stem}.overlay.png")


if __name__ == "__main__":
    main(sys.argv[1:])
