import pytest
import torch

from heie_hf.modeling.fusion_heie import HeatmapFuser, join_patches, to_patch_order


def test_patches_are_joined_row_by_row():
    maps = torch.arange(6.0).view(6, 1, 1).expand(6, 2, 3)
    joined = join_patches(maps, columns=3, rows=2)
    assert joined.shape == (4, 9)
    assert joined[0].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert joined[3].tolist() == [3, 3, 3, 4, 4, 4, 5, 5, 5]


def test_the_global_token_comes_first_its_patch_last():
    assert to_patch_order([3, 2]).tolist() == [1, 2, 0, 4, 3]


def fuse(fusion, local_log_s, global_log_s, uncertainty="pixel"):
    """Local map 0.8 everywhere, global 0.2."""
    heat = torch.tensor([0.8, 0.8, 0.2]).logit().view(3, 1, 1).expand(3, 4, 4)
    log_s = torch.tensor([local_log_s, local_log_s, global_log_s]).view(3, 1, 1).expand(3, 4, 4)
    return HeatmapFuser(fusion, uncertainty)(heat, log_s, [3], [[2, 1]])[0]


@pytest.mark.parametrize(
    "fusion, expected", [("local", 0.8), ("global", 0.2), ("fixed", 0.5), ("learned", 0.5), ("uncertainty", 0.5)]
)
def test_equal_deviations_average(fusion, expected):
    maps = fuse(fusion, -1.0, -1.0)
    torch.testing.assert_close(maps.fused, torch.full((4, 8), expected))


def test_uncertainty_weighs_by_e_to_the_minus_s():
    maps = fuse("uncertainty", -2.0, 0.0)
    local, other = torch.tensor(-2.0).exp().neg().exp(), torch.tensor(-1.0).exp()
    expected = (local * 0.8 + other * 0.2) / (local + other)
    torch.testing.assert_close(maps.fused, expected.expand(4, 8))
    assert maps.deviation.min() > torch.tensor(-2.0).exp() and maps.deviation.max() < 1


def test_map_uncertainty_is_constant_per_patch():
    torch.manual_seed(0)
    maps = HeatmapFuser("local", "map")(torch.randn(3, 4, 4), torch.randn(3, 4, 4), [3], [[2, 1]])[0]
    assert maps.deviation[:, :4].unique().numel() == 1 and maps.deviation.unique().numel() == 2
