import base64
import io
import json
import os

import numpy as np
import pytest
import torch
from datasets import Dataset
from datasets import Image as ImageFeature
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


def forms_of(image, folder):
    """The same pixels in every form in which people hold an image."""
    path = folder / "image.png"
    image.save(path)
    encoded = path.read_bytes()
    text = base64.b64encode(encoded).decode()
    pixels = np.array(image)  # (H, W, 3)
    tensor = torch.tensor(pixels)
    opaque = np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])
    exif = Image.Exif()
    exif[0x0112] = 6
    image.transpose(Image.Transpose.ROTATE_90).save(folder / "turned.png", exif=exif)
    return {
        "path": str(path),
        "Path": path,
        "turned file": folder / "turned.png",
        "bytes": encoded,
        "bytearray": bytearray(encoded),
        "base64": text,
        "base64 in lines": base64.encodebytes(encoded).decode(),
        "data URL": f"data:image/png;base64,{text}",
        "untyped data URL": f"data:;base64,{text}",
        "open file": io.BytesIO(encoded),
        "stream": Stream(encoded),
        "cell of bytes": {"bytes": encoded, "path": None},
        "cell of a path": {"bytes": None, "path": str(path)},
        "lazy PIL": Image.open(path),
        "turned PIL": Image.open(folder / "turned.png"),
        "RGBA": image.convert("RGBA"),
        "(H, W, 3)": pixels,
        "(3, H, W)": np.moveaxis(pixels, -1, 0),
        "(H, W, 4)": opaque,
        "float64": pixels / 255,
        "float32": np.float32(pixels / 255),
        "float16": np.float16(pixels / 255),
        "uint16": np.uint16(pixels) * 257,
        "int64": pixels.astype(np.int64),
        "tensor": tensor,
        "tensor (3, H, W)": tensor.permute(2, 0, 1),
        "tensor float32": tensor.permute(2, 0, 1) / 255,
        "tensor bfloat16": (tensor.permute(2, 0, 1) / 255).bfloat16(),
        "tensor float16 with gradient": (tensor.permute(2, 0, 1) / 255).half().requires_grad_(),
        "tensor (4, H, W)": torch.tensor(opaque).permute(2, 0, 1) / 255,
    }


class Stream(io.RawIOBase):
    """An open connection: bytes that can be read once."""

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.content.readinto(buffer)


def grey_forms_of(image, folder):
    """The same for a picture of black and white."""
    levels = np.array(image)  # (H, W), 0 or 255
    marks = levels > 0
    level = torch.tensor(levels)
    return {
        "L": image,
        "1": image.convert("1"),
        "RGB": image.convert("RGB"),
        "P": image.convert("P"),
        "I": image.convert("I"),
        "F": Image.fromarray(np.float32(marks)),
        "I;16": Image.fromarray(np.uint16(marks) * 65535),
        "(H, W)": levels,
        "(H, W, 1)": levels[..., None],
        "(1, H, W)": levels[None],
        "bool": marks,
        "bool tensor": torch.tensor(marks),
        "float (1, H, W)": level[None] / 255,
        "bfloat16 (H, W)": (level / 255).bfloat16(),
    }


@pytest.mark.parametrize("forms", [forms_of, grey_forms_of])
def test_one_picture_gives_one_score_however_it_is_held(pipe, image, tmp_path, forms):
    if forms is grey_forms_of:
        image = image.convert("L").point(lambda level: 255 * (level > 120))
    expected = pipe(image, explain=False)
    through_pipeline, through_processor = {}, {}
    for name, held in forms(image, tmp_path).items():
        through_pipeline[name] = pipe(held, explain=False)["score"]
    for name, held in forms(image, tmp_path).items():
        inputs = pipe.processor(images=held)
        through_processor[name] = float(pipe.model.assess(**inputs).score)
    assert through_pipeline == dict.fromkeys(through_pipeline, expected["score"])
    assert through_processor == dict.fromkeys(through_processor, expected["score"])
    assert pipe(np.asarray(image) ^ 255, explain=False)["score"] != expected["score"]


@pytest.mark.parametrize("kind", ["dict", "row with more columns"])
def test_dictionaries_with_an_image(pipe, image, result, tmp_path, kind):
    path = tmp_path / "image.png"
    image.save(path)
    forms = {"dict": {"image": image}, "row with more columns": {"image": str(path), "score": 0.5, "id": "7"}}
    assert_same(pipe(forms[kind]), result)


