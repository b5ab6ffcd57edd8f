import torch

from heie_hf.modeling.configuration_heie import HEIEMapperConfig
from heie_hf.modeling.mapper_heie import ImplausibilityMapper, sincos_positions


def make_mapper(**overrides):
    torch.manual_seed(0)
    config = HEIEMapperConfig(hidden_size=32, num_attention_heads=4, intermediate_size=64, **overrides)
    return ImplausibilityMapper(config, text_size=24, vision_size=40)


def test_four_cells_per_patch_and_side():
    logits, log_s = make_mapper()(torch.randn(3, 24), torch.randn(3, 25, 40))
    assert logits.shape == log_s.shape == (3, 20, 20)
    assert logits.dtype == torch.float32


def test_the_map_varies_over_the_patch_even_with_equal_features():
    logits, _ = make_mapper()(torch.randn(1, 24), torch.ones(1, 16, 40))
    assert logits.std() > 1e-3


def test_the_map_depends_on_its_token():
    features = torch.randn(1, 16, 40).expand(2, -1, -1)
    logits, _ = make_mapper()(torch.randn(2, 24), features)
    assert (logits[0] - logits[1]).abs().max() > 1e-3


def test_log_deviation_is_bounded_below():
    mapper = make_mapper(min_log_deviation=-3.0)
    with torch.no_grad():
        mapper.output.bias[1] = -100
    _, log_s = mapper(torch.randn(2, 24), torch.randn(2, 16, 40))
    assert torch.allclose(log_s, torch.tensor(-3.0))


def test_positions_tell_every_cell_apart():
    positions = sincos_positions(8, 32, torch.zeros(1))
    assert torch.cdist(positions, positions).fill_diagonal_(1).min() > 0.1
