import pytest
import torch
from datasets import Dataset

from heie_hf import HEIEDataCollator
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.training.answers import leave_text_out
from heie_hf.training.collator import text_key
from tests.training.small_run import make_rows, make_trainer


@pytest.fixture(scope="module")
def rows():
    return make_rows()


@pytest.fixture
def run(tiny_checkpoint, tmp_path):
    """run(**settings) -> trainer after training, with the batches it was trained on and the calls of `generate`."""

    def train(train_dataset=None, **settings):
        trainer = make_trainer(tiny_checkpoint, tmp_path, save_strategy="no", **settings)
        trainer.train_dataset = train_dataset or trainer.train_dataset
        trainer.batches, trainer.written = [], []
        step, generate = trainer.training_step, trainer.model.generate

        def training_step(model, inputs, *args):
            trainer.batches.append(dict(inputs))
            return step(model, inputs, *args)

        def counted(**inputs):
            trainer.written.append((trainer.state.global_step, len(inputs["num_patches"])))
            return generate(**inputs)

        trainer.training_step, trainer.model.generate = training_step, counted
        trainer.train()
        return trainer

    return train


def test_every_row_is_shown_what_the_model_wrote(run, rows, tiny_processor, make_tiny_model):
    trainer = run(text_source="generated", max_steps=4, learning_rate=0.0, dataloader_num_workers=1)
    sequences = [row for batch in trainer.batches for row in batch["input_ids"].tolist()]
    assert len(sequences) == len(rows)
    collator, model, pad = trainer.data_collator, make_tiny_model(), tiny_processor.tokenizer.pad_token_id
    for row in rows:
        wording = collator.draw(row["id"]).instruction
        inputs = tiny_processor(images=row["image"], instruction=wording, return_tensors="pt")
        expected = model.generate(**inputs, do_sample=False)[0].tolist()
        assert expected in [[token for token in shown if token != pad] for shown in sequences]


def test_generated_texts_are_not_learnt(run):
    trainer = run(text_source="generated", max_steps=2)
    assert all((batch["labels"] == -100).all() for batch in trainer.batches)
    assert all(entry["lm_loss"] == 0 for entry in trainer.state.log_history if "loss" in entry)


def test_they_are_written_for_the_steps_to_come_and_not_for_more(run):
    trainer = run(text_source="generated", max_steps=7, generated_text_steps=3, per_device_eval_batch_size=8)
    assert trainer.written == [(0, 6), (3, 2), (4, 6)]  # 4 steps of 2 rows in an epoch


def test_accumulated_batches_count_as_one_step(run):
    trainer = run(
        text_source="generated",
        max_steps=2,
        generated_text_steps=1,
        gradient_accumulation_steps=2,
        per_device_eval_batch_size=8,
    )
    assert trainer.written == [(0, 4), (1, 4)]


def test_only_rows_drawn_for_it_are_shown_generated_text(run, rows):
    trainer = run(text_source={"generated": 0.5, "reference": 0.5}, max_steps=4, learning_rate=0.0)
    sources = [trainer.data_collator.draw(row["id"]).source for row in rows]
    assert sum(count for _, count in trainer.written) == sources.count("generated")
    assert 0 < sources.count("generated") < len(rows)
    learnt = sum(int((batch["labels"] != -100).any(dim=1).sum()) for batch in trainer.batches)
    with_text = [source for source, row in zip(sources, rows, strict=True) if row["description"]]
    assert learnt == with_text.count("reference")


def test_the_other_rows_stay_as_they_are(rows, run):
    trainer = run(text_source={"generated": 0.5, "reference": 0.5}, max_steps=1)
    collator = trainer.data_collator
    batch, texts = collator(rows), trainer.generated_texts
    texts.answers = {text_key(row["id"]): [5, 6, 7] for row in rows}
    shown = texts.insert(collator(rows), trainer.model.config)
    assert "generated_text" not in shown
    for index, row in enumerate(rows):
        known = [each["attention_mask"][index] == 1 for each in (batch, shown)]
        before, after = batch["input_ids"][index][known[0]], shown["input_ids"][index][known[1]]
        if collator.draw(row["id"]).source == "generated":
            assert after[-3:].tolist() == [5, 6, 7] and torch.equal(after[:-3], before[: len(after) - 3])
        else:
            assert torch.equal(before, after)
            assert torch.equal(batch["labels"][index][known[0]], shown["labels"][index][known[1]])


def test_a_row_without_a_text_is_shown_none(rows, tiny_processor, run):
    trainer = run(text_source="generated", max_steps=1)
    trainer.generated_texts.answers = {}
    blank = HEIEDataCollator(tiny_processor, "none", trainer.args.seed)(rows)["input_ids"]
    assert torch.equal(
        trainer.generated_texts.insert(trainer.data_collator(rows), trainer.model.config)["input_ids"], blank
    )


def test_rows_of_a_data_set(run, rows):
    columns = ("id", "image", "heatmap", "score", *SECTIONS)
    dataset = Dataset.from_list([{name: row[name] for name in columns} for row in rows if row["heatmap"]])
    trainer = run(dataset, text_source="generated", max_steps=1)
    assert trainer.written == [(0, 2)]


def test_data_without_a_length_is_refused(run, rows):
    dataset = Dataset.from_list([{"id": row["id"], "image": row["image"]} for row in rows]).to_iterable_dataset()
    with pytest.raises(ValueError, match="with a length"):
        run(dataset, text_source="generated", max_steps=1)


def test_text_left_out_is_what_a_prompt_without_text_gives(rows, tiny_processor, tiny_config):
    given = HEIEDataCollator(tiny_processor, "reference")(rows)
    blank = HEIEDataCollator(tiny_processor, "none")(rows)
    left_out = leave_text_out(given, tiny_config, tiny_processor.tokenizer.pad_token_id)
    for name, values in left_out.items():
        assert torch.equal(values, blank[name]), name
