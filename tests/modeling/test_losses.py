"""Values computed by hand; sums over a count add up over any split of the batch."""

import math

import pytest
import torch

from heie_hf.modeling.losses_heie import laplace_nll, lm_loss, quality_focal_loss, score_loss

NAN = float("nan")


def test_quality_focal_loss_is_focal_loss_on_hard_targets():
    logit = math.log(0.8 / 0.2)
    hit = quality_focal_loss(torch.tensor([logit]), torch.tensor([1.0]), gamma=2)
    miss = quality_focal_loss(torch.tensor([logit]), torch.tensor([0.0]), gamma=2)
    assert hit.item() == pytest.approx(0.2**2 * -math.log(0.8), rel=1e-5)
    assert miss.item() == pytest.approx(0.8**2 * -math.log(0.2), rel=1e-5)


def test_quality_focal_loss_vanishes_at_a_soft_target():
    target = torch.tensor([0.3, 0.5])
    assert quality_focal_loss(target.logit(), target, gamma=2).item() == pytest.approx(0, abs=1e-9)


def test_laplace_nll_is_equation_3():
    loss = laplace_nll(torch.tensor([0.5]), torch.tensor([math.log(0.2)]), torch.tensor([0.1]))
    assert loss.item() == pytest.approx(math.sqrt(2) / 0.2 * 0.4 + math.log(0.2), rel=1e-5)


def test_laplace_nll_is_smallest_where_s_is_sqrt2_times_the_error():
    log_s = torch.linspace(-4, 1, 501)
    losses = [laplace_nll(torch.tensor([0.4]), value[None], torch.tensor([0.3])).item() for value in log_s]
    assert log_s[losses.index(min(losses))].exp().item() == pytest.approx(math.sqrt(2) * 0.1, rel=0.02)


def test_score_loss_averages_the_three_scores():
    scores = [torch.tensor([0.5]), torch.tensor([0.4]), torch.tensor([0.9])]
    assert score_loss(scores, torch.tensor([0.5])).item() == pytest.approx((0 + 0.01 + 0.16) / 3, rel=1e-5)


def test_lm_loss_counts_the_next_token_where_asked():
    logits = torch.zeros(1, 3, 4)
    logits[0, 1] = torch.tensor([0.0, math.log(5), 0.0, 0.0])
    labels = torch.tensor([[-100, -100, 1]])  # predicted at position 1
    assert lm_loss(logits, labels).item() == pytest.approx(-math.log(5 / 8), rel=1e-5)


@pytest.mark.parametrize("split", [1, 2])
def test_parts_of_a_batch_add_up_with_a_common_count(split):
    torch.manual_seed(0)
    heat, log_s, target = torch.randn(3, 4, 4), torch.randn(3, 4, 4), torch.rand(3, 4, 4)
    target[1, :2] = NAN
    count = (~target.isnan()).sum()

    def total(part):
        losses = [quality_focal_loss(heat[part], target[part], 2, count)]
        return losses[0] + laplace_nll(heat[part].sigmoid(), log_s[part], target[part], count)

    torch.testing.assert_close(total(slice(0, split)) + total(slice(split, 3)), total(slice(0, 3)))


def test_unknown_labels_give_zero_and_no_gradient():
    logits = torch.zeros(2, 2, requires_grad=True)
    unknown = torch.full((2, 2), NAN)
    loss = quality_focal_loss(logits, unknown, 2) + laplace_nll(logits, logits, unknown)
    loss = loss + score_loss([logits[0]] * 3, unknown[0])
    loss = loss + lm_loss(logits[None].expand(1, 2, 2), torch.full((1, 2), -100))
    loss.backward()
    assert loss.item() == 0 and not logits.grad.any()


def test_focal_loss_has_a_gradient_where_the_error_is_zero():
    logits = torch.zeros(3, requires_grad=True)
    quality_focal_loss(logits, torch.full((3,), 0.5), gamma=0.5).backward()
    assert logits.grad.isfinite().all()
