import pytest

from heie_hf.evaluation.report.charts import calibration_bins, heatmap_charts, histogram, scatter, score_charts


def test_calibration_bins_by_hand():
    bins = calibration_bins([0.05, 0.31, 0.39, 1.0], [0.5, 0.2, 0.4, 0.9])
    assert [members.count for members in bins] == [1, 2, 1]
    assert (bins[1].prediction, bins[1].target, bins[1].error) == pytest.approx((0.35, 0.3, 0.1))
    assert (bins[2].prediction, bins[2].low, bins[2].high) == pytest.approx((1.0, 0.9, 0.9))


def test_a_dot_per_image_and_every_nth_of_very_many():
    assert scatter([0, 1], [0.5, 1]).dots == [(0, 0.5), (1, 1)]
    assert len(scatter([0.5] * 10_000, [0.5] * 10_000).dots) == 3334


def test_bars_by_hand():
    chart = histogram([-1, -0.95, 0.99, 1.0, 1.0], -1, 1, "CC", num_bins=4)
    assert [bar.count for bar in chart.bars] == [2, 0, 0, 3]
    assert [bar.height for bar in chart.bars] == [0.5, 0, 0, 0.75]
    assert chart.y_ticks == ["0", "1", "2", "3", "4"]
    assert chart.x_ticks == ["-1", "-0.5", "0", "0.5", "1"]


def test_there_is_no_chart_of_nothing():
    sample = {"score": 0.5, "target_score": None, "cc": None, "auc_judd": None}
    assert score_charts([sample]) == heatmap_charts([sample]) == []
