import json
import os

import numpy as np
import pytest
from datasets import Dataset
from PIL import Image
from transformers import pipeline
from transformers.pipelines.pt_utils import KeyDataset

import heie_hf  # noqa: F401, registers the task
from heie_hf import ImplausibilityPipeline
from heie_hf.checkpoints import DEFAULT_CHECKPOINT, default_checkpoint

TEXTS = ("description", "regions", "analysis", "text")


@pytest.fixture(scope="module")
def pipe(tiny_checkpoint):
    return pipeline("image-implausibility", model=tiny_checkpoint, device="cpu")


@pytest.fixture(scope="module")
def image(images):
    return images[1]


@pytest.fixture(scope="module")
def result(pipe, image):
    return pipe(image)


@pytest.fixture(scope="module")
def results(pipe, images):
    return pipe(images)


def assert_same(found, expected):
    """The same text to the letter, the same numbers up to the rounding that padding causes."""
    assert found.keys() == expected.keys()
    assert {key: found[key] for key in TEXTS} == {key: expected[key] for key in TEXTS}
    for key in ("score", "predicted_heatmap", "uncertainty"):
        np.testing.assert_allclose(found[key], expected[key], atol=1e-5)
    assert found["heatmap"].size == expected["heatmap"].size


def assert_all_same(found, expected):
    found = list(found)
    assert len(found) == len(expected)
    for pair in zip(found, expected):
        assert_same(*pair)


def test_the_result_of_one_image(result, image):
    assert set(result) == {"score", "heatmap", "predicted_heatmap", "uncertainty", *TEXTS}
    assert 0 <= result["score"] <= 1
    assert result["heatmap"].mode == "L"
    assert result["heatmap"].size == image.size
    assert result["predicted_heatmap"].shape == result["uncertainty"].shape == (image.height, image.width)
    assert np.abs(np.asarray(result["heatmap"]) / 255 - result["predicted_heatmap"]).max() <= 0.5 / 255 + 1e-6
    assert (result["uncertainty"] > 0).all()
    assert all(result[section] in result["text"] for section in TEXTS)
    assert "[MAP]" in result["text"]


@pytest.mark.parametrize("kind", ["path", "Path", "dict", "row with more columns", "array"])
def test_every_form_of_one_image_gives_the_same(pipe, image, result, tmp_path, kind):
    path = tmp_path / "image.png"
    image.save(path)
    forms = {
        "path": str(path),
        "Path": path,
        "dict": {"image": image},
        "row with more columns": {"image": str(path), "score": 0.5, "id": "7"},
        "array": np.asarray(image),
    }
    assert_same(pipe(forms[kind]), result)


def test_lists_and_tuples_give_lists(pipe, images, results):
    assert isinstance(results, list)
    assert_all_same(pipe(tuple(images)), results)
    assert pipe([]) == []


@pytest.mark.parametrize("kind", ["generator", "map", "KeyDataset", "data set", "streamed data set"])
def test_streams_give_streams(pipe, images, results, kind):
    rows = Dataset.from_dict({"image": images, "id": [str(i) for i in range(len(images))]})
    streams = {
        "generator": (image for image in images),
        "map": map(Image.Image.copy, images),
        "KeyDataset": KeyDataset(rows, "image"),
        "data set": rows,
        "streamed data set": rows.to_iterable_dataset(),
    }
    found = pipe(streams[kind], batch_size=3)
    assert not isinstance(found, list)
    assert_all_same(found, results)


@pytest.mark.parametrize("explain", [True, False])
def test_results_do_not_depend_on_the_batch_size(pipe, images, explain):
    one_by_one = [pipe(image, explain=explain) for image in images]
    assert_all_same(pipe(images, explain=explain, batch_size=8), one_by_one)
    assert_all_same(pipe(images, explain=explain, batch_size=3), one_by_one)


def test_without_explanation_it_is_one_assessment(pipe, image):
    found = pipe(image, explain=False)
    expected = pipe.model.assess(**pipe.processor(images=image))
    assert found["score"] == pytest.approx(expected.score.item(), abs=1e-6)
    assert [found[key] for key in TEXTS] == [""] * 4


def test_parameters_reach_prompt_and_decoding(pipe, image, result):
    assert pipe(image, instruction="Look for defects.")["score"] != result["score"]
    for parameters in ({"max_new_tokens": 9}, {"generate_kwargs": {"max_new_tokens": 9}}):
        with pytest.raises(ValueError, match="max_new_tokens=9 cannot hold the chain of thought"):
            pipe(image, **parameters)


def test_the_frame_is_that_of_the_upright_image(pipe, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # turned by 90 degrees
    Image.new("RGB", (60, 40)).save(tmp_path / "turned.jpg", exif=exif)
    assert pipe(str(tmp_path / "turned.jpg"), explain=False)["heatmap"].size == (40, 60)


def test_a_file_that_is_no_image_is_an_error_in_one_line(pipe, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(ValueError, match="is not an image") as error:
        pipe(str(tmp_path / "text.png"))
    assert "\n" not in str(error.value)


def test_a_saved_pipeline_works_as_it_is(pipe, image, result, tmp_path):
    pipe.save_pretrained(tmp_path)
    assert {"model.safetensors", "processor_config.json"} <= set(os.listdir(tmp_path))
    assert not list(tmp_path.glob("*.py"))  # code is for the Hub: push_to_hub, heie push
    assert not {"custom_pipelines", "auto_map"} & set(json.loads((tmp_path / "config.json").read_text()))
    loaded = pipeline("image-implausibility", model=str(tmp_path), device="cpu")
    assert_same(loaded(image), result)


def test_a_notice_about_the_training_data_is_given_once(make_tiny_model, tiny_processor, caplog):
    model = make_tiny_model(training_data_notice="This model knows drawings only.")
    for _ in range(2):
        ImplausibilityPipeline(model=model, processor=tiny_processor, device="cpu")
    assert [record.message for record in caplog.records].count("This model knows drawings only.") == 1


def test_the_default_model_is_the_embedded_one(monkeypatch, tmp_path):
    default = transformers_default()
    assert default == DEFAULT_CHECKPOINT
    monkeypatch.setattr("heie_hf.checkpoints.DEFAULT_CHECKPOINT", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="embedded model is missing"):
        default_checkpoint()


def transformers_default():
    from transformers.pipelines import PIPELINE_REGISTRY

    _, task, _ = PIPELINE_REGISTRY.check_task("image-implausibility")
    return task["default"]["model"][0]
