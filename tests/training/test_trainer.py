import json

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import HfArgumentParser

from heie_hf import HEIEDataCollator, HEIEForImplausibility, HEIETrainer, HEIETrainingArguments
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.processing.processing_heie import INSTRUCTIONS
from heie_hf.recipes.heie_tiny import look
from heie_hf.training.collator import DEFAULT_TEXT_SOURCE, RowError

COMPONENTS = ("lm_loss", "heatmap_loss", "laplace_loss", "score_loss")


@pytest.fixture(scope="module")
def rows(images, targets):
    """Eight rows of the common schema; one lacks the text, one the heatmap, one the score."""
    made = []
    for index in range(8):
        image, target = images[index % 4], targets[index % 4]
        heatmap = Image.fromarray((target["heatmap"] * 255).astype(np.uint8))
        sections = target["explanation"] | {"analysis": f"Fault number {index}."}
        made.append({"id": f"row-{index}", "image": image, "heatmap": heatmap, "score": target["score"]} | sections)
    made[1] |= dict.fromkeys(SECTIONS)
    made[2]["heatmap"] = None
    made[3]["score"] = None
    return made


@pytest.fixture
def train(rows, make_tiny_model, tiny_processor, tmp_path):
    """train(folder, resume, mix, **arguments) -> trainer, after training a fresh model."""

    def run(folder="run", resume=None, mix="reference", **arguments):
        settings = {"max_steps": 2, "per_device_train_batch_size": 4, "save_strategy": "no", "logging_steps": 1}
        settings |= {"learning_rate": 1e-2, "optim": "sgd", "seed": 3, "warmup_steps": 0} | arguments
        trainer = HEIETrainer(
            make_tiny_model(seed=1),
            HEIETrainingArguments(str(tmp_path / folder), use_cpu=True, report_to="none", **settings),
            HEIEDataCollator(tiny_processor, mix),
            train_dataset=rows,
            eval_dataset=rows[:5],
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    return run


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def difference(first, second):
    return max(float((first[name] - second[name]).abs().max()) for name in first)


def labels_of(collator, rows):
    return (collator(rows)["labels"] != -100).sum(dim=1)


class TestCollator:
    def test_rows_become_a_batch_with_labels(self, rows, tiny_processor):
        batch = HEIEDataCollator(tiny_processor, "reference")(rows)
        assert next(iter(batch)) == "input_ids"
        assert len(batch["heatmap_labels"]) == batch["num_patches"].sum() == len(batch["pixel_values"])
        assert batch["score_labels"][0] == rows[0]["score"]

    def test_what_a_row_lacks_is_masked_and_nothing_else(self, rows, tiny_processor):
        batch = HEIEDataCollator(tiny_processor, "reference")(rows)
        per_image = batch["heatmap_labels"].split(batch["num_patches"].tolist())
        assert [bool(cells.isnan().all()) for cells in per_image] == [index == 2 for index in range(8)]
        assert batch["score_labels"].isnan().tolist() == [index == 3 for index in range(8)]
        assert ((batch["labels"] != -100).sum(dim=1) == 0).tolist() == [index == 1 for index in range(8)]

    def test_without_text_the_template_stays(self, rows, tiny_processor):
        batch = HEIEDataCollator(tiny_processor, {"none": 1.0})(rows)
        assert (batch["labels"] == -100).all()
        assert (batch["input_ids"] == tiny_processor.map_token_id).sum() == len(rows)
        assert not any("Fault" in text for text in tiny_processor.batch_decode(batch["input_ids"]))

    def test_swapped_texts_are_shown_but_not_learnt(self, rows, tiny_processor):
        batch = HEIEDataCollator(tiny_processor, {"swapped": 1.0})(rows)
        assert (batch["labels"] == -100).all()
        for index, text in enumerate(tiny_processor.batch_decode(batch["input_ids"])):
            assert f"Fault number {index}" not in text
            assert ("Fault number" in text) == (index != 1)  # a row without text gets none from another

    def test_a_lone_row_has_no_text_to_swap_with(self, rows, tiny_processor):
        batch = HEIEDataCollator(tiny_processor, {"swapped": 1.0})(rows[:1])
        assert "Fault" not in tiny_processor.batch_decode(batch["input_ids"])[0]

    def test_a_mix_shows_all_sources_in_every_epoch_anew(self, rows, tiny_processor):
        def drawn(seed):
            collator, epochs = HEIEDataCollator(tiny_processor, DEFAULT_TEXT_SOURCE, seed), []
            for epoch in range(100):
                collator.set_epoch(epoch)
                epochs.append(tuple(collator.draw(row["id"]).source for row in rows))
            return epochs

        sources = np.array(drawn(0))
        for source, share in DEFAULT_TEXT_SOURCE.items():
            assert (sources == source).mean() == pytest.approx(share, abs=0.05)
        assert drawn(0) == drawn(0) != drawn(1)
        assert len(set(drawn(0))) > 90

    def test_wordings_are_drawn_too(self, rows, tiny_processor):
        collator = HEIEDataCollator(tiny_processor, "reference")
        asked = [collator.draw(row["id"]).instruction for row in rows]
        assert len(set(asked)) > 2 and set(asked) <= set(INSTRUCTIONS)
        for text, wording in zip(tiny_processor.batch_decode(collator(rows)["input_ids"]), asked, strict=True):
            assert wording in text

    def test_draws_do_not_depend_on_the_batch(self, rows, tiny_processor):
        collator = HEIEDataCollator(tiny_processor, {"none": 0.5, "reference": 0.5})
        together, mask = (collator(rows)[name] for name in ("input_ids", "attention_mask"))
        for index in reversed(range(8)):
            alone = collator(rows[index : index + 1])["input_ids"][0]
            assert torch.equal(together[index][mask[index] == 1], alone)

    def test_one_source_can_be_named(self, rows, tiny_processor):
        assert not labels_of(HEIEDataCollator(tiny_processor, "none"), rows).any()

    @pytest.mark.parametrize("source", [{"reference": 0.5}, {"generated": 1.5, "none": -0.5}, {}])
    def test_shares_that_are_no_probabilities_are_refused(self, source, tiny_processor):
        with pytest.raises(ValueError, match="text_source must give probabilities that sum to 1"):
            HEIEDataCollator(tiny_processor, source)

    @pytest.mark.parametrize("source", [{"own": 0.5, "none": 0.5}, "own"])
    def test_a_source_that_there_is_not_is_named(self, source, tiny_processor):
        with pytest.raises(ValueError, match="no 'own'; there are generated, none, reference, swapped"):
            HEIEDataCollator(tiny_processor, source)

    def test_by_default_the_score_cannot_be_read_from_the_text(self, rows, tiny_processor):
        default, named = HEIEDataCollator(tiny_processor), HEIEDataCollator(tiny_processor, DEFAULT_TEXT_SOURCE)
        assert torch.equal(default(rows)["labels"], named(rows)["labels"])
        assert not torch.equal(default(rows)["labels"], HEIEDataCollator(tiny_processor, "reference")(rows)["labels"])

    @pytest.mark.parametrize(
        ("broken", "reason"),
        [
            ({"image": "gone.png"}, "row row-5: .*no such file"),
            ({"heatmap": Image.new("L", (3, 3))}, r"row row-5: .*has \(height, width\) \(3, 3\)"),
            ({"score": 1.5}, "row row-5: .*is 1.5, not in"),
            ({"score": "good"}, "row row-5: "),
            ({"image": None}, "row row-5: "),
        ],
    )
    def test_an_error_names_the_row(self, broken, reason, rows, tiny_processor):
        bad = [*rows[:5], rows[5] | broken, *rows[6:]]
        with pytest.raises(RowError, match=f"(?i){reason}"):
            HEIEDataCollator(tiny_processor)(bad)

    def test_a_row_that_lacks_a_column_is_named(self, rows, tiny_processor):
        without = {name: rows[5][name] for name in rows[5] if name != "heatmap"}
        with pytest.raises(RowError, match="row row-5: has no 'heatmap'"):
            HEIEDataCollator(tiny_processor)([*rows[:5], without])
        with pytest.raises(RowError, match="row 1 of the batch: has no 'id'"):
            HEIEDataCollator(tiny_processor)([rows[0], {"image": rows[0]["image"]}])


class TestTraining:
    def test_components_are_logged_and_add_up(self, train):
        trainer = train(gradient_accumulation_steps=2, per_device_train_batch_size=2, logging_steps=2)
        logs = [entry for entry in trainer.state.log_history if "loss" in entry]
        assert len(logs) == 1
        total = sum(trainer.loss_weights[name.removesuffix("_loss")] * logs[0][name] for name in COMPONENTS)
        assert logs[0]["loss"] == pytest.approx(total, rel=1e-4)

    def test_weights_of_the_losses_can_be_set(self, train):
        trainer = train(loss_weights={"lm": 0.0, "laplace": 0.0, "heatmap": 0.0, "score": 2.0}, max_steps=1)
        logs = trainer.state.log_history[0]
        assert logs["loss"] == pytest.approx(2 * logs["score_loss"], rel=1e-5)
        with pytest.raises(ValueError, match="unknown components"):
            train(loss_weights={"focal": 1.0}, max_steps=1)

    def test_weights_of_the_losses_on_a_command_line(self, tmp_path):
        parser = HfArgumentParser(HEIETrainingArguments)
        line = ["--output_dir", str(tmp_path), "--loss_weights", '{"lm": 0.5}', "--use_cpu"]
        line += ["--text_source", '{"none": 0.5, "generated": 0.5}']
        arguments = parser.parse_args_into_dataclasses(line)[0]
        assert arguments.loss_weights == {"lm": 0.5} and arguments.text_source == {"none": 0.5, "generated": 0.5}

    @pytest.mark.parametrize("source", [None, "none"])
    def test_the_documented_collator_changes_nothing(self, source, make_tiny_model, tiny_processor, rows, tmp_path):
        """With it and without one the same weights are trained, by the text source and seed of the arguments."""
        arguments = HEIETrainingArguments(
            str(tmp_path), use_cpu=True, report_to="none", seed=7, max_steps=2, save_strategy="no", text_source=source
        )
        trained = []
        for collator in (None, HEIEDataCollator(tiny_processor)):
            trainer = HEIETrainer(
                make_tiny_model(seed=1), arguments, collator, train_dataset=rows, processing_class=tiny_processor
            )
            trainer.train()
            trained.append(weights(trainer))
            expected = {"none": 1.0} if source else DEFAULT_TEXT_SOURCE
            assert trainer.data_collator.text_source == expected and trainer.data_collator.seed == 7
        assert difference(*trained) == 0

    def test_a_collator_serves_two_trainers(self, make_tiny_model, tiny_processor, rows, tmp_path):
        collator = HEIEDataCollator(tiny_processor)
        for seed in (3, 4):
            arguments = HEIETrainingArguments(str(tmp_path), use_cpu=True, report_to="none", seed=seed)
            trainer = HEIETrainer(make_tiny_model(), arguments, collator, train_dataset=rows[:seed])
            assert trainer.data_collator.seed == seed and len(trainer.data_collator.other_texts) == seed

    def test_two_text_sources_are_one_too_many(self, make_tiny_model, tiny_processor, tmp_path):
        arguments = HEIETrainingArguments(str(tmp_path), use_cpu=True, report_to="none", text_source="none")
        with pytest.raises(ValueError, match="collator's text_source is swapped 1, that of the arguments none 1"):
            HEIETrainer(make_tiny_model(), arguments, HEIEDataCollator(tiny_processor, "swapped"))

    def test_every_parameter_moves(self, train, make_tiny_model):
        before, after = make_tiny_model(seed=1).state_dict(), weights(train(optim="adamw_torch", max_steps=1))
        assert [name for name in before if torch.equal(before[name], after[name])] == []

    def test_batches_and_accumulation_train_the_same_weights(self, train):
        mix = {"none": 0.4, "reference": 0.6}
        whole = weights(train(per_device_train_batch_size=4, mix=mix))
        for batch, accumulation in ((2, 2), (1, 4)):
            split = train(per_device_train_batch_size=batch, gradient_accumulation_steps=accumulation, mix=mix)
            assert difference(whole, weights(split)) < 1e-5

    @pytest.mark.parametrize("missing", ["heatmap", "score", "description"])
    def test_a_batch_without_any_label_of_a_kind(self, missing, rows, train):
        component = {"heatmap": "heatmap_loss", "score": "score_loss", "description": "lm_loss"}[missing]
        without = [row | {missing: None} | ({"regions": None, "analysis": None} if missing == "description" else {})
                   for row in rows]  # fmt: skip
        trainer = train(max_steps=1)
        trainer.train_dataset = without
        trainer.train()
        logs = trainer.state.log_history[0]
        assert logs[component] == 0 and np.isfinite(logs["loss"])


class TestCheckpoints:
    def test_a_checkpoint_holds_every_tensor_and_loads(self, train, tmp_path):
        trainer = train(save_strategy="steps", save_steps=2)
        folder = tmp_path / "run" / "checkpoint-2"
        assert load_file(folder / "model.safetensors").keys() == trainer.model.state_dict().keys()
        assert difference(weights(trainer), HEIEForImplausibility.from_pretrained(folder).state_dict()) == 0
        assert (folder / "processor_config.json").exists()

    @pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
    def test_the_best_model_comes_back_whole(self, tied, make_tiny_model, tiny_processor, rows, tmp_path):
        text = make_tiny_model().config.text_config.to_dict() | {"tie_word_embeddings": tied}
        model = make_tiny_model(seed=1, text_config=text, tie_word_embeddings=tied)
        worse, after_a_step = iter([2.0, 3.0, 4.0]), []

        def compute_metrics(prediction):
            after_a_step.append({name: value.clone() for name, value in model.state_dict().items()})
            return {"error": next(worse)}

        arguments = HEIETrainingArguments(
            str(tmp_path),
            max_steps=3,
            eval_strategy="steps",
            eval_steps=1,
            save_steps=1,
            save_total_limit=1,
            load_best_model_at_end=True,
            metric_for_best_model="error",
            greater_is_better=False,
            num_overlays=0,
            use_cpu=True,
            report_to="none",
        )
        trainer = HEIETrainer(
            model,
            arguments,
            HEIEDataCollator(tiny_processor),
            train_dataset=rows,
            eval_dataset=rows[:2],
            compute_metrics=compute_metrics,
        )
        trainer.train()
        assert difference(after_a_step[0], after_a_step[2]) > 0
        assert difference(after_a_step[0], weights(trainer)) == 0
        assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-1"]
        state = json.loads((tmp_path / "checkpoint-1" / "trainer_state.json").read_text())
        assert state["best_model_checkpoint"] == str(tmp_path / "checkpoint-1")


class TestEvaluation:
    def test_predictions_have_one_size_for_every_image(self, train, rows):
        trainer = train(max_steps=1, per_device_eval_batch_size=2)
        assert trainer.evaluate()["eval_loss"] > -10
        output = trainer.predict(rows[:5])
        (scores, heatmaps, *given), (score_labels, targets) = output.predictions, output.label_ids
        assert scores.shape == given[0].shape == score_labels.shape == (5,)
        assert heatmaps.shape == given[1].shape == targets.shape == (5, 16, 16)
        assert np.isnan(targets[2]).all() and np.isnan(score_labels[3]) and 0 <= heatmaps.min() <= heatmaps.max() <= 1


def test_labels_of_the_tiny_tower_are_cut_as_the_image_is():
    labels = np.zeros((160, 240), np.uint64)
    labels[:20, 230:] = 4  # two cells high and one wide, in the top right corner of 2 rows of 3 patches
    cells = look(labels, columns=3, rows=2)
    assert cells.shape == (6, 8, 8)
    assert np.argwhere(cells == 4).tolist() == [[2, 0, 7], [2, 1, 7]]
    assert np.count_nonzero(cells) == 2
