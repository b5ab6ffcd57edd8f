"""Save -> load, batching, padding, dtypes, attention back-ends, native InternVL checkpoints; tiny random models."""

import itertools
import json
import logging

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForImageTextToText,
    InternVLConfig,
    InternVLForConditionalGeneration,
    Trainer,
    TrainingArguments,
)

from heie_hf import HEIEConfig, HEIEForImplausibility
from heie_hf.modeling.fusion_heie import resize_map


def training_batch(processor, images, targets):
    return processor(images=images, targets=targets, return_tensors="pt")


def assert_identical(one, other):
    assert torch.equal(one.score, other.score)
    assert all(torch.equal(a, b) for a, b in zip(one.heatmap, other.heatmap, strict=True))


@pytest.mark.parametrize("auto_class", [HEIEForImplausibility, AutoModel, AutoModelForImageTextToText])
def test_saved_and_loaded_gives_the_same_bits(
    tiny_model, tiny_processor, images, targets, tiny_checkpoint, auto_class
):
    loaded, info = auto_class.from_pretrained(tiny_checkpoint, output_loading_info=True)
    assert isinstance(loaded, HEIEForImplausibility)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    batch = training_batch(tiny_processor, images, targets)
    one, other = tiny_model(**batch), loaded.eval()(**batch)
    assert_identical(one, other)
    assert torch.equal(one.loss, other.loss) and torch.equal(one.logits, other.logits)


def test_batched_is_single_in_every_loss(tiny_model, tiny_processor, images, targets):
    """Losses are sums over a count: with the batch's counts, the images' parts add up to the batch."""
    batch = training_batch(tiny_processor, images, targets)
    counts = {
        "num_items_in_batch": (batch["labels"][:, 1:] != -100).sum(),
        "num_heatmap_cells": batch["heatmap_labels"].numel(),
        "num_scores": len(images),
    }
    whole = tiny_model(**batch)
    parts = [
        tiny_model(**training_batch(tiny_processor, [image], [target]), **counts)
        for image, target in zip(images, targets, strict=True)
    ]
    for name in ("loss", "lm_loss", "heatmap_loss", "laplace_loss", "score_loss"):
        total = sum(part[name] for part in parts)
        torch.testing.assert_close(total, whole[name], rtol=1e-5, atol=1e-6)


def test_heatmap_and_score_follow_from_the_parts_that_are_returned(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images, return_tensors="pt")
    outputs = tiny_model.assess(**inputs)
    num_patches, patch_grid = inputs["num_patches"].tolist(), inputs["patch_grid"].tolist()
    assert outputs.patch_logits.shape == outputs.patch_log_deviation.shape == (sum(num_patches), 16, 16)
    assert outputs.score_states.shape == (len(images), tiny_model.config.text_config.hidden_size)
    fused = tiny_model.fuser(outputs.patch_logits, outputs.patch_log_deviation, num_patches, patch_grid)
    for maps, heatmap, deviation in zip(fused, outputs.heatmap, outputs.uncertainty, strict=True):
        assert torch.equal(maps.fused, heatmap) and torch.equal(maps.deviation, deviation)
    for score, name in zip(
        tiny_model.scorer(outputs.score_states, outputs.heatmap), ("score", "token_score", "map_score"), strict=True
    ):
        assert torch.equal(score, outputs[name])


def test_the_last_map_of_an_image_is_that_of_its_thumbnail(make_tiny_model, tiny_processor, images):
    """With the fusion "global" it alone makes the heatmap."""
    model = make_tiny_model(fusion="global")
    inputs = tiny_processor(images=images, return_tensors="pt")
    outputs = model.assess(**inputs)
    per_image = outputs.patch_logits.split(inputs["num_patches"].tolist())
    for patch_logits, heatmap in zip(per_image, outputs.heatmap, strict=True):
        size = tuple(heatmap.shape)
        torch.testing.assert_close(resize_map(patch_logits[-1].sigmoid(), size), heatmap)


def test_a_plain_trainer_gathers_logits_and_scores_only(make_tiny_model, tiny_processor, images, targets, tmp_path):
    arguments = TrainingArguments(
        tmp_path, remove_unused_columns=False, per_device_eval_batch_size=2, use_cpu=True, report_to=[]
    )
    rows = list(zip(images, targets, strict=True))

    def collate(rows):
        return dict(training_batch(tiny_processor, *map(list, zip(*rows, strict=True))))

    trainer = Trainer(make_tiny_model(), arguments, data_collator=collate)
    trainer.label_names = ["labels", "heatmap_labels", "score_labels"]
    _, predictions, _ = trainer.prediction_step(trainer.model, collate(rows), prediction_loss_only=False)
    logits, *scores = [prediction for prediction in predictions if prediction.ndim]
    assert logits.shape[-1] == len(tiny_processor.tokenizer)
    assert [tuple(score.shape) for score in scores] == [(4,), (4,), (4,)]


