"""Six drawn scenes, a tiny random model, and one complete evaluation of it that the tests only read."""

import json
from types import SimpleNamespace

import datasets
import pytest

from heie_hf.data.synthetic import synthesize
from heie_hf.evaluation import EvaluatedModel, evaluate, read_data

SCENES, SEED = 6, 11


@pytest.fixture(scope="session", autouse=True)
def datasets_cache(tmp_path_factory):
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    yield datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    synthesize(SCENES, SEED, folder)
    return folder


@pytest.fixture(scope="session")
def data(scenes):
    return read_data(str(scenes))


@pytest.fixture(scope="session")
def evaluated(tiny_model, tiny_processor):
    return EvaluatedModel("tiny", lambda: (tiny_model, tiny_processor))


@pytest.fixture(scope="session")
def stored_only():
    """The same model, which must not be loaded any more."""

    def load():
        raise AssertionError("there was nothing to predict")

    return EvaluatedModel("tiny", load)


@pytest.fixture
def run(data, evaluated, tmp_path):
    """run(...) -> the one result of an evaluation into tmp_path / "out"."""

    def evaluate_one(data=data, model=evaluated, output_dir=tmp_path / "out", **settings):
        settings = {"batch_size": 2, "num_workers": 0} | settings
        (result,) = evaluate(data, model, output_dir, **settings)
        return result

    return evaluate_one


@pytest.fixture(scope="session")
def complete(data, evaluated, tmp_path_factory):
    """Evaluated with the model's own text: `.folder` and `.metrics`, as written; read only."""
    folder = tmp_path_factory.mktemp("complete")
    evaluate(data, evaluated, folder, batch_size=2, num_workers=1)
    return SimpleNamespace(folder=folder, metrics=json.loads((folder / "metrics.json").read_text()))
