"""Drawn scenes in a folder, and `heie train` with settings for a test."""

import datasets
import pytest

from heie_hf.cli import main
from heie_hf.data.synthetic import synthesize


@pytest.fixture(scope="session", autouse=True)
def datasets_cache(tmp_path_factory):
    before = datasets.config.HF_DATASETS_CACHE
    datasets.config.HF_DATASETS_CACHE = tmp_path_factory.mktemp("datasets")
    yield
    datasets.config.HF_DATASETS_CACHE = before


@pytest.fixture(scope="session")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "scenes"
    synthesize(4, 11, folder)
    return folder


@pytest.fixture
def heie_train(capfd):
    """heie_train(CONFIG, ...) -> exit status, stdout and stderr as lists of lines; on the CPU, two steps."""
    fast = ("--use_cpu", "--max_steps", 2, "--dataloader_num_workers", 0, "--num_overlays", 0, "--logging_steps", 1)

    def run(config, *arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in ("train", config, *fast, *arguments)])
        printed = capfd.readouterr()
        return exit.value.code or 0, printed.out.splitlines(), printed.err.splitlines()

    return run