def test_padded_is_unpadded(tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    pad = torch.full((1, 7), tiny_processor.tokenizer.pad_token_id)
    padded = {
        **inputs,
        "input_ids": torch.cat([pad, inputs["input_ids"]], dim=1),
        "attention_mask": torch.cat([torch.zeros_like(pad), inputs["attention_mask"]], dim=1),
    }
    one, other = tiny_model.assess(**inputs), tiny_model.assess(**padded)
    torch.testing.assert_close(one.score, other.score, atol=1e-6, rtol=0)
    torch.testing.assert_close(one.heatmap[0], other.heatmap[0], atol=1e-6, rtol=0)


def test_a_prompt_alone_gives_logits_and_no_heatmap(tiny_model, tiny_processor, images):
    outputs = tiny_model(**tiny_processor(images=images, return_tensors="pt"))
    assert outputs.heatmap is None and outputs.loss is None and outputs.logits is not None


def test_map_tokens_must_match_the_patches(tiny_model, tiny_processor, images, targets):
    batch = training_batch(tiny_processor, images, targets)
    batch["input_ids"][batch["input_ids"] == tiny_model.config.local_map_token_ids[0]] = 5
    with pytest.raises(ValueError, match="map tokens"):
        tiny_model(**batch)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_stays_close_and_finite(make_tiny_model, tiny_processor, images, dtype):
    inputs = tiny_processor(images=images, return_tensors="pt")
    exact = make_tiny_model().assess(**inputs)
    half = make_tiny_model().to(dtype)
    outputs = half.generate(**inputs, return_dict_in_generate=True)
    assert outputs.score.isfinite().all() and all(heatmap.isfinite().all() for heatmap in outputs.heatmap)
    assert (half.assess(**inputs).score - exact.score).abs().max() < 0.05


def test_sdpa_is_eager(tiny_checkpoint, tiny_processor, images):
    inputs = tiny_processor(images=images, return_tensors="pt")
    sdpa, eager = (
        HEIEForImplausibility.from_pretrained(tiny_checkpoint, attn_implementation=name).eval().assess(**inputs)
        for name in ("sdpa", "eager")
    )
    torch.testing.assert_close(sdpa.score, eager.score, atol=1e-5, rtol=0)


def test_gradient_checkpointing_changes_no_gradient(make_tiny_model, tiny_processor, images, targets):
    batch = training_batch(tiny_processor, images, targets)
    gradients = []
    for checkpointing in (False, True):
        model = make_tiny_model().train()
        if checkpointing:
            model.gradient_checkpointing_enable()
        model(**batch).loss.backward()
        gradients.append({name: p.grad for name, p in model.named_parameters()})
    for name, gradient in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], gradient, atol=1e-5, rtol=1e-4)


KNOBS = {
    "fusion": ["uncertainty", "learned", "fixed", "local", "global"],
    "score_source": ["calibrated", "token", "map"],
    "calibration": ["weighted", "dynamic"],
    "uncertainty": ["pixel", "map"],
}


@pytest.mark.parametrize("knob, value", [(k, v) for k, values in KNOBS.items() for v in values])
def test_every_ablation_trains_all_its_parameters(make_tiny_model, tiny_processor, images, targets, knob, value):
    model = make_tiny_model(**{knob: value}).train()
    model(**training_batch(tiny_processor, images, targets)).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_every_ablation_gives_its_own_result(make_tiny_model, tiny_processor, images):
    inputs = tiny_processor(images=images, return_tensors="pt")
    for knob, values in {
        "fusion": ["uncertainty", "local", "global", "fixed"],
        "score_source": KNOBS["score_source"],
    }.items():
        outputs = [make_tiny_model(**{knob: value}).assess(**inputs) for value in values]
        key = {"fusion": "heatmap", "score_source": "score"}[knob]
        for one, other in itertools.combinations(outputs, 2):
            assert (one[key][0] - other[key][0]).abs().max() > 1e-6


@pytest.mark.parametrize("knob", KNOBS)
def test_a_misspelt_ablation_is_refused(knob):
    with pytest.raises(Exception, match=knob):
        HEIEConfig(**{knob: "wheighted"})


@pytest.fixture(params=[False, True], ids=["untied", "tied"])
def native_checkpoint(request, tmp_path, make_tiny_model):
    """A random InternVL in the native layout, as OpenGVLab/InternVL3-*-hf is."""
    config = make_tiny_model().config.to_dict()
    text = {**config["text_config"], "tie_word_embeddings": request.param}
    torch.manual_seed(1)
    native = InternVLForConditionalGeneration(
        InternVLConfig(
            vision_config=config["vision_config"],
            text_config=text,
            image_token_id=config["image_token_id"],
            image_seq_length=4,
            tie_word_embeddings=request.param,
        )
    )
    native.save_pretrained(tmp_path)
    return tmp_path, native.eval()


def test_a_native_internvl_checkpoint_becomes_the_backbone(native_checkpoint, tiny_processor, images, caplog):
    folder, native = native_checkpoint
    logging.getLogger("transformers").propagate = True
    with caplog.at_level("WARNING", logger="transformers"):
        model, info = HEIEForImplausibility.from_pretrained(folder, output_loading_info=True)
    assert all(key.startswith(("mapper.", "scorer.")) for key in info["missing_keys"]) and info["missing_keys"]
    assert not info["unexpected_keys"]
    for name, weight in native.state_dict().items():
        assert torch.equal(model.state_dict()[name], weight), name
    assert "newly initialized" in caplog.text
    assert model.config.model_type == "heie"
    inputs = tiny_processor(images=images[:1], return_tensors="pt")
    plain = {k: inputs[k] for k in ("input_ids", "attention_mask", "pixel_values")}
    assert torch.equal(model.eval()(**plain).logits, native(**plain).logits)


def test_a_backbone_without_map_tokens_says_what_to_do(native_checkpoint, tiny_processor, images):
    model = HEIEForImplausibility.from_pretrained(native_checkpoint[0])
    with pytest.raises(ValueError, match="from_backbone"):
        model.generate(**tiny_processor(images=images[:1], return_tensors="pt"))


def test_the_original_layout_is_refused_naming_the_converter(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "llm_config": {}}))
    with pytest.raises(ValueError, match="heie convert"):
        HEIEForImplausibility.from_pretrained(tmp_path)


def test_auto_config_knows_heie(tiny_checkpoint):
    config = AutoConfig.from_pretrained(tiny_checkpoint)
    assert isinstance(config, HEIEConfig) and config.mapper_config.hidden_size == 32
