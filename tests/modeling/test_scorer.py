import pytest
import torch

from heie_hf.modeling.configuration_heie import HEIEScorerConfig
from heie_hf.modeling.scorer_heie import VerisimilitudeScorer


def make_scorer(score_source="calibrated", calibration="weighted"):
    torch.manual_seed(0)
    return VerisimilitudeScorer(HEIEScorerConfig(hidden_size=16), 24, score_source, calibration)


@pytest.mark.parametrize("calibration", ["weighted", "dynamic"])
def test_the_calibrated_score_lies_between_its_parts(calibration):
    heatmaps = [torch.rand(32, 64), torch.rand(96, 32), torch.zeros(40, 40)]
    score, token, map_score = make_scorer(calibration=calibration)(3 * torch.randn(3, 24), heatmaps)
    low, high = torch.minimum(token, map_score), torch.maximum(token, map_score)
    assert ((low <= score) & (score <= high)).all() and (token != map_score).all()


@pytest.mark.parametrize("source", ["token", "map"])
def test_the_score_can_be_either_part_alone(source):
    score, token, map_score = make_scorer(source)(torch.randn(2, 24), [torch.rand(32, 32), torch.rand(32, 32)])
    assert torch.equal(score, {"token": token, "map": map_score}[source])


def test_a_single_hot_cell_reaches_the_map_score():
    empty, hot = torch.zeros(256, 256), torch.zeros(256, 256)
    hot[100, 100] = 1.0
    _, _, scores = make_scorer()(torch.zeros(2, 24), [empty, hot])
    assert (scores[0] - scores[1]).abs() > 1e-5
