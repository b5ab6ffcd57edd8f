"""How fast scenes are drawn, on one core, against encoding and decoding the same pictures as PNG.

    python -m benchmarks.speed.synthetic --num-images 300

Prints one JSON line: images/s of both, and how many times as fast drawing is, which says more on a shared machine.
"""

import argparse
import json
import time
from io import BytesIO

from PIL import Image

from heie_hf.data.synthetic import draw_scene


def png_round_trip(image: Image.Image) -> Image.Image:
    buffer = BytesIO()
    image.save(buffer, "PNG")
    return Image.open(buffer).convert("RGB")


def main(num_images: int, seed: int) -> None:
    draw_scene(seed, 0)  # fonts and tables are loaded once
    drawing = coding = 0.0
    pixels = 0
    for index in range(num_images):  # alternating, so that both see the same machine
        start = time.process_time()
        image = draw_scene(seed, index).image
        middle = time.process_time()
        png_round_trip(image)
        drawing, coding = drawing + middle - start, coding + time.process_time() - middle
        pixels += image.width * image.height
    figures = {
        "num_images": num_images,
        "megapixels_per_image": round(pixels / num_images / 1e6, 3),
        "draw_images_per_cpu_second": round(num_images / drawing, 1),
        "png_images_per_cpu_second": round(num_images / coding, 1),
        "drawing_times_as_fast_as_png": round(coding / drawing, 2),
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--num-images", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    main(arguments.num_images, arguments.seed)
