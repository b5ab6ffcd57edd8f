"""`heie train`: what comes out, what it goes on from, and what it refuses before any work."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from datasets import Dataset
from PIL import Image
from safetensors.torch import load_file
from transformers import InternVLConfig, InternVLForConditionalGeneration

import heie_hf
from heie_hf import HEIEForImplausibility, HEIEProcessor
from heie_hf.data import FEATURES
from heie_hf.data.synthetic import synthesize
from heie_hf.training.rows import TokenCounter, find_problems
from heie_hf.training.run import TrainingError, make_trainer, read_recipe, train
from tests.data.published.published_files import write_images

ROOT = Path(heie_hf.__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def opinions(tmp_path_factory):
    """AGIQA-3K's layout: images with scores, without heatmaps and texts."""
    folder = tmp_path_factory.mktemp("agiqa3k")
    names = [f"{number}.png" for number in range(5)]
    write_images(folder / "images", names, size=(112, 112))
    lines = [f"{name},prompt {number},{number},1" for number, name in enumerate(names)]
    (folder / "data.csv").write_text("name,prompt,mos_quality,mos_align\n" + "\n".join(lines) + "\n")
    return folder


@pytest.fixture
def config(tmp_path, tiny_checkpoint, scenes):
    """config(field=value ...) -> path of a YAML file."""

    def write(**fields):
        common = {
            "model_name_or_path": tiny_checkpoint,
            "train_datasets": [str(scenes)],
            "output_dir": str(tmp_path / "out"),
            "per_device_train_batch_size": 2,
        }
        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump({**common, **fields}))
        return path

    return write


def weights(folder):
    return HEIEForImplausibility.from_pretrained(folder).state_dict()