@pytest.mark.parametrize("stack", ["(B, H, W, C)", "(B, C, H, W)", "tensor", "in a list", "in a generator"])
def test_a_batch_of_arrays_counts_as_its_images(pipe, image, stack):
    pictures = np.stack([np.asarray(image), 255 - np.asarray(image), np.asarray(image) // 2])
    expected = [pipe(picture, explain=False) for picture in pictures]
    inputs = {
        "(B, H, W, C)": pictures,
        "(B, C, H, W)": np.moveaxis(pictures, -1, 1) / 255,
        "tensor": torch.tensor(np.moveaxis(pictures, -1, 1)) / 255,
        "in a list": [pictures[:2], pictures[2]],
        "in a generator": (part for part in (pictures[0], pictures[1:])),
    }[stack]
    assert_all_same(pipe(inputs, explain=False, batch_size=2), expected)
    if not stack.startswith("in a generator"):
        scores = pipe.model.assess(**pipe.processor(images=inputs)).score
        assert scores.tolist() == pytest.approx([result["score"] for result in expected], abs=1e-5)


@pytest.mark.parametrize(
    ("image", "reason"),
    [
        (np.full((8, 8, 3), 255.0), r"float64 values from 255 to 255, not in \[0, 1\]: divide 0..255 by 255"),
        (torch.full((3, 8, 8), -1.0), r"from -1 to -1, not in \[0, 1\]"),
        (np.full((8, 8), np.nan), "from nan to nan"),
        (np.array([[None]]), "type object"),
        (np.zeros((8, 8, 2)), "has the shape"),
        (7, "type int"),
        ({"id": 7}, "without an image"),
        (b"no image", "is not an image"),
        (io.StringIO("text"), 'open it with "rb"'),
        ("data:text/plain,hello", "is not an image"),
        ("data:image/png;base64,####", "cannot be read"),
        ("missing.png", "missing.png: no such file or directory"),
    ],
)
def test_what_is_no_image_is_refused_in_one_line(pipe, image, reason):
    for call in (pipe, pipe.processor):
        with pytest.raises(ValueError, match=reason) as error:
            call(image)
        assert "\n" not in str(error.value)


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


@pytest.fixture(scope="module")
def mixed(images, tmp_path_factory):
    """Good and bad images, as encoded cells; the places of the bad ones and why they are bad."""
    folder = tmp_path_factory.mktemp("mixed")
    cells = []
    for number, image in enumerate(images):
        image.save(folder / f"{number}.png")
        cells.append({"bytes": (folder / f"{number}.png").read_bytes(), "path": None})
    half = {"bytes": cells[0]["bytes"][:2000], "path": None}
    missing = {"bytes": None, "path": str(folder / "missing.png")}
    cells.insert(0, missing)
    cells.insert(3, half)
    return cells, {0: "no such file or directory", 3: "cannot be read as an image"}


def streams_of(cells, kind):
    if kind == "list":
        return list(cells)
    if kind == "generator":
        return (cell for cell in cells)
    rows = Dataset.from_dict({"image": cells}).cast_column("image", ImageFeature())  # decoded: its own error
    if kind == "KeyDataset":
        return KeyDataset(rows, "image")
    return rows if kind == "data set" else rows.cast_column("image", ImageFeature(decode=False))


KINDS = ("list", "generator", "KeyDataset", "data set", "undecoded data set")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"batch_size": 4, "num_workers": 1}])
def test_a_bad_image_is_skipped_and_the_others_are_unharmed(pipe, images, mixed, kind, options):
    cells, bad = mixed
    found = list(pipe(streams_of(cells, kind), on_error="skip", explain=False, **options))
    errors = {index: found.pop(index) for index in sorted(bad, reverse=True)}
    assert_all_same(found, pipe(images, explain=False))
    for index, error in errors.items():
        assert list(error) == ["error"]
        assert json.loads(error.to_json()) == error
        if "data set" not in kind.lower() and "dataset" not in kind.lower():
            assert bad[index] in error["error"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("options", [{}, {"batch_size": 2, "num_workers": 1}])
def test_an_error_names_its_input(pipe, mixed, kind, options):
    cells, _ = mixed
    with pytest.raises(ValueError, match=r"^inputs\[2\]: ") as error:
        list(pipe(streams_of(cells[1:], kind), explain=False, **options))
    assert "\n" not in str(error.value)


def test_texts_are_unharmed_by_a_bad_image_in_the_batch(pipe, results, mixed):
    cells, bad = mixed
    found = pipe(cells, on_error="skip", batch_size=4)
    assert_all_same([result for index, result in enumerate(found) if index not in bad], results)


def test_an_error_names_its_path(pipe, image, tmp_path):
    missing = str(tmp_path / "missing.png")
    with pytest.raises(ValueError, match=r"^inputs\[1\]: .*missing.png: no such file or directory$"):
        pipe([image, missing], explain=False)
    with pytest.raises(ValueError, match=r"^images\[1\]: .*missing.png: no such file or directory$"):
        pipe.processor(images=[image, missing])
    with pytest.raises(ValueError, match=r"^images\[1\]: has float64 values from 255"):
        pipe.processor(images=[image, np.full((8, 8), 255.0)])


def test_errors_may_be_skipped_by_construction(tiny_checkpoint, image):
    pipe = pipeline("image-implausibility", model=tiny_checkpoint, device="cpu", on_error="skip", explain=False)
    assert "error" in pipe("missing.png") and "score" in pipe(image)
    with pytest.raises(ValueError, match="missing.png"):
        pipe("missing.png", on_error="raise")
    with pytest.raises(ValueError, match="on_error is 'ignore', not one of raise, skip"):
        pipe(image, on_error="ignore")


@pytest.mark.parametrize("do_sample", [False, True])
def test_nan_from_the_language_head_alone_is_an_error_too(make_tiny_model, tiny_processor, images, do_sample):
    model = make_tiny_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    pipe = ImplausibilityPipeline(model=model, processor=tiny_processor, task="image-implausibility")
    with pytest.raises(ValueError, match=r"the model gave NaN or infinity \(score\)$"):
        pipe(images[0], generate_kwargs={"do_sample": do_sample})
    assert pipe(images[0], explain=False)["score"] >= 0  # no text, nothing read from it


@pytest.mark.parametrize("explain", [True, False])
def test_nan_from_the_weights_is_an_error_and_no_result(make_tiny_model, tiny_processor, images, explain):
    model = make_tiny_model(seed=3)
    pipe = ImplausibilityPipeline(model=model, processor=tiny_processor, device="cpu", explain=explain)
    with torch.no_grad():
        for parameter in model.scorer.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"^inputs\[0\]: the model gave NaN or infinity \(score\)$"):
        pipe(images[:2])
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(float("nan"))
    with pytest.raises(ValueError, match=r"^the model gave NaN or infinity \(score, heatmap, uncertainty\)$"):
        pipe(images[0])
    reason = "the model gave NaN or infinity (score, heatmap, uncertainty)"
    assert pipe(images[:2], on_error="skip", batch_size=2) == [{"error": reason}] * 2


