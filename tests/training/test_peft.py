"""LoRA adapters with trained heads and token rows: saved, loaded, merged, resumed; tied and untied embeddings."""

import importlib.util

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import TrainerCallback, pipeline

from heie_hf import HEIEForImplausibility
from heie_hf.training.run import make_trainer, read_recipe, train
from tests.aligned_weights import aligned

HEADS = ("mapper", "scorer")
# Everything, and so much that nothing is equal by chance.
SETTINGS = {
    "lora_rank": 4,
    "lora_parts": ["language", "vision"],
    "learning_rate": 0.02,
    "warmup_steps": 0,
    "max_steps": 3,
    "per_device_train_batch_size": 2,
    "logging_steps": 1,
    "use_cpu": True,
}


@pytest.fixture(scope="module", params=["untied", "tied"])
def base(request, tmp_path_factory, make_tiny_model, tiny_processor):
    """A checkpoint whose input and output embeddings are one matrix, or two."""
    tied = request.param == "tied"
    text = make_tiny_model().config.text_config.to_dict() | {"tie_word_embeddings": tied}
    model = make_tiny_model(text_config=text, tie_word_embeddings=tied)
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == tied
    folder = tmp_path_factory.mktemp(request.param)
    model.save_pretrained(folder)
    tiny_processor.save_pretrained(folder)
    return folder


def fields(model, scenes, output, **others):
    data = {"model_name_or_path": str(model), "train_datasets": [str(scenes)], "output_dir": str(output)}
    return data | SETTINGS | others


@pytest.fixture(scope="module")
def config(base, scenes, tmp_path_factory):
    """config(field=value ...): trains into a folder of its own."""
    return lambda **others: fields(base, scenes, tmp_path_factory.mktemp("run"), **others)


@pytest.fixture(scope="module")
def adapter(config):
    """The folder of a trained adapter."""
    return train(config())["model"]


@pytest.fixture
def inputs(tiny_processor, images, targets):
    return tiny_processor(images=images[:2], targets=targets[:2])


def look(model, inputs):
    """Logits, heatmap, score and losses."""
    with torch.no_grad():
        outputs = aligned(model).eval()(**inputs)
    return [outputs.logits, torch.cat([heatmap.flatten() for heatmap in outputs.heatmap]), outputs.score, outputs.loss]


def assert_close(found, expected, tolerance=1e-5):
    for value, other in zip(found, expected, strict=True):
        torch.testing.assert_close(value, other, atol=tolerance, rtol=0)


def test_what_learns(config, adapter):
    model = make_trainer(read_recipe(config())).model
    learns = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    kinds = {"lora_": 0, "modules_to_save": 0, "trainable_tokens": 0}
    for name in learns:
        [kind] = [kind for kind in kinds if kind in name]
        kinds[kind] += 1
    assert all(kinds.values())
    assert {name.split(".")[2] for name in learns if "modules_to_save" in name} == set(HEADS)
    assert {name.split(".")[3] for name in learns if "lora_" in name} == {"language_model", "vision_tower"}
    trained = load_file(f"{adapter}/adapter_model.safetensors")
    start = {name.replace(".default", ""): value for name, value in model.state_dict().items()}
    for name, value in trained.items():
        [before] = [start[other] for other in start if other.replace("modules_to_save.", "") == name]
        assert not torch.equal(before, value), name


def test_loaded_it_is_the_same_in_every_way(adapter, base, inputs, tiny_processor, images):
    expected = look(PeftModel.from_pretrained(HEIEForImplausibility.from_pretrained(base), adapter), inputs)
    untrained = look(HEIEForImplausibility.from_pretrained(base), inputs)
    for value, other in zip(expected, untrained, strict=True):
        assert (value - other).abs().max() > 1e-3
    by_name = HEIEForImplausibility.from_pretrained(adapter)  # base and adapter
    added = HEIEForImplausibility.from_pretrained(base)
    added.load_adapter(adapter)
    assert_close(look(by_name, inputs), expected, 0)
    assert_close(look(added, inputs), expected, 0)
    assessed = by_name.assess(**tiny_processor(images=images[:1])).score.item()
    assert pipeline("image-implausibility", model=adapter, device="cpu")(images[0], explain=False)[
        "score"
    ] == pytest.approx(assessed, abs=1e-6)


