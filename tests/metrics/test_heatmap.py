import importlib.util
import re

import numpy as np
import pytest
from PIL import Image

from heie_hf.metrics import auc_judd, cc, heatmap_metrics, kld, mse, nss, sim
from heie_hf.metrics.heatmap import MIT_EPS, RICHHF_EPS, resize

GT_METRICS = {"kld": kld, "cc": cc, "sim": sim, "nss": nss, "auc_judd": auc_judd}


def make_pair(seed=0, shape=(48, 64), decimals=None):
    """A prediction and a blob target, most of it empty; rounding makes ties."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    blob = np.exp(-((x - 30) ** 2 + (y - 20) ** 2) / 60)
    target = np.where(blob > 0.05, blob, 0)
    prediction = np.clip(0.5 * blob + 0.5 * rng.random(shape), 0, 1)
    return (prediction if decimals is None else prediction.round(decimals)), target


def pysaliency_module(name):
    """One file of pysaliency: the package itself needs setuptools < 81 and numpy < 2.4 (pkg_resources, np.trapz)."""
    package = importlib.util.find_spec("pysaliency")
    if package is None:
        pytest.skip("pysaliency is not installed")
    path = f"{package.submodule_search_locations[0]}/{name}.py"
    spec = importlib.util.spec_from_file_location(f"pysaliency_{name}", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        pytest.skip(f"pysaliency.{name} does not import: {error}")
    return module


def trapezoids(x, y):
    return np.sum(np.diff(x) * (np.array(y[1:]) + np.array(y[:-1])) / 2)


def textbook_roc_area(prediction, fixated):
    """The ROC curve through every threshold there is, and trapezoids under it."""
    points = [(0.0, 0.0)]
    for threshold in np.unique(prediction)[::-1]:
        above = prediction >= threshold
        points.append((above[~fixated].mean(), above[fixated].mean()))
    return trapezoids(*zip(*points, strict=True))


def mit_auc_judd(prediction, fixated):
    """AUC_Judd.m without jitter: the curve through the fixated values alone, for a prediction without ties."""
    values = np.sort(prediction[fixated])[::-1]
    hits = [0.0, *((np.arange(len(values)) + 1) / len(values)), 1.0]
    false_alarms = [0.0, *((prediction[~fixated] >= value).mean() for value in values), 1.0]
    return trapezoids(false_alarms, hits), false_alarms[-2]


# ---------------------------------------------------------------- against pysaliency


# By seed, on make_pair(seed, decimals=2), pysaliency 0.2.22: CC, SIM, MIT_KLDiv, NSS().mean() and
# general_rocs_per_positive().mean().
PYSALIENCY = {
    0: dict(cc=0.471724113257, sim=0.255082707110, kld=1.523594431899, nss=0.734226831975, auc_judd=0.719891301801),
    1: dict(cc=0.498018630649, sim=0.261717510605, kld=1.487984697750, nss=0.773419493766, auc_judd=0.730444511174),
    2: dict(cc=0.488178268165, sim=0.261534952906, kld=1.502083814330, nss=0.788152537360, auc_judd=0.738759085691),
}


@pytest.mark.parametrize("seed", PYSALIENCY)
def test_equals_what_pysaliency_gave(seed):
    prediction, target = make_pair(seed, decimals=2)
    ours = {name: metric(prediction, target) for name, metric in GT_METRICS.items()}
    ours["kld"] = kld(prediction, target, eps=MIT_EPS)
    assert ours == pytest.approx(PYSALIENCY[seed], abs=1e-9)


@pytest.mark.filterwarnings("ignore:divide by zero")
@pytest.mark.parametrize("decimals", [None, 2])
def test_equals_pysaliency_installed_here(decimals):
    theirs = pysaliency_module("metrics")
    prediction, target = make_pair(3, decimals=decimals)
    ys, xs = np.nonzero(target)
    assert cc(prediction, target) == pytest.approx(theirs.CC(prediction, target), abs=1e-12)
    assert sim(prediction, target) == pytest.approx(theirs.SIM(prediction, target), abs=1e-12)
    assert kld(prediction, target, eps=MIT_EPS) == pytest.approx(theirs.MIT_KLDiv(prediction, target), abs=1e-9)
    assert nss(prediction, target) == pytest.approx(theirs.NSS(prediction, xs, ys).mean(), abs=1e-12)


@pytest.mark.parametrize("decimals", [None, 1])
def test_auc_equals_pysaliency_installed_here(decimals):
    theirs = pysaliency_module("numba_utils")
    prediction, target = make_pair(4, decimals=decimals)
    expected = theirs.general_rocs_per_positive_numba(prediction[target > 0], prediction[target == 0]).mean()
    assert auc_judd(prediction, target) == pytest.approx(expected, abs=1e-12)


# ---------------------------------------------------------------- AUC-Judd


@pytest.mark.parametrize("decimals", [None, 2, 1, 0])
def test_auc_equals_the_area_under_the_full_roc_curve(decimals):
    prediction, target = make_pair(5, decimals=decimals)
    assert auc_judd(prediction, target) == pytest.approx(textbook_roc_area(prediction, target > 0), abs=1e-12)


def test_auc_is_exact_however_the_values_lie():
    prediction, target = make_pair(5)
    expected = auc_judd(prediction, target)
    is_highest = prediction == prediction[target == 0].max()
    outlier = np.where((target == 0) & is_highest, 1, 1e-9 * prediction)  # all the others in one bucket
    beaten = np.count_nonzero(prediction[target > 0] > prediction[target == 0].max())
    lost = beaten / (np.count_nonzero(target) * np.count_nonzero(target == 0))
    assert auc_judd(outlier, target) == pytest.approx(expected - lost, abs=1e-12)
    assert auc_judd(prediction**40, target) == pytest.approx(expected, abs=1e-12)
    assert auc_judd(1 - 1e-6 / (1e-6 + prediction), target) == pytest.approx(expected, abs=1e-12)


def test_auc_differs_from_mit_code_by_half_a_step_of_the_curve():
    prediction, target = make_pair(6)
    mit, false_alarms = mit_auc_judd(prediction, target > 0)
    excess = false_alarms / (2 * np.count_nonzero(target))
    assert auc_judd(prediction, target) == pytest.approx(mit - excess, abs=1e-12)


def test_auc_by_hand():
    target = [[1, 1], [0, 0]]
    assert auc_judd([[0.4, 0.3], [0.2, 0.1]], target) == 1
    assert auc_judd([[0.1, 0.2], [0.3, 0.4]], target) == 0
    assert auc_judd([[0.3, 0.1], [0.2, 0.0]], target) == 0.75
    assert auc_judd([[0.2, 0.1], [0.1, 0.0]], target) == (1 + 1 + 0.5 + 1) / 4  # one tie of four pairs
    assert auc_judd([[0.7, 0.7], [0.7, 0.7]], target) == 0.5


def test_auc_ranks_maps_with_a_tiny_range():
    prediction, target = make_pair(7)
    tiny = 0.25 + 1e-9 * prediction  # MIT's jitter of 1e-7 would swamp it
    assert auc_judd(tiny, target) == pytest.approx(auc_judd(prediction, target), abs=1e-6)


def test_auc_threshold_decides_what_is_fixated():
    assert auc_judd([0.1, 0.3, 0.2], [0.2, 0.6, 0.9], threshold=0.5) == 1
    assert auc_judd([0.1, 0.3, 0.2], [0.2, 0.6, 0.9], threshold=0.7) == 0.5


# ---------------------------------------------------------------- the others by hand


def test_mse_by_hand():
    assert mse([[0, 1]], [[0.5, 0.5]]) == 0.25


def test_kld_by_hand_is_a_divergence():
    assert kld([[0.1, 0.1]], [[0.6, 0.2]], eps=1e-12) == pytest.approx(0.75 * np.log(1.5) + 0.25 * np.log(0.5))
    assert kld([[0.6, 0.2]], [[0.1, 0.1]], eps=1e-12) == pytest.approx(0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(2))
    _, target = make_pair()
    assert kld(0.1 * target, target) == pytest.approx(0, abs=1e-5)


def test_an_all_zero_prediction_costs_what_eps_says():
    _, target = make_pair(shape=(512, 512))
    g = target[target > 0] / target.sum()
    for eps in (RICHHF_EPS, MIT_EPS):
        assert kld(0 * target, target, eps=eps) == pytest.approx(np.sum(g * np.log(g / eps)), rel=1e-6)


def test_sim_by_hand_and_minmax_option():
    assert sim([[0.1, 0.3]], [[0.6, 0.2]]) == pytest.approx(0.5)
    prediction, target = [[0.2, 0.3, 0.4]], [[0, 0.1, 0.2]]
    assert sim(prediction, target) == pytest.approx(2 / 9 * 0 + 1 / 3 + 4 / 9)
    assert sim(prediction, target, normalize="minmax") == pytest.approx(1)
    with pytest.raises(ValueError, match="minmax"):
        sim(prediction, target, normalize="max")


def test_nss_by_hand():
    assert nss([[0, 0], [0, 0.2]], [[0, 0], [0, 1]]) == pytest.approx(1.5 / np.sqrt(0.75))


def test_cc_and_nss_ignore_scale_and_offset():
    prediction, target = make_pair()
    for metric in (cc, nss):
        assert metric(1e-200 * prediction, target) == pytest.approx(metric(prediction, target), abs=1e-9)
        assert metric(0.5 + 0.3 * prediction, target) == pytest.approx(metric(prediction, target), abs=1e-9)


# ---------------------------------------------------------------- edges


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_constant_prediction(value):
    _, target = make_pair()
    prediction = np.full(target.shape, value, dtype=np.float32)  # 0.1: its mean is not exactly itself
    assert cc(prediction, target) == 0
    assert nss(prediction, target) == 0
    assert auc_judd(prediction, target) == 0.5
    assert sim(prediction, target) == pytest.approx(0 if value == 0 else (target > 0).mean(), abs=0.1)
    assert np.isfinite(kld(prediction, target))


def test_constant_target():
    prediction, _ = make_pair()
    full = np.full(prediction.shape, 0.1)
    assert cc(prediction, full) == 0
    assert nss(prediction, full) == pytest.approx(0, abs=1e-9)
    with pytest.warns(RuntimeWarning, match="auc_judd is undefined: every cell"):
        assert np.isnan(auc_judd(prediction, full))


@pytest.mark.parametrize("metric", GT_METRICS.values())
def test_empty_target_is_undefined_and_says_so(metric):
    prediction, target = make_pair()
    with pytest.warns(RuntimeWarning, match=f"{metric.__name__} is undefined"):
        assert np.isnan(metric(prediction, 0 * target))


def test_single_pixel():
    assert (mse([[0.5]], [[1.0]]), cc([[0.5]], [[1.0]]), sim([[0.5]], [[1.0]])) == (0.25, 0, 1)
    assert kld([[0.5]], [[1.0]]) == pytest.approx(0, abs=1e-7)
    assert nss([[0.5]], [[1.0]]) == 0


GOOD = np.array([[0, 0.5, 1], [0.2, 0, 0]])
BAD = {
    "prediction has 1 NaN or infinite values, the first at [1, 2]": np.array([[0, 0.5, 1], [0.2, 0, np.nan]]),
    "prediction has 2 NaN or infinite values, the first at [0, 1]": np.array([[0, np.inf, 1], [0.2, -np.inf, 0]]),
    "prediction has values from 0 to 255; heatmaps are in [0, 1], 8-bit ones / 255": (255 * GOOD).astype(np.uint8),
    "prediction has values from 0 to 1e+308": np.where(GOOD == 1, 1e308, GOOD),
    "prediction has values from -0.02 to 1": np.where(GOOD == 0.5, -0.02, GOOD),
    "prediction has values from 0 to 1.02": np.where(GOOD == 0.5, 1.02, GOOD),
    "prediction (3, 2) and target (2, 3) must have the same shape": GOOD.T,
    "prediction (2, 2) and target (2, 3) must have the same shape": GOOD[:, :2],
    "prediction is empty: its shape is (0, 0)": np.zeros((0, 0)),
    "prediction is (1, 2, 3); one heatmap is (H, W)": GOOD[None],
    "prediction is (); one heatmap is (H, W)": np.float64(0.5),
}


@pytest.mark.parametrize("metric", [mse, *GT_METRICS.values()])
@pytest.mark.parametrize("reason, bad", BAD.items())
def test_bad_input_is_refused_with_the_reason(metric, reason, bad):
    with pytest.raises(ValueError, match=re.escape(reason)):
        metric(bad, GOOD)
    shapes_first = re.escape(reason.replace("prediction", "target")) if "and target" not in reason else "same shape"
    with pytest.raises(ValueError, match=shapes_first):
        metric(GOOD, bad)


def test_a_picture_of_a_heatmap_is_not_a_heatmap():
    picture = Image.radial_gradient("L")
    with pytest.raises(ValueError, match="from 0 to 255"):
        mse(picture, picture)


@pytest.mark.parametrize("metric", [mse, *GT_METRICS.values()])
def test_rounding_beyond_the_range_is_clamped(metric):
    prediction, target = make_pair()
    prediction[:4] = 0
    prediction[4:8] = 1
    expected = metric(prediction, target)
    beyond = prediction.copy()
    beyond[:4] = -0.009
    beyond[4:8] = 1.009
    assert metric(beyond, target) == expected


# ---------------------------------------------------------------- many images


def test_batch_averages_over_images_and_sets_empty_targets_apart():
    pairs = [make_pair(seed) for seed in range(3)]
    predictions = [p for p, _ in pairs]
    targets = [t for _, t in pairs]
    targets[1] = 0 * targets[1]
    row = heatmap_metrics(np.stack(predictions), np.stack(targets))
    with_gt = [(predictions[i], targets[i]) for i in (0, 2)]
    assert row["mse"] == pytest.approx(np.mean([mse(p, t) for p, t in zip(predictions, targets, strict=True)]))
    assert row["mse_gt0"] == mse(predictions[1], targets[1])
    for name, metric in GT_METRICS.items():
        assert row[name] == pytest.approx(np.mean([metric(p, t) for p, t in with_gt]))
        assert np.isnan(row["per_image"][name]).tolist() == [False, True, False]
    counts = {name: row[name] for name in row if name.startswith("num")}
    assert counts == {"num_images": 3, "num_gt0": 1, "num_gt": 2, "num_auc_judd": 2}


def test_batch_passes_the_definitions_parameters_on():
    prediction, target = make_pair()
    row = heatmap_metrics([prediction], [target], eps=MIT_EPS, threshold=0.5, normalize="minmax")
    assert row["kld"] == kld(prediction, target, eps=MIT_EPS)
    assert row["nss"] == nss(prediction, target, threshold=0.5)
    assert row["auc_judd"] == auc_judd(prediction, target, threshold=0.5)
    assert row["sim"] == sim(prediction, target, normalize="minmax")


def test_batch_brings_the_prediction_to_the_targets_size_or_both_to_one():
    _, target = make_pair()
    half = target.reshape(24, 2, 32, 2).mean(axis=(1, 3))
    assert heatmap_metrics([half], [target])["cc"] > 0.99
    assert heatmap_metrics([target], [half])["cc"] > 0.99
    both = heatmap_metrics([np.full((10, 20), 0.5)], [np.full((30, 30), 0.25)], size=(8, 8))
    assert both["mse"] == pytest.approx(0.0625)
    prediction, _ = make_pair()
    row = heatmap_metrics([prediction], [target], size=(12, 20))["per_image"]
    small = resize(prediction, (12, 20)), resize(target, (12, 20))
    assert row["gt_sum"] == pytest.approx(small[1].sum())
    assert (row["mse"], row["cc"], row["nss"]) == pytest.approx((mse(*small), cc(*small), nss(*small)))


def test_a_target_that_covers_the_image_counts_apart_for_auc():
    row = heatmap_metrics([make_pair()[0]], [np.ones((48, 64))])
    assert np.isnan(row["auc_judd"])
    assert (row["num_gt"], row["num_auc_judd"]) == (1, 0)


@pytest.mark.filterwarnings("error")
def test_no_images_and_only_empty_targets_give_nan_without_noise():
    none = heatmap_metrics([], [])
    assert none["num_images"] == 0
    assert np.isnan(none["mse"])
    empty = heatmap_metrics(np.ones((2, 4, 4)), np.zeros((2, 4, 4)))
    assert (empty["mse"], empty["mse_gt0"], empty["num_gt0"]) == (1, 1, 2)
    assert np.isnan(empty["kld"])


@pytest.mark.parametrize("size", [None, (8, 8)])
@pytest.mark.parametrize("reason, bad", [row for row in BAD.items() if "same shape" not in row[0]])
def test_batch_names_the_image_that_is_refused(reason, bad, size):
    with pytest.raises(ValueError, match=re.escape(f"image 2: {reason}")):
        heatmap_metrics([GOOD, GOOD, bad, GOOD], [GOOD] * 4, size=size)
    with pytest.raises(ValueError, match=re.escape(f"image 1: {reason.replace('prediction', 'target')}")):
        heatmap_metrics([GOOD] * 3, [GOOD, bad, GOOD], size=size)


def test_cells_in_a_row_cannot_be_resized():
    with pytest.raises(ValueError, match=r"image 0: a heatmap is \(H, W\), this one is \(6,\)"):
        heatmap_metrics([GOOD.ravel()], [GOOD])


def test_different_numbers_of_maps_are_refused():
    with pytest.raises(ValueError):
        heatmap_metrics(np.ones((2, 4, 4)), np.ones((3, 4, 4)))