class TestRuns:
    def test_data_sets_train_together_and_one_json_line_comes_out(
        self, heie_train, config, scenes, opinions, tiny_checkpoint, tmp_path
    ):
        data = [{"name": str(scenes)}, {"name": "agiqa3k", "root": str(opinions), "split": "train"}]
        status, out, err = heie_train(config(train_datasets=data, eval_datasets=[str(scenes)]))
        assert status == 0, err
        [line] = map(json.loads, out)
        assert line["steps"] == 2 and line["model"] == str(tmp_path / "out")
        assert {"train_loss", "eval_loss", "eval_cc", "eval_plcc", "eval_mse_gt0"} <= line.keys()
        assert any("4 ids are both trained and evaluated on" in text for text in err)
        before, after = weights(tiny_checkpoint), weights(tmp_path / "out")
        assert before.keys() == after.keys()
        assert [name for name in before if torch.equal(before[name], after[name])] == []
        assert HEIEProcessor.from_pretrained(tmp_path / "out").image_processor.max_patches == 6

    def test_the_same_from_python(self, heie_train, config, scenes, tmp_path):
        path = config(eval_datasets=[str(scenes)], seed=5)
        _, out, _ = heie_train(path)
        fields = yaml.safe_load(path.read_text()) | {"output_dir": str(tmp_path / "python"), "num_overlays": 0}
        metrics = train(fields | {"use_cpu": True}, ["--max_steps", "2", "--logging_steps", "1"])
        expected = json.loads(out[0])
        assert metrics["train_loss"] == expected["train_loss"] and metrics["eval_cc"] == expected["eval_cc"]

    def test_an_interrupted_run_goes_on(self, heie_train, config, tmp_path):
        settings = ("--save_steps", 1, "--lr_scheduler_type", "constant")
        _, _, err = heie_train(config(), *settings)
        assert any(line == f"heie: beginning in {tmp_path / 'out'}" for line in err)
        status, out, err = heie_train(config(), *settings, "--max_steps", 3)
        assert status == 0, err
        assert f"heie: going on from {tmp_path / 'out' / 'checkpoint-2'}" in err
        assert json.loads(out[0])["steps"] == 3
        heie_train(config(), *settings, "--max_steps", 3, "--output_dir", tmp_path / "whole")
        resumed, whole = weights(tmp_path / "out"), weights(tmp_path / "whole")
        assert [name for name in whole if not torch.equal(whole[name], resumed[name])] == []

    def test_an_end_that_cannot_be_written_leaves_the_model_that_was_there(self, config, tmp_path, monkeypatch):
        overrides = ["--use_cpu", "--max_steps", "1", "--save_strategy", "no"]
        train(config(), overrides)
        before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}

        def disk_is_full(*args, **kwargs):
            raise OSError("No space left on device")

        monkeypatch.setattr(HEIEProcessor, "save_pretrained", disk_is_full)
        with pytest.raises(OSError, match="No space left"):
            train(config(), [*overrides, "--seed", "1"])
        after = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir() if path.is_file()}
        assert after == before

    def test_random_weights(self, config, tiny_checkpoint, tmp_path):
        train(config(), ["--use_cpu", "--max_steps", "1", "--from_scratch", "--learning_rate", "0"])
        given, drawn = weights(tiny_checkpoint), weights(tmp_path / "out")
        assert given.keys() == drawn.keys()
        assert not torch.equal(given["lm_head.weight"], drawn["lm_head.weight"])
        assert drawn["model.vision_tower.embeddings.position_embeddings"].std() > 0.01

    def test_a_native_checkpoint_gets_heads(self, config, tiny_model, tiny_processor, tmp_path):
        parts = tiny_model.config
        native = InternVLForConditionalGeneration(
            InternVLConfig(
                vision_config=parts.vision_config,
                text_config=parts.text_config,
                image_token_id=parts.image_token_id,
                image_seq_length=parts.image_seq_length,
                tie_word_embeddings=False,
            )
        )
        native.save_pretrained(tmp_path / "native")
        tiny_processor.tokenizer.save_pretrained(tmp_path / "native")
        small = {"max_patches": 4, "mapper_config": {"hidden_size": 32, "num_attention_heads": 2}}
        path = config(model_name_or_path=str(tmp_path / "native"), config_overrides=small, learning_rate=0.0)
        train(path, ["--use_cpu", "--max_steps", "1"])
        trained = HEIEForImplausibility.from_pretrained(tmp_path / "out")
        assert trained.config.max_patches == 4 and trained.mapper.token_proj.out_features == 4 * 32
        before, after = native.model.vision_tower.state_dict(), trained.model.vision_tower.state_dict()
        assert all(torch.equal(before[name], after[name]) for name in before)

    def test_other_fields_of_the_config(self, config, tiny_checkpoint, tmp_path):
        overrides = {"fusion": "learned", "mapper_config": {"min_log_deviation": -3.0}}
        train(config(config_overrides=overrides, max_patches=4), ["--use_cpu", "--max_steps", "1"])
        assert weights(tmp_path / "out").keys() - weights(tiny_checkpoint).keys() == {"fuser.local_logit"}
        model = HEIEForImplausibility.from_pretrained(tmp_path / "out")
        assert model.config.mapper_config.min_log_deviation == -3.0
        assert model.config.mapper_config.hidden_size == 32
        assert HEIEProcessor.from_pretrained(tmp_path / "out").image_processor.max_patches == 4

    def test_parts_rest_and_what_learns_is_float32(self, config, tiny_checkpoint, tmp_path):
        overrides = ["--freeze", "vision", "language", "--dtype", "bfloat16", "--bf16"]
        train(config(), ["--use_cpu", "--max_steps", "1", *overrides])
        before, after = weights(tiny_checkpoint), load_file(tmp_path / "out" / "model.safetensors")
        assert before.keys() == after.keys()
        learns = {name for name, value in after.items() if value.dtype == torch.float32}
        assert {name.split(".")[0] for name in learns} == {"model", "mapper", "scorer"}
        assert all("multi_modal_projector" in name for name in learns if name.startswith("model."))
        for name in before.keys() - learns:
            assert torch.equal(before[name].bfloat16(), after[name]), name

    def test_early_stopping(self, config, scenes, tmp_path):
        """With a rate of 0 nothing gets better after the first evaluation."""
        stop = {"early_stopping_patience": 1, "metric_for_best_model": "cc", "eval_strategy": "steps", "eval_steps": 1}
        fields = {"learning_rate": 0.0, "save_steps": 1, "load_best_model_at_end": True, "num_overlays": 0}
        path = config(eval_datasets=[str(scenes)], **stop, **fields)
        assert train(path, ["--use_cpu", "--max_steps", "9"])["steps"] == 2


