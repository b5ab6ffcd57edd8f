import numpy as np
import pytest
from scipy import stats

from heie_hf.metrics import bootstrap as boot

PAIRED = {"plcc": boot.plcc_of, "srcc": boot.srcc_of, "krcc": boot.krcc_of, "rmse": boot.rmse_of}


def make_scores(n=80, decimals=1):
    rng = np.random.default_rng(0)
    target = rng.random(n)
    return (0.6 * target + 0.4 * rng.random(n)).round(decimals), target.round(decimals)


@pytest.mark.parametrize("name", PAIRED)
def test_a_resample_counts_as_the_images_it_holds(name):
    from heie_hf import metrics

    prediction, target = make_scores()
    weights = next(boot._resamples(len(target), 20, seed=1))
    drawn = [np.repeat(np.arange(len(target)), row.astype(int)) for row in weights]
    expected = [getattr(metrics, name)(prediction[rows], target[rows]) for rows in drawn]
    statistic = PAIRED[name](prediction, target)
    assert statistic.of(weights) == pytest.approx(expected, abs=1e-12)
    assert statistic.value == pytest.approx(getattr(metrics, name)(prediction, target), abs=1e-12)


def test_interval_agrees_with_scipy():
    values = np.random.default_rng(0).exponential(size=100)
    ours = boot.interval(boot.mean_of(values), num_resamples=20_000)
    theirs = stats.bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=1).confidence_interval
    assert ours.value == pytest.approx(values.mean())
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.01)


def test_correlation_interval_agrees_with_scipy():
    pair = make_scores()
    ours = boot.interval(boot.srcc_of(*pair), num_resamples=4000)
    theirs = stats.bootstrap(
        pair, lambda x, y: stats.spearmanr(x, y).statistic, paired=True, vectorized=False, method="percentile",
        n_resamples=1000, rng=1,
    ).confidence_interval  # fmt: skip
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=0.03)


def test_images_where_a_metric_is_undefined_do_not_count():
    interval = boot.interval(boot.mean_of([1.0, np.nan, 3.0, np.nan]))
    assert interval.value == 2
    assert (interval.low, interval.high) == (1, 3)


def test_ratio_is_of_the_sums():
    perplexity = boot.ratio_of([10.0, 2.0], [5, 1], np.exp)
    assert perplexity.value == pytest.approx(np.exp(2))
    assert boot.interval(perplexity).low == pytest.approx(np.exp(2))


def test_same_seed_same_interval_whatever_the_chunks(monkeypatch):
    statistic = boot.srcc_of(*make_scores())
    first = boot.interval(statistic, num_resamples=300)
    monkeypatch.setattr(boot, "_CHUNK_CELLS", 7 * 80)
    assert boot.interval(statistic, num_resamples=300) == first
    assert boot.interval(statistic, num_resamples=300, seed=1) != first


def test_nothing_known_gives_nan_and_no_images_an_error():
    interval = boot.interval(boot.mean_of([np.nan, np.nan]))
    assert np.isnan([interval.value, interval.low, interval.high]).all()
    with pytest.raises(ValueError, match="no images"):
        boot.interval(boot.mean_of([]))


def test_comparison_uses_the_pairs():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(size=200)
    first, second = difficulty + 0.05 + 0.1 * rng.normal(size=200), difficulty + 0.1 * rng.normal(size=200)
    result = boot.compare(boot.mean_of(first), boot.mean_of(second))
    assert result.p_value < 0.01  # the images differ twenty times as much as the models do
    assert 0 < result.low < result.difference < result.high
    swapped = boot.compare(boot.mean_of(second), boot.mean_of(first))
    assert (swapped.difference, swapped.low) == pytest.approx((-result.difference, -result.high))


def test_comparison_is_the_interval_of_the_difference():
    first, second = np.random.default_rng(0).random((2, 40))
    result = boot.compare(boot.mean_of(first), boot.mean_of(second), seed=3)
    interval = boot.interval(boot.mean_of(first - second), seed=3)
    assert (result.difference, result.low, result.high) == pytest.approx((interval.value, interval.low, interval.high))


@pytest.mark.parametrize("num_resamples", [99, 499])
def test_the_smallest_p_is_that_of_all_resamples_on_one_side(num_resamples):
    result = boot.compare(boot.mean_of([2, 3, 4]), boot.mean_of([1, 1, 1]), num_resamples=num_resamples)
    assert result.p_value == 2 / (num_resamples + 1)


def test_comparison_of_a_result_with_itself():
    prediction, target = make_scores()
    result = boot.compare(boot.plcc_of(prediction, target), boot.plcc_of(prediction, target))
    assert (result.difference, result.p_value) == (0, 1)


def test_p_values_are_honest_where_nothing_differs():
    rng = np.random.default_rng(0)
    p_values = [
        boot.compare(boot.mean_of(a), boot.mean_of(b), num_resamples=200).p_value
        for a, b in rng.normal(size=(300, 2, 60))
    ]
    assert np.mean(np.array(p_values) < 0.1) == pytest.approx(0.1, abs=0.05)


def test_comparison_of_correlations():
    prediction, target = make_scores(200, decimals=3)
    noise = np.random.default_rng(1).random(200)
    result = boot.compare(boot.srcc_of(prediction, target), boot.srcc_of(prediction + noise, target))
    assert result.p_value < 0.01
    assert result.low > 0


@pytest.mark.parametrize("name", PAIRED)
def test_values_that_are_not_of_the_same_images_are_refused(name):
    for pair in (([1, 2], [1, 2, 3]), ([[1], [2]], [[1], [2]]), ([1, 2, 3], [1])):
        with pytest.raises(ValueError, match="two values per image"):
            PAIRED[name](*pair)


def test_different_images_are_refused():
    with pytest.raises(ValueError, match="not the same images: 2 and 3"):
        boot.compare(boot.mean_of([1, 2]), boot.mean_of([1, 2, 3]))
