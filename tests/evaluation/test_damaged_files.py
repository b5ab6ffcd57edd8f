"""Whatever has happened to the files of an evaluation: one line that says what to do, and the figures come back."""

import json
import shutil

import numpy as np
import pytest

from heie_hf.cli import main
from tests.evaluation.test_command import FAST

DAMAGE = {
    "truncated": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "garbage": lambda content: np.random.default_rng(0).bytes(1000),
    "another JSON": lambda content: b"[]",
    "deep JSON": lambda content: b'{"a":' * 100_000,
}
PREDICTIONS = "predictions/synthetic-none"
READ = ("samples.parquet", f"{PREDICTIONS}/run.json", f"{PREDICTIONS}/heads.safetensors", f"{PREDICTIONS}/SHARD.npz")
PICTURES = ("report/000000.jpg", "report/000001.jpg", "report/000002.jpg")
ONLY_WRITTEN = ("metrics.json", "failures.jsonl", "report.html", *PICTURES)


@pytest.fixture
def heie(capfd):
    """heie(...) -> exit status and the lines on stderr."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        return exit.value.code or 0, capfd.readouterr().err.splitlines()

    return run


@pytest.fixture(scope="module")
def command(tiny_checkpoint):
    data = ("--dataset", "synthetic", "--option", "num_images=3", "--text", "none")
    return ("evaluate", "--model", tiny_checkpoint, *FAST, *data)


@pytest.fixture(scope="module")
def before(command, tmp_path_factory):
    """A folder as `heie evaluate` writes it; read only."""
    folder = tmp_path_factory.mktemp("before")
    with pytest.raises(SystemExit):
        main([*command, "--output-dir", str(folder)])
    return folder


def figures(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in metrics.items() if name != "run"}


def test_no_file_is_forgotten(before):
    written = {str(file.relative_to(before)) for file in before.rglob("*") if file.is_file()}
    shards = {name for name in written if name.endswith(".npz")}
    assert len(shards) == 2 and written - shards == {*READ[:-1], *ONLY_WRITTEN}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("name", READ)
def test_a_damaged_file_is_named_with_what_to_do(heie, command, before, tmp_path, caplog, name, damage):
    folder = tmp_path / "results"
    shutil.copytree(before, folder)
    shard = min(folder.glob("predictions/*/*.npz")).stem
    file = folder / name.replace("SHARD", shard)
    file.write_bytes(DAMAGE[damage](file.read_bytes()))

    status, err = heie("compare", folder, before)
    if file.name == "samples.parquet":
        assert (status, len(err)) == (2, 1) and err[0].startswith(f"heie: {file} is damaged (")
        assert "run heie evaluate again" in err[0]

    status, err = heie(*command, "--output-dir", folder)
    if file.suffix == ".npz":
        assert f"{file} is damaged (" in caplog.text  # and its images are predicted again
    elif file.name != "samples.parquet":
        to_remove = file.parent if file.name == "run.json" else file
        assert status == 2 and err[-1].startswith(f"heie: {file} is damaged (")
        assert f"; remove {to_remove}" in err[-1].replace("remove it", f"remove {file}")
        shutil.rmtree(to_remove) if to_remove.is_dir() else to_remove.unlink()
        status, err = heie(*command, "--output-dir", folder)
    assert status == 0, err
    assert figures(folder) == figures(before)
    assert heie("compare", folder, before)[0] == 0


def test_what_is_only_written_is_written_again(heie, command, before, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(before, folder)
    for name in ONLY_WRITTEN:
        (folder / name).write_bytes(b"[]")
    assert heie(*command, "--output-dir", folder)[0] == 0
    assert figures(folder) == figures(before)
    assert (folder / "failures.jsonl").read_text() == "" and "<html" in (folder / "report.html").read_text()
    for name in PICTURES:
        assert (folder / name).read_bytes() == (before / name).read_bytes()


def test_shards_whose_arrays_are_damaged_name_themselves(heie, command, before, tmp_path):
    """The index at the end of the file is whole, the maps within are not."""
    folder = tmp_path / "results"
    shutil.copytree(before, folder)
    shard = min(folder.glob("predictions/*/*.npz"))
    content = bytearray(shard.read_bytes())
    start = content.index(b"score_states.npy") + 40
    content[start : start + 20] = bytes(20)
    shard.write_bytes(content)
    for workers in ("0", "1"):
        status, err = heie(*command, "--output-dir", folder, "--num-workers", workers)
        assert status == 2 and f"heie: {shard} is damaged (" in err[-1] and "remove it and run again" in err[-1]
    shard.unlink()
    assert heie(*command, "--output-dir", folder)[0] == 0
    assert figures(folder) == figures(before)


def test_a_shard_that_would_run_code_is_not_unpickled(heie, command, before, tmp_path):
    folder = tmp_path / "results"
    shutil.copytree(before, folder)
    shard = min(folder.glob("predictions/*/*.npz"))
    arrays = dict(np.load(shard))
    arrays["logits"] = np.array([RunsCode(tmp_path / "ran")], dtype=object)
    np.savez_compressed(shard, **arrays)
    status, err = heie(*command, "--output-dir", folder)
    assert status == 2 and f"{shard} is damaged" in err[-1]
    assert not (tmp_path / "ran").exists()


class RunsCode:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")
