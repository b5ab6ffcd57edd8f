"""The synthetic benchmark is frozen: figures of different times are about the same scenes."""

import hashlib
import re
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest

from heie_hf.data.synthetic import SPLITS, draw_scene

# Split and index: size, kinds, score, mean of the image's values, mean of the heatmap.
FROZEN = {
    ("train", 0): ((225, 289), ["garbled sign"], 0.5096, 156.56, 0.0848),
    ("train", 35_999): ((283, 209), ["missing leg"], 0.5206, 168.31, 0.018),
    ("dev", 1): ((268, 579), ["extra leg"], 0.4189, 172.73, 0.0592),
    ("dev", 499): ((278, 288), ["detached limb"], 0.4288, 199.9, 0.0412),
    ("test", 0): ((255, 605), [], 1.0, 153.0, 0.0),
    ("test", 999): ((600, 517), ["detached limb"], 0.4561, 148.31, 0.0257),
    ("test-unseen", 1): ((911, 599), ["extra clock hand"], 0.6988, 150.44, 0.014),
}


@pytest.mark.parametrize("split, index", FROZEN)
def test_the_scenes_are_those_that_were_frozen(split, index):
    chosen = SPLITS[split]
    scene = draw_scene(chosen.seed, index, chosen.unseen)
    size, kinds, score, brightness, marked = FROZEN[split, index]
    assert (scene.image.size, [defect.kind for defect in scene.defects]) == (size, kinds)
    assert scene.score == pytest.approx(score, abs=1e-4)
    assert np.asarray(scene.image, dtype=float).mean() == pytest.approx(brightness, abs=0.02)
    assert scene.heatmap.mean() == pytest.approx(marked, abs=1e-4)


def test_no_seed_serves_two_splits():
    assert len({split.seed for split in SPLITS.values()}) == len(SPLITS)


#: Of pictures, heatmaps, labels, defects, scores and texts of the first ten scenes of each split.
DIGESTS = {
    "train": "2f483b8d0f96faba",
    "dev": "170b0a08fa8329da",
    "test": "40e524fbd8716df8",
    "test-unseen": "47d2973780bcd577",
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_first_scenes_are_the_same_to_the_byte(split):
    constraints = Path(__file__).parents[2].joinpath("constraints.txt").read_text()
    pinned = dict(re.findall(r"^(pillow|numpy)==(\S+)", constraints, re.MULTILINE | re.IGNORECASE))
    for package, number in pinned.items():
        if version(package) != number:
            pytest.skip(f"{package} {version(package)} may draw an edge otherwise than {number}")
    chosen = SPLITS[split]
    digest = hashlib.sha256()
    for index in range(10):
        scene = draw_scene(chosen.seed, index, chosen.unseen)
        for content in (scene.image, scene.heatmap, scene.parts, scene.defect_map):
            digest.update(content.tobytes())
        labels = (scene.defects, scene.score, scene.light_side, scene.description, scene.regions, scene.analysis)
        digest.update(repr(labels).encode())
    assert digest.hexdigest()[:16] == DIGESTS[split]
