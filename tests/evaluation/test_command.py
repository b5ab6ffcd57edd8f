import json
import os
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest

import heie_hf
from heie_hf.cli import evaluate as command
from heie_hf.cli import main
from heie_hf.data.synthetic import synthesize
from heie_hf.evaluation.measure import HeatmapSource
from heie_hf.modeling.configuration_heie import HEIEConfig
from tests.metrics.chat_server import Server

ROOT = Path(heie_hf.__file__).resolve().parents[1]
FAST = ("--device", "cpu", "--batch-size", "2", "--num-workers", "0")


@pytest.fixture
def heie(capfd):
    """heie(...) -> exit status, stdout and stderr as lists of lines."""

    def run(*arguments):
        with pytest.raises(SystemExit) as exit:
            main([str(argument) for argument in arguments])
        printed = capfd.readouterr()
        return exit.value.code or 0, printed.out.splitlines(), printed.err.splitlines()

    return run


@pytest.fixture
def evaluate(heie, tiny_checkpoint):
    return lambda *arguments: heie("evaluate", "--model", tiny_checkpoint, *FAST, *arguments)


def test_evaluate_then_compare(evaluate, heie, scenes, tiny_checkpoint, tmp_path):
    fusions = ("--fusion", "uncertainty", "--fusion", "local")
    status, out, _ = evaluate("--dataset", scenes, "--output-dir", tmp_path, "--text", "none", *fusions)
    assert status == 0
    assert [json.loads(line)["result"] for line in out] == ["uncertainty", "local"]
    status, out, _ = heie("compare", tmp_path / "uncertainty", tmp_path / "local")
    run = json.loads((tmp_path / "local" / "metrics.json").read_text())["run"]
    assert (run["model"], run["dataset"], run["fusion"]) == (Path(tiny_checkpoint).name, "scenes", "local")
    lines = {json.loads(line)["figure"]: json.loads(line) for line in out}
    assert status == 0 and lines["mse"]["num_images"] == 6
    assert lines["cc"]["num_images"] == 3 and "no verdict: 3 image" in lines["cc"]["verdict"]
    assert lines["plcc_token"]["verdict"] == "no difference shown"


def test_a_broken_row_is_reported_and_the_rest_goes_on(evaluate, tmp_path):
    synthesize(3, 11, tmp_path / "scenes")
    sorted((tmp_path / "scenes" / "images").iterdir())[0].write_bytes(b"no picture")
    arguments = ("--dataset", tmp_path / "scenes", "--output-dir", tmp_path / "out", "--text", "none")
    status, out, err = evaluate(*arguments)
    assert status == 1
    assert json.loads(out[0])["num_images"] == 2
    assert any(line.startswith("heie: ") and "is not an image" in line for line in err)


def test_a_named_data_set_beside_a_folder(evaluate, scenes, images, tmp_path):
    """AbHuman has boxes and no scores; the paper has a row of its own for it."""
    for index, image in enumerate(images[:2]):
        (tmp_path / "abhuman" / "val").mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "abhuman" / "val" / f"{index}.png")
        (tmp_path / "abhuman" / "val" / f"{index}.txt").write_text("3 0.5 0.5 0.4 0.4\n" * index)
    datasets = ("--dataset", "abhuman", "--dataset", scenes, "--root", tmp_path / "abhuman", "--root", "-")
    status, out, err = evaluate(
        *datasets, "--split", "val", "--split", "-", "--text", "none", "--output-dir", tmp_path
    )
    boxes, drawn = (json.loads(line) for line in out)
    assert status == 0 and [boxes["result"], drawn["result"]] == ["abhuman-val", "scenes"]
    names = ("num_images", "num_gt0", "num_scores", "plcc", "issue_f1")
    assert [boxes[name] for name in names] == [2, 1, 0, None, None]
    assert boxes["mse"] > 0 and drawn["plcc"] is not None
    page = (tmp_path / "report.html").read_text()
    assert "The paper, AbHuman val</caption>" in page
    assert "The paper, RichHF-18K test (955 images)</caption>" in page