MISTAKES = {
    "unknown field": ({"lerning_rate": 1e-3}, [], "unknown field 'lerning_rate'; is learning_rate meant?"),
    "earlier field": ({"own_text_steps": 5}, [], "unknown field 'own_text_steps'; is generated_text_steps meant?"),
    "earlier text source": (
        {"text_source": {"own": 0.5, "none": 0.5}},
        [],
        "text_source has no 'own'; there are generated, none, reference, swapped",
    ),
    "unknown override": ({}, ["--sed=3"], "unknown field 'sed'; is seed meant?"),
    "no field": ({}, ["seed", "3"], "'seed' follows no field: write --field value"),
    "no number": ({"learning_rate": "fast"}, [], "invalid float value: 'fast'"),
    "no data": ({"train_datasets": None}, [], "train_datasets is missing"),
    "no such data set": ({"train_datasets": ["sceens"]}, [], "no data set 'sceens'"),
    "no such option": ({"train_datasets": [{"name": "synthetic", "sed": 1}]}, [], "unexpected keyword argument 'sed'"),
    "data set without a name": ({"train_datasets": [{"root": "x"}]}, [], "a data set is like {name"),
    "no such model": ({"model_name_or_path": "no/where"}, [], "cannot load no/where"),
    "no such part": ({"freeze": ["eyes"]}, [], "freeze cannot be 'eyes': there are vision, projector, language"),
    "no such dtype": ({}, ["--dtype", "float3"], "invalid choice: 'float3'"),
    "evaluation on nothing": ({"eval_strategy": "steps"}, [], "eval_strategy: steps needs eval_datasets"),
    "no such checkpoint": (
        {"resume_from_checkpoint": "no/where"},
        [],
        "resume_from_checkpoint: no/where is no folder",
    ),
    "stopping by nothing": ({"early_stopping_patience": 2}, [], "needs eval_strategy and metric_for_best_model"),
    "4 bits that learn": ({"quantization": "4bit"}, [], "quantised weights cannot be trained"),
    "parts of two precisions": ({"freeze": ["vision"], "dtype": "bfloat16"}, [], "set bf16: true"),
    "adapter on nothing": ({"lora_rank": 4, "lora_parts": []}, [], "target_modules"),
    "frozen adapter": ({"lora_rank": 4, "freeze": ["vision"]}, [], "freeze goes without an adapter"),
    "adapter on another config": ({"lora_rank": 4, "config_overrides": {"fusion": "fixed"}}, [], "as stored"),
    "too many patches": ({"max_patches": 7}, [], "max_patches must be from 2 to 6"),
    "text source": ({"text_source": {"reference": 0.5}}, [], "text_source must give"),
    "loss weights": ({"loss_weights": {"focal": 1}}, [], "loss_weights has unknown components ['focal']"),
    "config field": ({"config_overrides": {"fussion": "fixed"}}, [], "unknown field fussion; is fusion meant?"),
    "config value": ({"config_overrides": {"fusion": "none"}}, [], "fusion"),
    "nested field": ({"config_overrides": {"mapper_config": {"width": 8}}}, [], "unknown field mapper_config.width"),
    "heads that do not fit": (
        {"config_overrides": {"mapper_config": {"hidden_size": 64}}},
        [],
        "weights of the checkpoint do not fit the config, the first: mapper.",
    ),
    "more layers": (
        {"config_overrides": {"vision_config": {"num_hidden_layers": 3}}},
        [],
        "do not fit the config, the first: model.vision_tower.encoder.layer.2",
    ),
    "heatmaps that do not fit": (
        {"from_scratch": True, "config_overrides": {"mapper_config": {"upsample_factor": 2}}},
        [],
        "heatmap_size is 16 in the processor, but 8 goes with config.json",
    ),
    "texts too long": ({"max_length": 50}, [], "4 of 4 rows cannot be used"),
}


