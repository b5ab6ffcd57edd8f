"""The pair test: flawed, or only drawn?"""

import numpy as np
import pytest
from PIL import Image

from heie_hf.data.synthetic import synthesize
from heie_hf.evaluation import load_samples, read_data
from heie_hf.evaluation.figures import intervals, support
from heie_hf.evaluation.report.tables import pairs
from heie_hf.evaluation.samples import UNKNOWN
from heie_hf.evaluation.twins import flawed_twins, pair_values, twin_figures


def sample(key, score, **columns):
    return UNKNOWN | {"key": key, "score": score} | columns


def clean(key, score, heat, *kinds):
    return sample(f"{key}-clean", score, twin_of=key, twin_heat=heat, twin_kinds=list(kinds))


SAMPLES = [
    sample("a", 0.4),
    clean("a", 0.9, 0.1, "extra leg"),  # right, no alarm
    sample("b", 0.5),
    clean("b", 0.5, 0.2, "extra leg", "melted patch"),  # a tie, an alarm
    sample("c", 0.8),
    clean("c", 0.7, 0.9, "melted patch"),  # wrong, an alarm
    sample("d", None),
    clean("d", 0.7, None, "melted patch"),  # nothing is known
    clean("e", 0.7, 0.0, "wrong shadow"),  # the flawed one could not be read
    sample("f", 1.0),
]


def test_pairs_by_hand():
    nan = np.nan
    wins, alarms = pair_values(SAMPLES)
    np.testing.assert_equal(wins, [nan, 1, nan, 0.5, nan, 0, nan, nan, nan, nan])
    np.testing.assert_equal(alarms, [nan, 0, nan, 1, nan, 1, nan, nan, 0, nan])
    figures = intervals(SAMPLES, num_resamples=200)
    assert figures["paired_accuracy"].value == pytest.approx(1.5 / 3)
    assert figures["paired_false_alarm"].value == pytest.approx(2 / 4)
    assert support(SAMPLES)["paired_accuracy"] == 3 and support(SAMPLES)["paired_false_alarm"] == 4
    rows = {row.name: row.cells for row in pairs(SAMPLES).rows}
    assert rows["extra leg"] == ["2", "0.750", "0.500"]
    assert rows["melted patch"] == ["3", "0.250", "1.00"]
    assert rows["wrong shadow"] == ["1", "–", "0"]


def test_without_pairs_there_is_nothing(complete):
    assert complete.metrics["paired_accuracy"] is complete.metrics["paired_false_alarm"] is None
    assert complete.metrics["num_pairs"] == 0
    assert pairs(load_samples(complete.folder)) is None
    assert "Pairs by kind" not in (complete.folder / "report.html").read_text()


def test_heat_counts_where_the_flawed_twin_is_marked(tmp_path):
    reference = np.zeros((40, 60), np.uint8)
    reference[:20, 30:] = 255  # upper right
    reference[20:, :30] = 40  # below .2
    Image.fromarray(reference).save(tmp_path / "map.png")
    flawed = {"id": "a", "defects": [{"kind": "extra leg"}, {"kind": None}]}
    flawed["heatmap"] = {"bytes": None, "path": str(tmp_path / "map.png")}
    predicted = np.zeros((4, 6), np.float32)
    predicted[3, 0] = 0.9  # lower left
    assert twin_figures(flawed, predicted) == {"twin_of": "a", "twin_kinds": ["extra leg"], "twin_heat": 0}
    predicted[0, 5] = 0.3
    assert twin_figures(flawed, predicted)["twin_heat"] == pytest.approx(0.3)
    assert twin_figures(flawed | {"heatmap": None}, predicted)["twin_heat"] is None


def test_pairs_of_a_folder_are_found_and_measured(run, tmp_path):
    synthesize(6, 11, tmp_path / "scenes", pairs=True)
    data = read_data(str(tmp_path / "scenes"))
    twins = flawed_twins(data)
    names = data.rows["id"]
    assert twins and all(names[twin] == f"{names[flawed]}-clean" for twin, flawed in twins.items())
    result = run(data=data, text="none")
    assert result.metrics["num_pairs"] == len(twins)
    by_key = {sample["key"]: sample for sample in result.samples}
    wins = [by_key[f"{names[row]}-clean"]["score"] > by_key[names[row]]["score"] for row in twins.values()]
    assert result.metrics["paired_accuracy"] == pytest.approx(np.mean(wins))
    assert 0 <= result.metrics["paired_false_alarm"] <= 1
    assert "Pairs by kind of defect" in (tmp_path / "out" / "report.html").read_text()
