import json

import pytest

from heie_hf.evaluation import EvaluationError, compare_results, load_samples
from heie_hf.evaluation.comparison import MIN_IMAGES
from heie_hf.evaluation.results import save_result, summarize


@pytest.fixture
def changed(complete, tmp_path):
    """changed(f, name) -> folder of the complete result with f(sample) over each sample; None drops it.

    With `copies` each of its six images is there so many times, under different keys.
    """

    def make(change, name="other", copies=1):
        samples = []
        for sample in load_samples(complete.folder):
            for number in range(copies):
                key = f"{sample['key']}#{number}" if number else sample["key"]
                new = change(sample | {"key": key})
                if new:
                    samples.append(new)
        save_result(summarize(name, samples, [], {}, num_resamples=50), tmp_path / name)
        return tmp_path / name

    return make


def same(sample):
    return sample


def test_a_run_and_itself_do_not_differ(complete):
    differences, num_images = compare_results(complete.folder, complete.folder)
    assert num_images == 6
    assert {d.figure for d in differences} >= {"mse", "mse_gt0", "cc", "auc_judd", "plcc", "perplexity_generated"}
    for d in differences:
        enough = d.num_images >= MIN_IMAGES
        assert (d.difference, d.better) == (0, None)
        assert (d.low, d.high, d.p_value) == ((0, 0, 1) if enough else (None, None, None))


def test_a_constant_gain_is_real_and_has_a_side(changed):
    before = changed(same, "before", copies=3)
    better = changed(lambda s: s | {"mse": s["mse"] / 2, "cc": s["cc"] and s["cc"] + 0.2}, copies=3)
    found = {d.figure: d for d in compare_results(before, better)[0]}
    assert (found["mse"].better, found["cc"].better, found["kld"].better) == ("B", "B", None)
    assert found["cc"].difference == pytest.approx(-0.2)
    assert found["mse"].difference > 0 and found["mse"].p_value < 0.05
    assert found["mse"].verdict == "B is better" and found["kld"].verdict == "no difference shown"


@pytest.mark.parametrize("num_images", [1, 5])
def test_few_images_give_no_verdict_however_large_the_difference(complete, changed, num_images):
    keys = [sample["key"] for sample in load_samples(complete.folder)[:num_images]]
    few = changed(lambda s: s | {"mse": s["mse"] / 1000} if s["key"] in keys else None)
    differences, num_common = compare_results(complete.folder, few)
    assert num_common == num_images and differences
    found = {d.figure: d for d in differences}
    assert found["mse"].num_images == num_images and found["mse"].b == pytest.approx(found["mse"].a / 1000)
    for difference in differences:
        assert (difference.low, difference.high, difference.p_value, difference.better) == (None,) * 4
        assert f"{difference.num_images} image" in difference.verdict and str(MIN_IMAGES) in difference.verdict


def test_a_figure_counts_its_own_images_only(complete, changed):
    """Of six images some have an empty heatmap: too few for a verdict on cc, enough for one on mse."""
    found = {d.figure: d for d in compare_results(complete.folder, changed(same))[0]}
    assert found["mse"].num_images == 6 and found["mse"].verdict == "no difference shown"
    for figure in ("cc", "mse_gt0"):
        assert 0 < found[figure].num_images < 6 and found[figure].verdict.startswith("no verdict")
    assert found["cc"].num_images + found["mse_gt0"].num_images == 6


def test_one_image_has_no_interval(complete, changed):
    first = load_samples(complete.folder)[0]["key"]
    metrics = json.loads((changed(lambda s: s if s["key"] == first else None) / "metrics.json").read_text())
    assert metrics["mse"] > 0 and metrics["intervals"]["mse"] == [None, None]


def test_rounding_is_no_difference(complete, changed):
    rounded = changed(lambda s: s | {"mse": s["mse"] * (1 + 1e-8)})
    assert {d.better for d in compare_results(complete.folder, rounded)[0]} == {None}


def test_only_common_images_and_figures_that_both_have_are_compared(complete, changed):
    keys = [sample["key"] for sample in load_samples(complete.folder)]
    part = changed(
        lambda s: s | {"nll_generated": None, "num_tokens_generated": None} if s["key"] in keys[:5] else None
    )
    differences, num_images = compare_results(part, complete.folder)
    assert num_images == 5
    assert all(d.difference == 0 for d in differences)
    assert "perplexity_generated" not in {d.figure for d in differences}


def test_an_image_that_one_could_not_score_counts_for_neither(complete, changed):
    first = load_samples(complete.folder)[0]["key"]
    partly = changed(lambda s: s | {"score": None} if s["key"] == first else s)
    found = {d.figure: d for d in compare_results(partly, complete.folder)[0]}
    assert found["plcc"].difference == 0


def test_other_data_are_refused(complete, changed, tmp_path):
    moved = changed(lambda s: s | {"target_score": s["target_score"] / 2})
    with pytest.raises(EvaluationError, match="another target_score"):
        compare_results(complete.folder, moved)
    renamed = changed(lambda s: s | {"key": s["key"] + "x"}, "renamed")
    with pytest.raises(EvaluationError, match="no image in common"):
        compare_results(complete.folder, renamed)
    with pytest.raises(FileNotFoundError, match="renamed"):
        compare_results(complete.folder, tmp_path)