class TestMistakes:
    @pytest.mark.parametrize("mistake", MISTAKES)
    def test_one_line_and_status_2_before_any_work(self, mistake, heie_train, config, tmp_path):
        fields, arguments, expected = MISTAKES[mistake]
        status, out, err = heie_train(config(**fields), *arguments)
        assert (status, out) == (2, [])
        assert err[-1].startswith("heie: ") and expected in err[-1]
        assert not any("Traceback" in line for line in err)
        assert not list((tmp_path / "out").glob("*"))

    @pytest.mark.parametrize("content", [b"a: [1", b"- a\n- b\n", b"\xff\xfe\x00", b""])
    def test_files_that_are_no_config(self, content, heie_train, tmp_path):
        (tmp_path / "config.yaml").write_bytes(content)
        status, out, err = heie_train(tmp_path / "config.yaml")
        assert (status, out, len(err)) == (2, [], 1)
        assert str(tmp_path / "config.yaml") in err[0]

    def test_a_file_that_is_not_there(self, heie_train):
        assert heie_train("nowhere.yaml")[2] == ["heie: cannot read nowhere.yaml: No such file or directory"
                                                 " (see heie --help)"]  # fmt: skip

    def test_a_folder_that_cannot_be_written(self, heie_train, config, tmp_path):
        (tmp_path / "out").write_text("a file")
        status, _, err = heie_train(config())
        assert status == 2 and "cannot write to" in err[-1]

    def test_processes_that_do_not_know_of_each_other(self, config, monkeypatch):
        recipe = read_recipe(config(), ["--use_cpu"])
        monkeypatch.setenv("WORLD_SIZE", "2")  # set by torchrun; without use_cpu and a GPU, accelerate overlooks it
        with pytest.raises(TrainingError, match="several processes without a GPU each need use_cpu: true"):
            make_trainer(recipe)

    def test_a_run_of_another_kind_in_the_same_folder(self, heie_train, config):
        heie_train(config(), "--max_steps", 1, "--save_steps", 1)
        status, _, err = heie_train(config(lora_rank=2))
        assert status == 2 and "is of a run with another lora_rank: name another output_dir" in err[-1]

    def test_a_native_backbone_must_be_converted_for_an_adapter(self, heie_train, config, tmp_path):
        (tmp_path / "native").mkdir()
        (tmp_path / "native" / "config.json").write_text('{"model_type": "internvl"}')
        status, _, err = heie_train(config(model_name_or_path=str(tmp_path / "native"), lora_rank=2))
        assert status == 2 and f"First: heie convert {tmp_path / 'native'} FOLDER" in err[-1]