def test_a_result_as_json(result, image):
    assert isinstance(result, dict)
    plain = json.loads(result.to_json(), parse_constant=pytest.fail)
    assert plain == {key: result[key] for key in ("score", *TEXTS)}
    with_images = json.loads(result.to_json(images=True))
    heatmap = Image.open(io.BytesIO(base64.b64decode(with_images.pop("heatmap"))))
    assert heatmap.format == "PNG" and np.array_equal(heatmap, result["heatmap"])
    assert with_images == plain


def test_json_of_later_fields_is_strict_too(result):
    more = type(result)(
        result, issues=[{"box": np.float32([1, 2]), "severity": np.float32(0.5), "heatmap": result["heatmap"]}]
    )
    assert json.loads(more.to_json())["issues"] == [{"severity": 0.5}]
    assert json.loads(more.to_json(images=True))["issues"][0]["heatmap"]
    more["score"] = float("nan")
    with pytest.raises(ValueError, match="JSON"):
        more.to_json()


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


def test_the_notice_stands_in_every_result(make_tiny_model, tiny_processor, images, result):
    model = make_tiny_model(training_data_notice="This model knows drawings only.")
    pipe = ImplausibilityPipeline(model=model, processor=tiny_processor, device="cpu", explain=False)
    for found in pipe(images[:2]):
        assert found["notice"] == json.loads(found.to_json())["notice"] == "This model knows drawings only."
    assert "notice" not in result


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
