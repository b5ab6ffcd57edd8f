import pytest

from heie_hf.evaluation import EvaluationError, compare_results
from heie_hf.evaluation.results import load_samples, save_result, summarize


@pytest.fixture
def changed(complete, tmp_path):
    """changed(f, name) -> folder of the complete result with f(sample) over each sample; None drops it."""

    def make(change, name="other"):
        samples = [new for sample in load_samples(complete.folder) if (new := change(sample))]
        save_result(summarize(name, samples, [], {}, num_resamples=50), tmp_path / name)
        return tmp_path / name

    return make


def test_a_run_and_itself_do_not_differ(complete):
    differences, num_images = compare_results(complete.folder, complete.folder)
    assert num_images == 6
    assert {d.figure for d in differences} >= {"mse", "mse_gt0", "cc", "auc_judd", "plcc", "perplexity_generated"}
    assert all((d.difference, d.low, d.high, d.p_value, d.better) == (0, 0, 0, 1, None) for d in differences)


def test_a_constant_gain_is_real_and_has_a_side(complete, changed):
    better = changed(lambda s: s | {"mse": s["mse"] / 2, "cc": s["cc"] and s["cc"] + 0.2})
    found = {d.figure: d for d in compare_results(complete.folder, better)[0]}
    assert (found["mse"].better, found["cc"].better, found["kld"].better) == ("B", "B", None)
    assert found["cc"].difference == pytest.approx(-0.2)
    assert found["mse"].difference > 0 and found["mse"].p_value < 0.05
    assert found["mse"].verdict == "B is better" and found["kld"].verdict == "no difference shown"


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
