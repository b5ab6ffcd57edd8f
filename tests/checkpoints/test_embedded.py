"""The model inside the package: small, finite, and able to tell a planted defect from none on drawn scenes."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file
from transformers import pipeline

import heie_hf  # noqa: F401  (registers the task)
from heie_hf.checkpoints import default_checkpoint
from heie_hf.data.synthetic import draw_scene, issues_in
from heie_hf.data.synthetic.wording import NO_ISSUES
from heie_hf.metrics import cc

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "images").glob("*.png"))


@pytest.fixture(scope="module")
def pipe():
    return pipeline("image-implausibility")


def test_it_is_small_finite_and_safetensors_only():
    folder = Path(default_checkpoint())
    weights = load_file(folder / "model.safetensors")
    assert sum(file.stat().st_size for file in folder.iterdir()) <= 16e6
    assert all(weight.isfinite().all() for weight in weights.values())
    assert not [file for file in folder.iterdir() if file.suffix in {".bin", ".pt", ".pkl"}]


def test_it_says_that_it_knows_synthetic_scenes_only(pipe):
    assert "synthetic scenes only" in pipe.model.config.training_data_notice


def test_the_examples_get_a_whole_answer(pipe):
    assert EXAMPLES
    for path, result in zip(EXAMPLES, pipe([str(path) for path in EXAMPLES], batch_size=3), strict=True):
        assert 0 <= result["score"] <= 1 and np.isfinite(result["predicted_heatmap"]).all(), path
        assert result["description"] and result["regions"] and result["analysis"], path


def test_it_sees_planted_defects(pipe):
    """Far below its held-out figures, far above chance: 40 scenes of a seed that it was not trained on."""
    scenes = [draw_scene(77, index) for index in range(40)]
    results = pipe([scene.image for scene in scenes], explain=False, batch_size=8)
    pairs = [(r["predicted_heatmap"], s.heatmap) for r, s in zip(results, scenes, strict=True) if s.defects]
    assert np.mean([cc(*pair) for pair in pairs]) > 0.9
    assert np.corrcoef([r["score"] for r in results], [s.score for s in scenes])[0, 1] > 0.9


def test_it_says_in_a_right_sentence_that_nothing_is_wrong(pipe):
    """Not "Nothing looks plausible." or "Everything looks wrong.": it has to know how its own sentence began."""
    scenes = [scene for scene in (draw_scene(77, index) for index in range(60)) if not scene.defects]
    texts = [result["analysis"] for result in pipe([scene.image for scene in scenes], batch_size=8)]
    named = [text for text in texts if issues_in(text)]
    assert set(texts) - set(named) <= set(NO_ISSUES)
    assert len(named) < len(texts) / 4  # false alarms
