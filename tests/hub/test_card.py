"""The model card: what it says, and that the Hub takes its metadata."""

import json
from pathlib import Path

import pytest
from huggingface_hub import ModelCard

from heie_hf.checkpoints import DEFAULT_CHECKPOINT
from heie_hf.hub.card import EMBEDDED, METRICS, CardFacts, render_card
from heie_hf.hub.repository import write_repository

FIGURES = {  # as heie evaluate writes them
    "mse": 0.004123,
    "mse_gt0": 0.0009,
    "cc": 0.9123456789,
    "sim": None,  # undefined
    "plcc": 0.876,
    "num_images": 500,
    "intervals": {"cc": [0.9, 0.92], "sim": [None, None]},
    "run": {"dataset": "/data/of/this/machine/scenes", "split": "test", "text": "generated", "model": "/a/path"},
}


def card(folder, **facts) -> ModelCard:
    return render_card(folder, CardFacts(**facts))


def test_metadata_is_valid_and_complete(repository, hub):
    rendered = card(
        repository,
        repo_id="someone/heie",
        license="apache-2.0",
        base_model="OpenGVLab/InternVL3-1B-hf",
        datasets=["someone/scenes"],
        metrics=FIGURES,
        tags=["test"],
    )
    rendered.validate()  # asks the Hub (here: the rules of the one on loopback)
    data = ModelCard(str(rendered)).data  # read back
    assert (data.license, data.base_model, data.datasets) == (
        "apache-2.0",
        "OpenGVLab/InternVL3-1B-hf",
        ["someone/scenes"],
    )
    assert (data.library_name, data.pipeline_tag, data.model_name) == ("transformers", "image-text-to-text", "heie")
    assert {"heie", "image-implausibility", "test"} <= set(data.tags)
    figures = {result.metric_type: result.metric_value for result in data.eval_results}
    assert figures == {"cc": 0.912346, "mse": 0.004123, "mse_gt0": 0.0009, "plcc": 0.876}
    assert {(result.dataset_name, result.dataset_split) for result in data.eval_results} == {("scenes", "test")}


def test_the_text_gives_the_figures_and_no_path_of_this_machine(repository):
    text = card(repository, metrics=FIGURES, license="mit").text
    assert "On scenes (test), 500 images, text in the chain of thought: generated." in text
    assert f"| {METRICS['cc']} | 0.9123 | 0.9 to 0.92 |\n| {METRICS['mse']} | 0.004123 |  |" in text
    assert "SIM" not in text and "/data/of" not in text and "/a/path" not in text


def test_what_the_texts_of_other_images_give_stands_beside_the_figures(repository):
    names = ("description_objects", "description_colors", "description_place", "rouge_l")
    figures = FIGURES | dict(zip(names, (0.6, 0.2, 0.1, 0.7)))
    text = card(repository, metrics=figures).text
    assert "| figure | value | 95 % interval |\n|---|---|---|\n" in text and "may be untrue" not in text
    by_chance = dict(zip([f"{name}_shuffled" for name in names], (0.3, 0.15, 0.05, 0.4)))
    rendered = card(repository, metrics=figures | by_chance)
    assert "| figure | value | 95 % interval | with the texts of other images |\n|---|---|---|---|\n" in rendered.text
    assert f"| {METRICS['cc']} | 0.9123 | 0.9 to 0.92 |  |\n" in rendered.text
    assert f"| {METRICS['description_colors']} | 0.2 |  | 0.15 |\n" in rendered.text
    assert f"| {METRICS['rouge_l']} | 0.7 |  | 0.4 |\n" in rendered.text
    assert rendered.text.index(METRICS["description_place"]) < rendered.text.index(METRICS["rouge_l"])
    limits = rendered.text[rendered.text.index("## Limits") :]
    assert "right are 0.60 of the objects, 0.20 of the colours, 0.10 of the places" in limits
    assert "the texts of other images reach 0.30, 0.15, 0.05" in limits
    assert not any(result.metric_type.endswith("_shuffled") for result in rendered.data.eval_results)


def test_what_is_not_known_is_not_made_up(repository, hub):
    rendered = card(repository)
    rendered.validate()
    assert (rendered.data.license, rendered.data.base_model, rendered.data.eval_results) == (None, None, None)
    assert "Data sets: not stated" in rendered.text and "Licence of the weights: not stated" in rendered.text
    assert "None were given." in rendered.text
    assert "{{" not in rendered.text and "{%" not in rendered.text


def test_sections_and_limits(repository):
    text = card(repository).text
    titles = [line for line in text.splitlines() if line.startswith("## ")]
    assert titles == ["## How to use", "## Results", "## Training", "## Intended use", "## Limits", "## Citation"]


def test_the_notice_of_the_training_data_is_the_first_thing_said(make_tiny_model, tiny_processor, tmp_path):
    notice = "This model was trained on drawn scenes only: it is not for judging photographs."
    make_tiny_model(training_data_notice=notice).save_pretrained(tmp_path)
    text = card(tmp_path).text
    assert text.index(f"> {notice}") < text.index("## How to use")
    assert f"- {notice}" in text[text.index("## Limits") :]


def test_figures_beside_the_weights_are_used(make_tiny_model, tiny_processor, tmp_path):
    make_tiny_model().save_pretrained(tmp_path / "model")
    tiny_processor.save_pretrained(tmp_path / "model")
    (tmp_path / "model" / "metrics.json").write_text(json.dumps(FIGURES))
    write_repository(str(tmp_path / "model"), tmp_path / "out", CardFacts())
    assert ModelCard.load(tmp_path / "out" / "README.md").data.eval_results[0].metric_value == 0.912346


def test_figures_of_something_else_are_refused(repository):
    with pytest.raises(ValueError, match="none of the figures cc, sim"):
        card(repository, metrics={"eval_loss": 0.5})


def test_invalid_metadata_is_noticed(repository, hub):
    with pytest.raises(ValueError, match="license.* must be one of"):
        card(repository, license="mine").validate()
    with pytest.raises(ValueError, match="datasets.* with value"):
        card(repository, datasets=["my data set"]).validate()


def test_the_card_at_the_root_is_that_of_the_embedded_model(tmp_path):
    """To write it again: heie push --to-folder card && cp card/README.md MODEL_CARD.md"""
    if not Path(DEFAULT_CHECKPOINT).is_dir():
        pytest.skip("the embedded model has not been trained yet")
    write_repository(DEFAULT_CHECKPOINT, tmp_path / "heie-tiny", EMBEDDED)
    rendered = (tmp_path / "heie-tiny" / "README.md").read_text()
    assert "not for judging photographs" in rendered and "drawn" in rendered
    assert (Path(__file__).resolve().parents[2] / "MODEL_CARD.md").read_text() == rendered
