"""What the embedded model is taught: the sides of light and shadow, in the mirror too, and scores from images."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import pipeline

from heie_hf.data import synthetic
from heie_hf.data.synthetic import DEFECTS, PARTS, draw_scene
from heie_hf.data.synthetic.export import scene_id
from heie_hf.recipes.heie_tiny import (
    LIGHT_BITS,
    PART_BITS,
    SHADOW_BITS,
    ImageScoreCollator,
    PartsAndDefects,
    mirror,
    scenes,
    side_bits,
)

ROOT = Path(__file__).parents[2]
WRONG, SHADOW = DEFECTS.index("wrong shadow"), PARTS.index("shadow")


def test_a_wrong_shadow_speaks_for_the_other_side_than_the_light():
    seen = set()
    for scene in (draw_scene(0, index) for index in range(60)):
        bits, wrong = side_bits(scene), scene.defect_map == WRONG
        right = scene.light_side > 0
        assert bool((bits & LIGHT_BITS[int(right)]).all()) == (scene.light_side != 0)
        assert not (bits & LIGHT_BITS[int(not right)]).any()
        for area, side in (((scene.parts == SHADOW) & ~wrong, right), (wrong, not right)):
            if scene.light_side and area.any():
                assert (bits[area] & SHADOW_BITS[int(side)]).all()
                assert not (bits[area] & SHADOW_BITS[int(not side)]).any()
                seen.add((scene.light_side, side))
    assert len(seen) == 4  # right and wrong shadows, under light from both sides


def test_the_mirror_swaps_sides_and_columns_and_nothing_else():
    cells = np.zeros((1, 8, 8), np.uint64)
    cells[0, 2, 1] = LIGHT_BITS[0] | SHADOW_BITS[1] | PART_BITS[5]
    mirrored = mirror(cells)
    assert mirrored[0, 2, 6] == LIGHT_BITS[1] | SHADOW_BITS[0] | PART_BITS[5]
    assert np.count_nonzero(mirrored) == 1 and np.array_equal(mirror(mirrored), cells)


def test_the_tower_starts_with_rows_and_columns_told_apart():
    positions = PartsAndDefects().tower.embeddings.position_embeddings[0, 1:].detach().unflatten(0, (8, 8))
    for along in (0, 1):
        means = positions.mean(dim=along)  # of each column, of each row
        distances = (means[:, None] - means[None]).norm(dim=-1)
        assert distances[~np.eye(8, dtype=bool)].min() > 0.5


def test_stages_have_scenes_of_their_own(tmp_path):
    drawn = [scenes(0, 2, tmp_path, first)["id"] for first in (0, 2)]
    assert drawn == [[scene_id(0, index) for index in pair] for pair in ((0, 1), (2, 3))]


def test_the_score_is_not_learnt_where_the_reference_text_is_shown(tiny_processor):
    rows = list(synthetic.load(8, seed=0))
    collator = ImageScoreCollator(tiny_processor, {"none": 0.5, "reference": 0.5})
    batch = collator(rows)
    sources = np.array([collator.draw(row["id"]).source for row in rows])
    assert set(sources) == {"none", "reference"}
    assert np.array_equal(batch["score_labels"].isnan(), sources == "reference")
    assert not batch["heatmap_labels"].isnan().any()
    learnt = (batch["labels"][:, 1:] != -100).any(dim=1).numpy()
    assert np.array_equal(learnt, sources == "reference")


def train_tiny(*arguments) -> str:
    """What the script prints."""
    command = [sys.executable, ROOT / "examples" / "train_tiny.py", *arguments]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_script_explains_its_options():
    assert "the tower rests in 50% of them" in " ".join(train_tiny("--help").split())


@pytest.mark.slow
def test_the_script_goes_through_all_stages_once(tmp_path):
    """And what it exports is a model that the pipeline takes."""
    options = ["--output-dir", tmp_path / "run", "--export-dir", tmp_path / "exported", "--num-scenes", "2"]
    options += ["--vision-steps", "1", "1", "--text-steps", "1", "--joint-steps", "2", "--num-test-scenes", "2"]
    printed = [json.loads(line) for line in train_tiny(*options).splitlines() if line.startswith('{"text"')]
    assert [figures["text"] for figures in printed] == ["generated", "none"]
    assert all(figures["num_images"] == 2 for figures in printed)
    stages = {"vision-0", "vision-1", "text", "heads", "joint"}
    assert {folder.parent.name for folder in (tmp_path / "run").glob("*/final")} == stages
    result = pipeline("image-implausibility", model=str(tmp_path / "exported"))(draw_scene(0, 0).image, explain=False)
    assert 0 <= result["score"] <= 1