def test_the_loaded_one_is_the_trained_one(config, inputs, base):
    trainer = make_trainer(read_recipe(config(max_steps=1)))
    trainer.train()
    trainer.save_model()
    saved = PeftModel.from_pretrained(HEIEForImplausibility.from_pretrained(base), trainer.args.output_dir)
    assert_close(look(saved, inputs), look(trainer.model, inputs), 0)


def test_merged_it_is_the_same(adapter, base, inputs, tmp_path):
    original = HEIEForImplausibility.from_pretrained(base)
    weights = {name: value.clone() for name, value in original.state_dict().items()}
    tuned = PeftModel.from_pretrained(original, adapter)
    expected = look(tuned, inputs)
    merged = tuned.merge_and_unload()
    assert_close(look(merged, inputs), expected)
    is_tied = merged.config.tie_word_embeddings
    assert torch.equal(merged.lm_head.weight, merged.get_input_embeddings().weight) == is_tied

    merged.save_pretrained(tmp_path)
    loaded = HEIEForImplausibility.from_pretrained(tmp_path)
    assert_close(look(loaded, inputs), expected)
    assert loaded.state_dict().keys() == weights.keys()
    config = loaded.config
    new = {config.map_token_id, *config.local_map_token_ids, config.score_token_id}
    for name in ("model.language_model.embed_tokens.weight", "lm_head.weight"):
        changed = (loaded.state_dict()[name] != weights[name]).any(dim=1).nonzero().flatten().tolist()
        assert changed and set(changed) <= new
    assert not any("base_layer" in name or "lora" in name for name in loaded.state_dict())


class StopAfter(TrainerCallback):
    def __init__(self, steps):
        self.steps = steps

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step >= self.steps


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(config):
    whole = train(config(lora_dropout=0.1))["model"]
    settings, said = config(lora_dropout=0.1, save_steps=1), []
    trainer = make_trainer(read_recipe(settings))
    trainer.add_callback(StopAfter(2))
    trainer.train()
    resumed = train(settings, say=said.append)["model"]
    assert any("going on from" in line and line.endswith("checkpoint-2") for line in said)
    weights, expected = (load_file(f"{folder}/adapter_model.safetensors") for folder in (resumed, whole))
    assert weights.keys() == expected.keys()
    assert [name for name in expected if not torch.equal(expected[name], weights[name])] == []


def test_a_fuser_with_weights_is_trained_too(make_tiny_model, tiny_processor, scenes, tmp_path):
    make_tiny_model(fusion="learned").save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    train(fields(tmp_path, scenes, tmp_path / "out", max_steps=1))
    weights = load_file(tmp_path / "out" / "adapter_model.safetensors")
    [weight] = [weights[name] for name in weights if "fuser" in name]
    assert weight != 0


@pytest.mark.skipif(importlib.util.find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed")
@pytest.mark.parametrize("bits", ["4bit", "8bit"])
def test_an_adapter_on_a_quantised_backbone(bits, make_tiny_model, tiny_processor, scenes, tmp_path):
    """4-bit weights come in blocks of 64, hence the sizes."""
    wide, parts = {"hidden_size": 64, "intermediate_size": 128}, make_tiny_model().config
    text, vision = (part.to_dict() | wide for part in (parts.text_config, parts.vision_config))
    make_tiny_model(text_config=text, vision_config=vision).save_pretrained(tmp_path)
    tiny_processor.save_pretrained(tmp_path)
    trainer = make_trainer(read_recipe(fields(tmp_path, scenes, tmp_path / "out", quantization=bits, max_steps=2)))
    parameters = dict(trainer.model.named_parameters())
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    trainer.train()
    for name, parameter in parameters.items():
        assert torch.equal(before[name], parameter) != parameter.requires_grad, name
    is_head = {name: any(f".{head}." in name for head in HEADS) for name in parameters}
    assert {parameters[name].dtype for name in parameters if is_head[name]} == {torch.float32}
    kinds = {name: type(module).__name__ for name, module in trainer.model.named_modules() if "lora" not in name}
    quantised = [name for name, kind in kinds.items() if kind in ("Linear4bit", "Linear8bitLt")]
    assert {name.split(".")[3] for name in quantised} >= {"language_model", "vision_tower"}
    assert not [name for name in quantised if any(f".{head}." in name for head in HEADS)]
