import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from heie_hf import ImplausibilityPipeline
from heie_hf.data import load
from heie_hf.data.synthetic import issues_in, synthesize
from heie_hf.evaluation import EvaluatedModel, EvaluationData, EvaluationError, evaluate, load_samples, read_data
from heie_hf.evaluation.data import open_image
from heie_hf.evaluation.store import PredictionStore
from heie_hf.files import whole_file
from heie_hf.metrics import heatmap_metrics, score_metrics
from heie_hf.metrics.text import issue_metrics, perplexity

FLAT = (
    "mse mse_gt0 kld cc sim nss auc_judd plcc srcc krcc rmse issue_precision issue_recall issue_f1 "
    "perplexity_reference perplexity_generated"
).split()


@pytest.fixture(scope="session")
def by_pipeline(scenes, tiny_model, tiny_processor):
    """The same images through the front door, and the plain metrics."""
    pipe = ImplausibilityPipeline(tiny_model, processor=tiny_processor, device="cpu", task="image-implausibility")
    rows = list(load(scenes))
    results = pipe([row["image"] for row in rows], batch_size=2)
    maps = [np.asarray(row["heatmap"], dtype=np.float32) / 255 for row in rows]
    figures = heatmap_metrics([result["predicted_heatmap"] for result in results], maps)
    figures |= score_metrics([result["score"] for result in results], [row["score"] for row in rows])
    kinds = [{defect["kind"] for defect in row["defects"]} for row in rows]
    figures |= issue_metrics([issues_in(result["analysis"]) for result in results], kinds)
    for text in ("reference", "generated"):
        figures |= perplexity(tiny_model, tiny_processor, rows, text)
    return figures


def test_figures_are_those_of_the_pipeline_and_the_plain_metrics(complete, by_pipeline):
    for name in FLAT:
        if np.isnan(by_pipeline[name]):
            assert complete.metrics[name] is None
        else:
            assert complete.metrics[name] == pytest.approx(by_pipeline[name], abs=1e-5, rel=1e-5), name
    assert complete.metrics["num_images"] == by_pipeline["num_images"] == 6
    assert 0 < complete.metrics["num_gt0"] == by_pipeline["num_gt0"] < 6


def test_intervals_and_definitions_stand_beside_the_figures(complete):
    for name in FLAT:
        low, high = complete.metrics["intervals"][name]
        if complete.metrics[name] is not None:
            assert low <= complete.metrics[name] <= high
    assert complete.metrics["parameters"]["kld_eps"] == 1e-8
    assert complete.metrics["parameters"]["confidence"] == 0.95
    assert complete.metrics["run"]["fusion"] == "uncertainty"
    assert complete.metrics["run"]["images_per_second"] > 0


def test_one_row_per_image_in_the_parquet_file(complete, data):
    samples = load_samples(complete.folder)
    assert [sample["key"] for sample in samples] == data.rows["id"]
    assert [sample["target_score"] for sample in samples] == pytest.approx(list(data.rows["score"]))
    assert np.mean([sample["mse"] for sample in samples]) == pytest.approx(complete.metrics["mse"])
    assert all(sample["description"] and sample["analysis"] for sample in samples)


