"""`HEIETrainer(push_to_hub=True)`: the export carries code and card, the checkpoints before it do not."""

import json

import pytest
from huggingface_hub import ModelCard
from transformers import pipeline

from heie_hf import HEIEDataCollator, HEIETrainer, HEIETrainingArguments
from heie_hf.hub.repository import leave_out


@pytest.fixture
def make_trainer(hub, make_tiny_model, tiny_processor, images, targets, tmp_path):
    explanations = [target["explanation"] for target in targets]
    rows = [
        {"id": str(i), "image": image, "heatmap": target["heatmap"], "score": target["score"], **explanation}
        for i, (image, target, explanation) in enumerate(zip(images, targets, explanations))
    ]

    def make(hub_strategy):
        arguments = HEIETrainingArguments(
            str(tmp_path / "tuned"),
            max_steps=2,
            save_steps=1,
            per_device_train_batch_size=2,
            use_cpu=True,
            report_to="none",
            push_to_hub=True,
            hub_model_id="someone/tuned",
            hub_strategy=hub_strategy,
            hub_private_repo=True,
        )
        return HEIETrainer(
            make_tiny_model(),
            arguments,
            HEIEDataCollator(tiny_processor),
            train_dataset=rows,
            eval_dataset=rows[:2],
            compute_metrics=lambda prediction: {"plcc": 0.5},
        )

    return make


def test_a_trained_model_is_published_whole(make_trainer, hub, images, tmp_path):
    trainer = make_trainer("end")
    trainer.train()
    trainer.evaluate()
    checkpoint = tmp_path / "tuned" / "checkpoint-2"
    config = json.loads((checkpoint / "config.json").read_text())
    assert not {"auto_map", "custom_pipelines"} & set(config) and not list(checkpoint.glob("*.py"))

    trainer.push_to_hub(license="mit", dataset="someone/scenes", finetuned_from="OpenGVLab/InternVL3-1B-hf")
    files = hub.files("someone/tuned")
    assert hub.repos["someone/tuned"].private
    assert {"pipeline_heie.py", "modeling_heie.py", "processing_heie.py", "tokenizer.json"} <= set(files)
    card = ModelCard(files["README.md"].decode()).data
    assert (card.license, card.datasets, card.base_model) == ("mit", ["someone/scenes"], "OpenGVLab/InternVL3-1B-hf")
    assert [(result.metric_type, result.metric_value) for result in card.eval_results] == [("plcc", 0.5)]
    pipe = pipeline("image-implausibility", model="someone/tuned", device="cpu")
    expected = trainer.model.eval().assess(**pipe.processor(images=images[:1]))
    assert pipe(images[0], explain=False)["score"] == pytest.approx(expected.score.item(), abs=1e-6)


def test_no_commit_holds_the_pickle_of_the_training_arguments(make_trainer, hub, tmp_path):
    """Neither those made while training, nor the last; "checkpoint" also asks for what a resumed training needs."""
    trainer = make_trainer("checkpoint")
    trainer.train()
    trainer.push_to_hub()
    commits = hub.repos["someone/tuned"].commits.values()
    assert len(commits) > 3 and (tmp_path / "tuned" / "training_args.bin").is_file()
    assert not [name for files in commits for name in files if name.endswith(".bin")]
    files = set(hub.files("someone/tuned"))
    assert {"model.safetensors", "modeling_heie.py", "last-checkpoint/optimizer.pt"} <= files


def test_a_gitignore_of_ones_own_is_kept(tmp_path):
    (tmp_path / ".gitignore").write_text("runs")
    for _ in range(2):
        leave_out("training_args.bin", tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "runs\ntraining_args.bin\n"