class TestData:
    @pytest.fixture
    def broken(self, tmp_path):
        """Seven scenes, five of which cannot be used."""
        folder = tmp_path / "broken"
        synthesize(7, 3, folder)
        path = folder / "annotations.jsonl"
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        lines[0]["score"] = 1.7
        (folder / lines[1]["image"]).unlink()
        (folder / lines[2]["heatmap"]).write_bytes(b"no picture")
        Image.new("L", (30, 90)).save(folder / lines[3]["heatmap"])
        lines[4] |= {"score": None, "heatmap": None, "conversations": []}
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        return folder

    def test_bad_rows_are_listed_with_their_reasons_and_counted(self, heie_train, config, broken, tmp_path):
        status, out, err = heie_train(config(train_datasets=[str(broken)]))
        assert (status, out) == (2, []) and not list((tmp_path / "out").glob("*"))
        assert "5 of 7 rows cannot be used: put them right, or leave them out with skip_bad_rows" in err[-1]
        listed = [line for line in err if line.startswith("heie: ")][-6:-1]
        reasons = (
            "score is 1.7",
            "no such file",
            "is not an image",
            "has 30 x 90 pixels",
            "has nothing to learn from",
        )
        for line, place, reason in zip(listed, (1, 2, 3, 4, None), reasons, strict=True):
            assert reason in line
            assert (f"annotations.jsonl:{place}:" if place else "-000004: ") in line

    def test_bad_rows_are_left_out_on_request(self, heie_train, config, broken):
        status, out, err = heie_train(config(train_datasets=[str(broken)]), "--skip_bad_rows")
        assert status == 0, err
        assert any("5 of 7 rows are left out, the first of them" in line for line in err)

    def test_nothing_left(self, heie_train, config, tmp_path):
        (tmp_path / "annotations.jsonl").write_text('{"image": "gone.png"}\n')
        status, _, err = heie_train(config(train_datasets=[str(tmp_path)]), "--skip_bad_rows")
        assert status == 2 and "none of 1 rows can be used" in err[-1]

    def test_rows_that_no_loader_made(self, tiny_processor):
        """Whoever makes rows in Python can check them likewise."""
        image, small = (Image.fromarray(np.zeros((side, 60), np.uint8)) for side in (80, 40))
        rows = [{"heatmap": small}, {"heatmap": image.convert("RGB")}, {"score": -0.1}, {"score": 1.0}, {}]
        rows = [dict.fromkeys(FEATURES) | {"id": str(i), "image": image} | row for i, row in enumerate(rows)]
        rows.append(dict.fromkeys(FEATURES) | {"score": 0.5})
        problems = dict(find_problems(Dataset.from_list(rows, features=FEATURES), tiny_processor, max_length=10_000))
        assert problems.keys() == {0, 1, 2, 4, 5}
        assert problems[0] == "heatmap: is L of (60, 40), not L of the image's size (60, 80)"
        assert problems[2] == "score is -0.1, not in [0, 1]" and problems[5] == "has no image"

    def test_a_turned_photograph_and_its_upright_heatmap(self, tiny_processor, tmp_path):
        exif = Image.Exif()
        exif[0x0112] = 6
        Image.new("RGB", (80, 60)).save(tmp_path / "1.jpg", exif=exif)
        row = dict.fromkeys(FEATURES) | {"image": {"bytes": None, "path": str(tmp_path / "1.jpg")}}
        row["heatmap"] = Image.new("L", (60, 80))
        assert not list(find_problems(Dataset.from_list([row], features=FEATURES), tiny_processor, max_length=10_000))

    def test_the_length_is_that_of_the_batch(self, tiny_processor, images, targets):
        """For the wording of the task that is longest."""
        from heie_hf.processing.processing_heie import INSTRUCTIONS

        count = TokenCounter(tiny_processor)
        for image, target in zip(images, targets):
            lengths = [
                tiny_processor(images=image, targets=target, instruction=wording)["input_ids"].shape[1]
                for wording in INSTRUCTIONS
            ]
            assert count(image.size, list(target["explanation"].values())) == max(lengths)

    def test_the_number_of_rows(self, config, scenes):
        overrides = ["--use_cpu", "--max_train_samples", "3", "--max_eval_samples", "1"]
        path = config(train_datasets=[{"name": "synthetic", "num_images": 6}], eval_datasets=str(scenes))
        trainer, again, other = (
            make_trainer(read_recipe(path, [*overrides, "--seed", str(seed)])) for seed in (1, 1, 2)
        )
        assert (len(trainer.train_dataset), len(trainer.eval_dataset)) == (3, 1)
        assert trainer.train_dataset["id"] == again.train_dataset["id"] != other.train_dataset["id"]

    def test_an_error_in_python_names_the_rows(self, config, broken):
        with pytest.raises(TrainingError) as error:
            train(config(train_datasets=[str(broken)]), ["--use_cpu"])
        assert len(error.value.rows) == 5 and error.value.rows[0][1] == "score is 1.7, not from 0 to 1"


@pytest.mark.slow
def test_two_processes_print_one_line(config, scenes, tmp_path):
    path = config(eval_datasets=[str(scenes)], ddp_backend="gloo", use_cpu=True, max_steps=1, num_overlays=0)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run(
        [*command, "-m", "heie_hf.cli", "train", str(path)], capture_output=True, text=True, env=environment
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["steps"] == 1
    assert done.stderr.count("heie: beginning in") == 1
    assert HEIEForImplausibility.from_pretrained(tmp_path / "out")