def test_a_killed_run_goes_on_where_it_was(run, complete, tiny_model, tiny_processor, monkeypatch):
    calls, generate = [], type(tiny_model).generate

    def killed_in_the_third_batch(self, **inputs):
        calls.append(len(inputs["num_patches"]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return generate(self, **inputs)

    monkeypatch.setattr(type(tiny_model), "generate", killed_in_the_third_batch)
    with pytest.raises(KeyboardInterrupt):
        run()
    resumed = run()
    assert resumed.flat == {name: complete.metrics[name] for name in resumed.flat}
    assert calls == [2, 2, 2, 2]  # two batches before, the broken one, and only that one again


def test_a_kill_in_the_middle_of_writing_does_no_harm(run, tmp_path, stored_only):
    """A real one, SIGKILL: what was written whole is used again, the rest goes away."""
    folder = tmp_path / "out" / "predictions" / "scenes-none"
    write = PredictionStore.write

    def killed_while_writing(store, shard):
        if len(list(folder.glob("*.npz"))) == 2:
            with whole_file(folder / "half.npz") as draft:
                draft.write_bytes(b"PK")
                os.kill(os.getpid(), signal.SIGKILL)
        write(store, shard)

    def in_another_process():
        PredictionStore.write = killed_while_writing
        torch.set_num_threads(1)
        run(text="none")

    process = multiprocessing.get_context("fork").Process(target=in_another_process)
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL and len(list(folder.glob(".*.tmp"))) == 1
    before = {file: file.stat().st_mtime_ns for file in folder.glob("*.npz")}
    resumed = run(text="none")
    assert not list(folder.glob(".*")) and len(list(folder.glob("*.npz"))) == 3
    assert before == {file: file.stat().st_mtime_ns for file in before}
    assert resumed.flat == run(text="none", output_dir=tmp_path / "at once").flat
    assert run(text="none", model=stored_only).flat == resumed.flat


def test_images_are_loaded_while_the_network_works(run, tmp_path, tiny_model, monkeypatch):
    """The network waits, in its first batch, until the second one has been loaded."""
    log = tmp_path / "loaded"
    log.touch()

    def logged(cell):
        with log.open("a") as file:
            file.write("x")
        return open_image(cell)

    def waiting(self, **inputs):
        deadline = time.monotonic() + 120
        while log.stat().st_size < 4:
            assert time.monotonic() < deadline, "nothing is loaded while the network works"
            time.sleep(0.01)
        return assess(self, **inputs)

    assess = type(tiny_model).assess
    monkeypatch.setattr(type(tiny_model), "assess", waiting)
    monkeypatch.setattr("heie_hf.evaluation.batches.open_image", logged)
    assert run(text="none", num_workers=1).metrics["num_images"] == 6


def test_the_vision_tower_runs_once_per_image(run, tiny_model):
    """Though the language model runs three times: for the text, and for the likelihood of two texts."""
    seen = []
    hook = tiny_model.model.vision_tower.register_forward_hook(lambda *_: seen.append(1))
    run()
    hook.remove()
    assert len(seen) == 3  # batches


def test_results_tell_no_path_of_this_machine(complete, scenes):
    files = [file for file in complete.folder.rglob("*") if file.is_file()]
    assert len(files) == 4 + 2 + 3 + 6  # the result; run.json and heads; a shard for each batch; pictures
    for file in files:
        assert str(scenes.parent).encode() not in file.read_bytes(), file
    assert complete.metrics["run"]["dataset"] == "scenes"


def test_a_folder_is_known_again_from_wherever_it_is_named(run, scenes, stored_only, tmp_path, monkeypatch):
    first = run(text="none", data=read_data(str(scenes)))
    monkeypatch.chdir(scenes.parent)
    assert run(text="none", data=read_data("scenes"), model=stored_only).flat == first.flat
    synthesize(6, 11, tmp_path / "elsewhere" / "scenes")
    with pytest.raises(EvaluationError, match="path_hash was"):
        run(text="none", data=read_data(str(tmp_path / "elsewhere" / "scenes")))


def test_predictions_of_another_model_are_not_mixed_in(run, tiny_model, tiny_processor):
    run(text="none")
    trained_on = EvaluatedModel("tiny", lambda: (tiny_model, tiny_processor), fingerprint="after more training")
    with pytest.raises(EvaluationError, match="weights was '', is 'after more training'"):
        run(text="none", model=trained_on)


def test_without_text(run):
    metrics = run(text="none").metrics
    names = ("issue_precision", "issue_f1", "perplexity_reference", "perplexity_generated")
    assert [metrics[name] for name in names] == [None] * 4
    assert metrics["mse"] > 0 and metrics["num_scores"] == 6


def test_reference_text_gives_heatmap_and_score_of_the_teacher_forced_pass(run, scenes, tiny_model, tiny_processor):
    result = run(text="reference")
    rows = load(scenes)
    texts = [{name: row[name] for name in ("description", "regions", "analysis")} for row in rows]
    for sample, row, text in zip(result.samples, rows, texts):
        inputs = tiny_processor(images=[row["image"]], targets=[{"explanation": text}])
        assert sample["score"] == pytest.approx(tiny_model(**inputs).score.item(), abs=1e-6)
    assert result.metrics["perplexity_reference"] > 1
    assert result.metrics["perplexity_generated"] is None


def test_only_labelled_rows_count(run, complete, tmp_path):
    """Two images without a score, two others without a heatmap, one without a text, no list of defects."""
    folder = tmp_path / "partly"
    synthesize(6, 11, folder)
    records = [json.loads(line) for line in (folder / "annotations.jsonl").read_text().splitlines()]
    for record, key in zip(records, ("score", "score", "heatmap", "heatmap", "conversations")):
        del record[key]
    (folder / "annotations.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    (folder / "defects.jsonl").unlink()
    result = run(data=read_data(str(folder)))
    names = ("num_images", "num_heatmaps", "num_scores", "num_reference_texts", "num_issue_images", "issue_f1")
    assert [result.metrics[name] for name in names] == [6, 4, 4, 5, 0, None]
    missing = [[s["target_score"] is None, s["mse"] is None] for s in result.samples]
    assert missing == [[True, False]] * 2 + [[False, True]] * 2 + [[False, False]] * 2
    assert result.metrics["mse"] == pytest.approx(np.mean([s["mse"] for s in result.samples if s["mse"] is not None]))
    alone_in_its_batch = load_samples(complete.folder)[5]  # with a reference text
    assert result.samples[5]["nll_reference"] == pytest.approx(alone_in_its_batch["nll_reference"], rel=1e-5)


def test_a_picture_that_has_gone_is_listed_and_taken_up_when_it_is_back(run, tmp_path):
    folder = tmp_path / "scenes"
    synthesize(3, 11, folder)
    data = read_data(str(folder))
    picture = sorted((folder / "images").iterdir())[1]
    picture.rename(tmp_path / "away.png")
    broken = run(data=data, text="none")
    assert broken.failures == [(data.keys[1], "no such file or directory")]
    assert broken.metrics["num_images"] == 2 and broken.metrics["num_failures"] == 1
    assert json.loads((tmp_path / "out" / "failures.jsonl").read_text())["id"] == data.keys[1]
    (tmp_path / "away.png").rename(picture)
    mended = run(data=data, text="none")
    assert mended.failures == []
    assert [sample["key"] for sample in mended.samples] == data.keys


def test_rows_that_the_loader_refused_are_listed(run, tmp_path):
    folder = tmp_path / "scenes"
    synthesize(3, 11, folder)
    sorted((folder / "images").iterdir())[0].write_bytes(b"no picture")
    result = run(data=read_data(str(folder)), text="none")
    assert len(result.failures) == 1 and result.metrics["num_images"] == 2
    assert result.failures[0][0] == "scenes/annotations.jsonl:1"


def test_equal_ids_are_kept_apart(data):
    doubled = EvaluationData("doubled", data.rows.select([0, 0, 1]))
    first = data.keys[0]
    assert doubled.keys == [first, f"{first}#2", data.keys[1]]
    rows = doubled.rows.remove_columns("id").add_column("id", [first, first, f"{first}#2"])
    assert EvaluationData("named so", rows).keys == [first, f"{first}#2", f"{first}#2#2"]


def test_a_heatmap_that_has_gone_is_a_failure_of_its_image(run, tmp_path):
    folder = tmp_path / "scenes"
    synthesize(3, 11, folder)
    data = read_data(str(folder))
    sorted((folder / "artifact_map").iterdir())[1].unlink()
    result = run(data=data, text="none")
    assert result.failures == [(data.keys[1], "its heatmap: no such file or directory")]
    assert [sample["key"] for sample in result.samples] == [data.keys[0], data.keys[2]]


def test_a_text_for_training_is_refused(run):
    with pytest.raises(EvaluationError, match="generated, none, reference, not 'swapped'"):
        run(text="swapped")


def test_several_data_sets_and_fusions_give_a_joint_report(data, evaluated, tmp_path):
    other = EvaluationData("scenes", data.rows.select([0, 3]), data.source)
    results = evaluate(
        [data, other], evaluated, tmp_path, text="none", fusions=["local", "global"], batch_size=3, num_workers=0
    )
    labels = ["scenes-local", "scenes-global", "scenes-2-local", "scenes-2-global"]
    assert [result.label for result in results] == labels
    joint = json.loads((tmp_path / "metrics.json").read_text())
    assert [joint[label]["num_images"] for label in labels] == [6, 6, 2, 2]
    assert joint["scenes-local"] == json.loads((tmp_path / "scenes-local" / "metrics.json").read_text())
    page = (tmp_path / "report.html").read_text()
    assert all(
        f'href="{label}/report.html"' in page and Path(tmp_path, label, "report.html").is_file() for label in labels
    )
