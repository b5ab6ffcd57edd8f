import re
import subprocess
import sys

import numpy as np
import pytest
from scipy import stats

from heie_hf.metrics import krcc, logistic_fit, plcc, rmse, score_metrics, srcc
from heie_hf.metrics.score import logistic_curve

CORRELATIONS = {"plcc": plcc, "srcc": srcc, "krcc": krcc}


def make_scores(decimals=None, n=200):
    rng = np.random.default_rng(0)
    target = rng.random(n)
    prediction = 0.6 * target + 0.4 * rng.random(n)
    return (prediction, target) if decimals is None else (prediction.round(decimals), target.round(decimals))


@pytest.mark.parametrize("decimals", [None, 1])  # 1: full of ties
def test_equal_to_scipy(decimals):
    prediction, target = make_scores(decimals)
    assert plcc(prediction, target) == pytest.approx(stats.pearsonr(prediction, target).statistic, abs=1e-12)
    assert srcc(prediction, target) == pytest.approx(stats.spearmanr(prediction, target).statistic, abs=1e-12)
    assert krcc(prediction, target) == pytest.approx(stats.kendalltau(prediction, target).statistic, abs=1e-12)
    assert rmse(prediction, target) == pytest.approx(np.sqrt(np.mean((prediction - target) ** 2)), abs=1e-12)


def test_by_hand():
    assert plcc([1, 2, 3], [2, 4, 6]) == pytest.approx(1)
    assert srcc([1, 2, 9], [3, 2, 1]) == pytest.approx(-1)
    assert srcc([1, 1, 2], [1, 2, 3]) == pytest.approx(np.sqrt(3) / 2)  # ranks 1.5 1.5 3
    assert krcc([1, 2, 3, 4], [1, 2, 4, 3]) == pytest.approx(4 / 6)
    assert rmse([0, 1], [1, 1]) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize("metric", CORRELATIONS.values())
@pytest.mark.parametrize(
    "pair, reason",
    [
        (([0.1] * 5, [1, 2, 3, 4, 5]), "an input is constant"),
        (([1, 2, 3, 4, 5], [0.1] * 5), "an input is constant"),
        (([1], [2]), "there is only one image"),
    ],
)
def test_what_has_no_correlation_is_nan_with_a_warning(metric, pair, reason):
    with pytest.warns(RuntimeWarning, match=f"{metric.__name__} is undefined: {reason}"):
        assert np.isnan(metric(*pair))


@pytest.mark.parametrize("metric", [*CORRELATIONS.values(), rmse, logistic_fit])
@pytest.mark.parametrize(
    "bad, reason",
    [
        ([np.nan, 1, 2], "prediction has 1 NaN or infinite values, the first at [0]"),
        ([1, 2, -np.inf], "prediction has 1 NaN or infinite values, the first at [2]"),
        ([1, -1e308, 2], "prediction has -1e+308 at [1], beyond 1e+150"),
        ([1, 2], "same shape"),
        ([], "prediction is empty"),
        ([[1], [2], [3]], "prediction is (3, 1); scores are (n,), one per image"),
        (0.5, "prediction is (); scores are (n,), one per image"),
    ],
)
def test_bad_input_is_refused(metric, bad, reason):
    with pytest.raises(ValueError, match=re.escape(reason)):
        metric(bad, [1, 2, 3])
    with pytest.raises(ValueError, match=re.escape(reason.replace("prediction", "target"))):
        metric([1, 2, 3], bad)


@pytest.mark.parametrize("metric", [*CORRELATIONS.values(), rmse])
def test_the_largest_scores_that_are_allowed_do_not_overflow(metric):
    prediction = np.array([-1e150, 0, 1e150, 1e149])
    value = metric(prediction, -prediction)
    assert value == pytest.approx({"rmse": 2e150 * np.sqrt(2.01 / 4)}.get(metric.__name__, -1))


def test_logistic_fit_recovers_a_curve_and_lifts_plcc():
    prediction = np.linspace(0, 1, 60)
    target = logistic_curve(prediction, 0.8, 12.0, 0.4, 0.1, 0.3)
    assert logistic_fit(prediction, target) == pytest.approx(target, abs=1e-6)
    assert plcc(prediction, target, logistic=True) == pytest.approx(1)
    assert plcc(prediction, target) < 0.99
    assert rmse(100 * prediction, target, logistic=True) == pytest.approx(0, abs=1e-5)  # any scale of prediction
    assert logistic_curve(0.7, 0.8, 12.0, 0.4, 0.1, 0.3) == pytest.approx(
        0.8 * (0.5 - 1 / (1 + np.exp(12.0 * (0.7 - 0.4)))) + 0.1 * 0.7 + 0.3
    )


def test_logistic_fit_is_never_worse_than_a_line():
    for seed in range(8):
        rng = np.random.default_rng(seed)
        prediction = rng.random(40)
        target = 1 - prediction + 0.3 * rng.random(40)
        assert plcc(prediction, target, logistic=True) >= abs(plcc(prediction, target)) - 1e-6


def test_logistic_fit_needs_six_images():
    with pytest.raises(ValueError, match="at least 6 images"):
        logistic_fit([1, 2, 3, 4, 5], [1, 2, 3, 4, 5])


def test_score_metrics_leaves_out_unknown_scores():
    prediction, target = make_scores()
    target[::4] = np.nan
    row = score_metrics(prediction, target)
    known = ~np.isnan(target)
    assert row["num_scores"] == 150
    assert row["srcc"] == srcc(prediction[known], target[known])
    prediction[0] = np.nan  # of an image that is left out
    assert score_metrics(prediction, target) == row


def test_score_metrics_names_the_image_that_is_refused():
    prediction, target = make_scores(n=6)
    target[0] = np.nan
    with pytest.raises(ValueError, match=r"prediction has 1 NaN or infinite values, the first at \[4\]"):
        score_metrics(np.where(np.arange(6) == 4, np.nan, prediction), target)
    with pytest.raises(ValueError, match=r"target has 1 NaN or infinite values, the first at \[3\]"):
        score_metrics(prediction, np.where(np.arange(6) == 3, np.inf, target))
    with pytest.raises(ValueError, match="no target score is known"):
        score_metrics(prediction, np.full(6, np.nan))
    with pytest.raises(ValueError, match="empty"):
        score_metrics([], [])


def test_only_the_fit_needs_scipy():
    code = """
import sys
sys.modules["scipy"] = None
import types
sys.modules["heie_hf"] = package = types.ModuleType("heie_hf")
package.__path__ = [sys.argv[1]]
from heie_hf import metrics
from heie_hf.metrics import bootstrap
print(metrics.score_metrics([1, 2, 3], [1, 3, 2])["krcc"], metrics.auc_judd([1, 0], [1, 0]), "torch" in sys.modules)
"""
    import heie_hf

    folder = heie_hf.__path__[0]
    result = subprocess.run([sys.executable, "-c", code, folder], capture_output=True, text=True, check=True)
    assert result.stdout.split() == ["0.3333333333333333", "1.0", "False"]