def test_the_choices_are_those_of_the_model_and_of_the_evaluation():
    assert list(command.Fusion) == list(get_args(HEIEConfig.__annotations__["fusion"]))
    assert list(command.HeatmapSource) == list(get_args(HeatmapSource))


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--dataset", "richhf"], "no data set 'richhf'"),
        (["--dataset", "richhf18k"], "needs root="),
        (["--dataset", "synthetic", "--root", "-", "--root", "-"], "1 data sets, but 2 of --root"),
        (["--dataset", "synthetic", "--option", "seed"], "an option is NAME=VALUE"),
        (["--dataset", "synthetic", "--fusion", "mean"], "mean"),
    ],
)
def test_mistakes_are_told_in_one_line(evaluate, tmp_path, arguments, message):
    status, out, err = evaluate(*arguments, "--output-dir", tmp_path)
    assert (status, out) == (2, [])
    assert message in err[-1] and err[-1].startswith("heie: ")


def test_other_weights_in_the_same_place_are_noticed(evaluate, tiny_checkpoint, tmp_path):
    arguments = ("--dataset", "synthetic", "--option", "num_images=1", "--text", "none", "--output-dir", tmp_path)
    assert evaluate(*arguments)[0] == 0
    os.utime(Path(tiny_checkpoint) / "model.safetensors")
    status, _, err = evaluate(*arguments)
    assert status == 2 and "holds predictions of another run (weights was" in err[-1]


def test_a_judge_on_the_command_line(evaluate, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    arguments = ("--dataset", scenes, "--output-dir", tmp_path)
    with Server() as server:
        status, out, err = evaluate(*arguments, "--judge", "judge-1", "--judge-url", server.url)
        assert status == 0, err
        assert json.loads(out[0])["judge_rating"] == 7 and (tmp_path / "judge.jsonl").is_file()
        server.reply = lambda prompt, count: (404, "no such model", {})
        status, out, err = evaluate(*arguments, "--judge", "judge-2", "--judge-url", server.url)
        assert status == 1 and json.loads(out[0])["judge_rating"] is None
        assert any(line.startswith("heie: judge judge-2: ") and "404" in line for line in err)
    status, _, err = evaluate(*arguments, "--judge-url", server.url)
    assert status == 2 and "--judge-url is of no use without --judge" in err[-1]
    status, _, err = evaluate(*arguments, "--judge", "judge-1", "--judge-url", "ada:secret@host")
    assert status == 2 and "--judge-url: the server's address must look like" in err[-1] and "secret" not in err[-1]


def test_what_is_secret_in_the_judges_address_stays_so(evaluate, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with Server() as server:
        address = server.url.replace("//", "//ada:pass-word@") + "?api_key=query-secret"
        server.reply = lambda prompt, count: "Rating: 7" if len(server.prompts) == 1 else (400, address, {})
        _, out, err = evaluate("--dataset", scenes, "--output-dir", tmp_path, "--judge", "j", "--judge-url", address)
    assert json.loads((tmp_path / "metrics.json").read_text())["judge"]["url"] == server.url
    assert any("not rated" in line for line in err)
    written = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    for secret in (b"pass-word", b"query-secret"):
        assert secret not in "\n".join([*out, *err]).encode()
        assert not any(secret in content for content in written)


def test_comparing_with_no_result(heie, tmp_path):
    status, _, err = heie("compare", tmp_path, tmp_path)
    assert status == 2 and "no samples.parquet" in err[-1]


@pytest.mark.slow
def test_two_processes_give_the_numbers_of_one(scenes, tiny_checkpoint, complete, tmp_path, datasets_cache):
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = ["-m", "heie_hf.cli", "evaluate", "--model", tiny_checkpoint, "--dataset", scenes, *FAST]
    environment = os.environ | {"HF_DATASETS_CACHE": str(datasets_cache), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*launch, *command, "--output-dir", tmp_path],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert len(done.stdout.splitlines()) == 1 and metrics["run"]["num_processes"] == 2
    for name, value in complete.metrics.items():
        if not isinstance(value, dict):
            assert metrics[name] == pytest.approx(value, abs=1e-6), name
