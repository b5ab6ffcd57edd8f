"""Other fusions and given heatmaps from what is stored: Tables 5 and 7 without new inference."""

import numpy as np
import pytest
import torch

from heie_hf.evaluation import EvaluatedModel, EvaluationError
from heie_hf.evaluation.data import open_heatmap
from heie_hf.evaluation.heads import Heads, save_heads
from heie_hf.training.recipe import AdapterArguments
from heie_hf.training.start import add_adapter

# What a fusion turns out, image by image. A correlation over images is no measure here: the map scores of six drawn
# scenes differ by 1e-4, so that rounding in another processor's kernels, 1e-8, shows in its sixth digit.
FIGURES = ("score", "token_score", "map_score", "mse", "kld", "cc", "sim", "nss", "auc_judd")


def figures(samples, name):
    """One figure of every image; NaN where it is undefined."""
    return np.array([sample[name] for sample in samples], dtype=float)


@pytest.mark.parametrize("fusion", ["fixed", "local", "global"])
def test_fusing_again_equals_inference_with_that_fusion(
    run, stored_only, make_tiny_model, tiny_processor, tmp_path, fusion
):
    own = run(text="none").samples
    again = run(text="none", model=stored_only, fusions=[fusion]).samples
    other = EvaluatedModel("other", lambda: (make_tiny_model(fusion=fusion), tiny_processor))
    inference = run(text="none", model=other, output_dir=tmp_path / "inference")
    assert inference.metrics["run"]["fusion"] == fusion
    for name in FIGURES:
        assert figures(again, name) == pytest.approx(figures(inference.samples, name), abs=1e-6, nan_ok=True), name
    assert figures(again, "cc") != pytest.approx(figures(own, "cc"), abs=1e-5, nan_ok=True)


def test_back_to_the_fusion_of_the_model(run, stored_only):
    first = run(text="none")
    run(text="none", model=stored_only, fusions=["local"])
    assert run(text="none", model=stored_only, fusions=["uncertainty"]).flat == first.flat


def test_a_learned_weight_must_be_there(run, make_tiny_model, tiny_processor, tmp_path):
    run(text="none")
    with pytest.raises(EvaluationError, match="trained with fusion 'uncertainty'"):
        run(text="none", fusions=["learned"])
    learned = make_tiny_model(fusion="learned")
    with torch.no_grad():
        learned.fuser.local_logit.fill_(2.0)
    model = EvaluatedModel("learned", lambda: (learned, tiny_processor))
    weighted = run(text="none", model=model, output_dir=tmp_path / "learned")
    assert weighted.flat == run(text="none", model=model, output_dir=tmp_path / "learned", fusions=["learned"]).flat
    assert (
        weighted.metrics["mse"]
        != run(text="none", model=model, output_dir=tmp_path / "learned", fusions=["fixed"]).metrics["mse"]
    )


def test_reference_heatmap_changes_the_score_only(run, data, stored_only, tiny_model, tiny_processor):
    own = run(text="none")
    given = run(text="none", model=stored_only, heatmap="reference")
    for name in ("mse", "cc", "plcc_token"):
        assert given.metrics[name] == pytest.approx(own.metrics[name], abs=1e-6)
    assert given.metrics["plcc"] != own.metrics["plcc"]
    image_processor = tiny_processor.image_processor
    for sample in given.samples:
        target = open_heatmap(data.rows[sample["row"]]["heatmap"])
        grid = image_processor.get_patch_grid(*target.shape)
        canvas = image_processor.join_heatmap(image_processor.cut_heatmap(target, grid), grid)  # as in training
        with torch.no_grad():
            map_score = tiny_model.scorer(torch.zeros(1, 32), [torch.tensor(canvas)])[2].item()
        assert sample["map_score"] == pytest.approx(map_score, abs=1e-6)


def test_of_an_adapter_the_trained_heads_are_kept(make_tiny_model, tmp_path):
    model = add_adapter(make_tiny_model(), AdapterArguments(lora_rank=2)).base_model.model
    with torch.no_grad():
        model.scorer.modules_to_save["default"].token_logit.fill_(3.0)
    save_heads(model, tmp_path)
    assert Heads.load(tmp_path).scorer.token_logit.item() == 3.0
