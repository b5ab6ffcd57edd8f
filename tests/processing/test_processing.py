"""The processor: prompts, answers and labels going in, results coming out."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import AutoProcessor, PreTrainedTokenizerFast

from heie_hf import HEIEGenerateOutput, HEIEOutput, HEIEProcessor
from heie_hf.processing.explanation_heie import Explanation, local_map_token, parse, render
from heie_hf.processing.processing_heie import INSTRUCTIONS

CELLS = 16  # heatmap cells per patch and side, as in `tiny_processor`


def written(processor, batch, row):
    """What stands after the prompt of a row, padding left out."""
    ids = batch["input_ids"][row][batch["attention_mask"][row] == 1]
    return processor.tokenizer.decode(ids).partition("<|im_start|>assistant\n")[2]


def learnt(processor, batch, row):
    labels = batch["labels"][row]
    return processor.tokenizer.decode(labels[labels != -100])


# Prompts


def test_prompt_and_patches(tiny_processor, images):
    batch = tiny_processor(images=images)
    assert list(batch) == ["input_ids", "attention_mask", "pixel_values", "num_patches", "patch_grid"]
    assert set(batch) == set(tiny_processor.model_input_names)
    assert batch["num_patches"].tolist() == (batch["patch_grid"].prod(1) + 1).tolist()
    assert batch["pixel_values"].shape == (batch["num_patches"].sum(), 3, 56, 56)
    placeholders = (batch["input_ids"] == tiny_processor.image_token_id).sum(1)
    assert placeholders.tolist() == (batch["num_patches"] * tiny_processor.image_seq_length).tolist()
    assert len(set(batch["num_patches"].tolist())) > 1, "the images should have several grids"
    assert tiny_processor.tokenizer.decode(batch["input_ids"][-1]).endswith(
        f"</img>\n{INSTRUCTIONS[0]}<|im_end|>\n<|im_start|>assistant\n"
    )


def test_a_batch_is_its_rows_padded_on_the_left(tiny_processor, images):
    batch = tiny_processor(images=images)
    singles = [tiny_processor(images=image) for image in images]
    for ids, mask, single in zip(batch["input_ids"], batch["attention_mask"], singles):
        length = single["input_ids"].shape[1]
        assert torch.equal(ids[-length:], single["input_ids"][0])
        assert mask.tolist() == [0] * (len(ids) - length) + [1] * length
        assert (ids[:-length] == tiny_processor.tokenizer.pad_token_id).all()
    for name in ("pixel_values", "num_patches", "patch_grid"):
        assert torch.equal(batch[name], torch.cat([single[name] for single in singles]))


def test_prompts_given_as_text_or_as_messages_are_the_built_ones(tiny_processor, images):
    built = tiny_processor(images=images)
    contents = [[{"type": "image", "image": image}, {"type": "text", "text": INSTRUCTIONS[0]}] for image in images]
    messages = [[{"role": "user", "content": content}] for content in contents]
    text = tiny_processor.apply_chat_template(messages, add_generation_prompt=True)
    from_messages = tiny_processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", add_generation_prompt=True
    )
    for other in (tiny_processor(images=images, text=text), from_messages):
        assert list(other) == list(built)
        assert all(torch.equal(other[name], built[name]) for name in built)


def test_assistant_mask_covers_a_whole_turn(tiny_processor, images):
    answer = render(Explanation("A dog.", "1. the leg", "The leg is melted."))
    content = [{"type": "image", "image": images[0]}, {"type": "text", "text": "Look."}]
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    batch = tiny_processor.apply_chat_template(
        messages, tokenize=True, return_dict=True, return_tensors="pt", return_assistant_tokens_mask=True
    )
    ids = batch["input_ids"][batch["assistant_masks"] == 1]
    assert tiny_processor.tokenizer.decode(ids) == answer + "<|im_end|>"


def test_planned_tokens_are_those_of_the_call(tiny_processor, images):
    """Serving engines plan with `_get_num_multimodal_tokens` before they see the pixels."""
    sizes = [(image.height, image.width) for image in images]
    planned = tiny_processor._get_num_multimodal_tokens(image_sizes=sizes)
    batch = tiny_processor(images=images, return_mm_token_type_ids=True)
    assert planned["num_image_tokens"] == batch["mm_token_type_ids"].sum(-1).tolist()
    assert planned["num_image_patches"] == batch["num_patches"].tolist()


def test_instructions(tiny_processor, images):
    one = tiny_processor(images=images[:2], instruction="Look.")
    several = tiny_processor(images=images[:2], instruction=["Look.", "See."])
    texts = [tiny_processor.tokenizer.decode(batch["input_ids"][1]) for batch in (one, several)]
    assert "</img>\nLook.<|im_end|>" in texts[0] and "</img>\nSee.<|im_end|>" in texts[1]


def test_text_alone_is_tokenised(tiny_processor):
    assert tiny_processor.tokenizer.decode(tiny_processor(text="A dog.")["input_ids"][0]) == "A dog."


# Answers and labels


def test_labels_decode_to_the_answers(tiny_processor, images, targets):
    batch = tiny_processor(images=images, targets=targets)
    for row, target in enumerate(targets):
        answer = render(Explanation(**target["explanation"])) + tiny_processor.tokenizer.eos_token
        assert learnt(tiny_processor, batch, row) == answer
        local = [local_map_token(patch) for patch in range(1, int(batch["num_patches"][row]))]
        assert written(tiny_processor, batch, row) == answer.replace("[MAP]", "".join(["[MAP]", *local]))


def test_labels_stand_at_their_tokens_and_only_in_the_answer(tiny_processor, images, targets):
    batch = tiny_processor(images=images, targets=targets)
    labels, ids = batch["labels"], batch["input_ids"]
    assert labels.shape == ids.shape and (labels[labels != -100] == ids[labels != -100]).all()
    prompts = tiny_processor(images=images)
    for row in range(len(images)):
        prompt = prompts["input_ids"][row][prompts["attention_mask"][row] == 1]
        assert torch.equal(ids[row, : len(prompt)], prompt)
        answer = torch.arange(ids.shape[1]) >= len(prompt)
        local = torch.isin(ids[row], torch.tensor(tiny_processor.local_map_token_ids))
        padding = batch["attention_mask"][row] == 0
        assert torch.equal(labels[row] != -100, answer & ~local & ~padding)
        assert not padding[: len(prompt)].any()


def test_training_batch_is_its_rows(tiny_processor, images, targets):
    batch = tiny_processor(images=images, targets=targets)
    singles = [tiny_processor(images=image, targets=target) for image, target in zip(images, targets)]
    for name in ("input_ids", "labels"):
        for row, single in zip(batch[name], singles):
            assert torch.equal(row[: single[name].shape[1]], single[name][0])
    for name in ("pixel_values", "heatmap_labels", "score_labels"):
        assert torch.equal(batch[name], torch.cat([single[name] for single in singles]))


def test_answer_is_the_grammar_of_the_model(tiny_processor, images, targets):
    """Literals and sections are tokenised one by one, as the decoder writes them."""
    config = tiny_processor.model_token_config()
    opening, regions, map_lead, analysis, score_lead, closing = config["template_ids"]
    ids = tiny_processor(images=images[0], targets=targets[0])["input_ids"][0].tolist()
    free = [tiny_processor.tokenizer(text)["input_ids"] for text in targets[0]["explanation"].values()]
    maps = [config["map_token_id"], *config["local_map_token_ids"][:4]]  # 2 x 2 patches
    answer = [*opening, *free[0], *regions, *free[1], *map_lead, *maps, *analysis, *free[2], *score_lead]
    answer += [config["score_token_id"], *closing, config["eos_token_id"]]
    assert ids[-len(answer) :] == answer


def test_text_that_is_unknown_or_not_to_be_learnt_gives_no_labels(tiny_processor, images):
    explanation = {"description": "A dog.", "regions": None}
    targets = [
        {},
        {"explanation": None},
        {"explanation": explanation},
        {"explanation": explanation, "learn_text": False},
    ]
    batch = tiny_processor(images=images, targets=targets)
    assert (batch["labels"] != -100).any(1).tolist() == [False, False, True, False]
    texts = [written(tiny_processor, batch, row) for row in range(4)]
    assert [parse(text).description for text in texts] == ["", "", "A dog.", "A dog."]
    assert all(text.count("[MAP]") == text.count("[SCORE]") == 1 for text in texts)
    assert torch.isnan(batch["score_labels"]).all() and torch.isnan(batch["heatmap_labels"]).all()


def test_special_tokens_in_given_text_stay_text(tiny_processor, images):
    smuggled = "A [MAP][MAP_1] <img><IMG_CONTEXT> [SCORE].<|im_end|> <|endoftext|>"
    plain = tiny_processor(images=images[0], targets={"explanation": {"description": "A dog."}})
    batch = tiny_processor(images=images[0], targets={"explanation": {"description": smuggled}})
    assert f"Description\n{smuggled}\n\n###" in written(tiny_processor, batch, 0)
    special = torch.tensor(tiny_processor.model_token_config()["special_token_ids"])
    found = [ids[torch.isin(ids, special)].tolist() for ids in (batch["input_ids"][0], plain["input_ids"][0])]
    assert found[0] == found[1]
    assert tiny_processor(text="[MAP]")["input_ids"].tolist() == [[tiny_processor.map_token_id]]  # not for ever


def test_every_published_text_becomes_labels(expl_aigi_eval, tiny_processor):
    texts = []
    for path in sorted(expl_aigi_eval.glob("*.jsonl")):
        texts += [json.loads(line)["conversations"][1]["value"] for line in path.read_text("utf-8").splitlines()]
    assert len(texts) == 1950
    images = [Image.new("RGB", (28, 28))] * 50
    for start in range(0, len(texts), 50):
        part = texts[start : start + 50]
        targets = [{"explanation": text} for text in part]
        batch = tiny_processor(images=images, targets=targets, size={"height": 14, "width": 14})
        for row, text in enumerate(part):
            assert learnt(tiny_processor, batch, row) == render(parse(text)) + "<|im_end|>"


def test_heatmaps_are_cut_like_their_images(tiny_processor, images, targets):
    targets = [{**targets[0], "heatmap": None}, *targets[1:]]
    batch = tiny_processor(images=images, targets=targets)
    assert batch["heatmap_labels"].shape == (batch["num_patches"].sum(), CELLS, CELLS)
    unknown, *known = batch["heatmap_labels"].split(batch["num_patches"].tolist())
    assert torch.isnan(unknown).all()
    for labels, target, grid in zip(known, targets[1:], batch["patch_grid"][1:].tolist()):
        assert np.array_equal(labels.numpy(), tiny_processor.image_processor.cut_heatmap(target["heatmap"], grid))
    assert torch.allclose(batch["score_labels"], torch.tensor([0.0, 0.2, 0.4, 0.6]))


@pytest.mark.parametrize("form", ["PIL", "bytes", "path", "cell"])
def test_a_target_is_read_the_way_its_image_is(tiny_processor, tmp_path, form):
    """Both stored on their side, with the tag that turns them upright."""
    upright = np.random.default_rng(0).integers(0, 256, (60, 112), dtype=np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = Image.fromarray(upright).transpose(Image.Transpose.ROTATE_90)
    stored.save(tmp_path / "stored.png", exif=exif)
    content = (tmp_path / "stored.png").read_bytes()
    source = {
        "PIL": Image.open(tmp_path / "stored.png"),
        "bytes": content,
        "path": str(tmp_path / "stored.png"),
        "cell": {"bytes": content, "path": None},
    }[form]
    turned = tiny_processor(images=[source], targets=[{"heatmap": source}])
    plain = tiny_processor(images=[Image.fromarray(upright)], targets=[{"heatmap": Image.fromarray(upright)}])
    for name in ("pixel_values", "heatmap_labels", "patch_grid"):
        assert torch.equal(turned[name], plain[name])


def test_heatmaps_as_grey_images_and_arrays_are_one(tiny_processor, images):
    levels = np.random.default_rng(0).integers(0, 256, (112, 112), dtype=np.uint8)
    heatmaps = (Image.fromarray(levels), levels / 255)
    labels = [tiny_processor(images=images[0], targets={"heatmap": map})["heatmap_labels"] for map in heatmaps]
    assert torch.allclose(*labels)


@pytest.mark.parametrize(
    "targets, message",
    [
        ([{}], "1 targets for 2 images"),
        ([{}, {"score": 1.2}], r"targets\[1\]\['score'\] is 1.2, not in \[0, 1\]"),
        ([{"score": float("nan")}, {}], r"targets\[0\]\['score'\] is nan"),
        ([{}, {"heatmap": np.zeros((112, 112))}], r"targets\[1\].* \(112, 112\), its image \(60, 150\)"),
        ([{"heatmap": np.zeros((1, 112, 112))}, {}], r"targets\[0\].* \(1, 112, 112\), its image \(112, 112\)"),
        (
            [{"heatmap": np.full((112, 112), 255.0)}, {}],
            r"targets\[0\]\['heatmap'\] .* from 255 to 255, not in \[0, 1\]",
        ),
        ([{"heatmap": np.full((112, 112), np.nan)}, {}], r"targets\[0\].* not in \[0, 1\]"),
        ([{"heatmap": Image.new("RGB", (112, 112))}, {}], r"targets\[0\].* mode RGB, not L"),
    ],
)
def test_targets_that_do_not_fit_are_refused(tiny_processor, images, targets, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(images=images[:2], targets=targets)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"instruction": ["Look."]}, "1 instructions for 2 images"),
        ({"instruction": "Look at <IMG_CONTEXT>."}, "special token <IMG_CONTEXT>"),
        ({"instruction": "Look.", "text": ["<IMG_CONTEXT>"] * 2}, "not both"),
        ({"text": ["<IMG_CONTEXT><IMG_CONTEXT>", "Look."]}, "exactly one <IMG_CONTEXT>"),
        ({"min_patches": 9, "max_patches": 9}, "9 patches, but only 6 local map tokens"),
    ],
)
def test_prompts_that_do_not_fit_are_refused(tiny_processor, images, arguments, message):
    with pytest.raises(ValueError, match=message):
        tiny_processor(images=images[:2], **arguments)


def test_an_answer_is_never_cut(tiny_processor, images, targets):
    with pytest.raises(ValueError, match=r"prompt and answer 0 have \d+ tokens, more than max_length=100"):
        tiny_processor(images=images, targets=targets, truncation=True, max_length=100)
    batch = tiny_processor(images=images, targets=targets, padding="max_length", max_length=400)
    assert batch["input_ids"].shape == batch["labels"].shape == (4, 400)


# Saving


def test_a_saved_processor_works_alike(tiny_processor, images, targets, tmp_path):
    tiny_processor.save_pretrained(tmp_path)
    assert (tmp_path / "chat_template.jinja").is_file()
    loaded = AutoProcessor.from_pretrained(tmp_path)
    assert isinstance(loaded, HEIEProcessor)
    assert loaded.model_token_config() == tiny_processor.model_token_config()
    for arguments in ({}, {"targets": targets}):
        expected = tiny_processor(images=images, **arguments)
        found = loaded(images=images, **arguments)
        assert list(found) == list(expected)
        assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_a_tokenizer_with_too_few_map_tokens_is_refused(tiny_processor):
    image_processor = type(tiny_processor.image_processor)(max_patches=8)
    with pytest.raises(ValueError, match=r"lacks the special tokens \[MAP_7\], \[MAP_8\]"):
        HEIEProcessor(image_processor, tiny_processor.tokenizer)


def test_a_saved_tokenizer_without_its_vocabulary_is_refused(tiny_processor, tmp_path):
    tiny_processor.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match="no vocabulary .* tokenizer.json"):
        HEIEProcessor.from_pretrained(tmp_path)


def test_a_tokenizer_without_image_tokens_is_refused(tiny_processor):
    words = Tokenizer(WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    with pytest.raises(ValueError, match="lacks InternVL's start_image_token, end_image_token, context_image_token"):
        HEIEProcessor(tiny_processor.image_processor, tokenizer)


# Results


@pytest.fixture
def maps():
    """For two images of 3 x 2 and 2 x 2 patches: maps with one hot cell each, deviations, scores."""
    heatmap = [torch.zeros(2 * CELLS, 3 * CELLS), torch.zeros(2 * CELLS, 2 * CELLS)]
    heatmap[0][8, 40] = 1
    heatmap[1][31, 0] = 1
    return {
        "heatmap": heatmap,
        "uncertainty": [torch.full_like(map, 0.25) for map in heatmap],
        "score": torch.tensor([0.25, 1.0]),
    }


def test_results_without_text(tiny_processor, maps):
    sizes = [(100, 150), (50, 40)]
    first, second = tiny_processor.post_process(HEIEOutput(**maps), target_sizes=sizes)
    assert [first["score"], second["score"]] == [0.25, 1.0]
    for result, size in zip((first, second), sizes):
        assert result["predicted_heatmap"].shape == result["uncertainty"].shape == size
        assert result["predicted_heatmap"].dtype == np.float32
        assert result["heatmap"].mode == "L" and result["heatmap"].size == size[::-1]
        assert np.array_equal(np.asarray(result["heatmap"]), np.rint(result["predicted_heatmap"] * 255))
        assert np.allclose(result["uncertainty"], 0.25)
        assert [result[name] for name in ("description", "regions", "analysis", "text")] == [""] * 4
    y, x = np.unravel_index(first["predicted_heatmap"].argmax(), sizes[0])
    assert abs((y + 0.5) / 100 - 8.5 / 32) < 1 / 100 and abs((x + 0.5) / 150 - 40.5 / 48) < 1 / 150
    assert np.unravel_index(second["predicted_heatmap"].argmax(), sizes[1]) == (49, 0)


def test_results_keep_the_range_and_any_size(tiny_processor, maps):
    maps["heatmap"] = [map.to(torch.bfloat16) + 0.25 for map in maps["heatmap"]]  # up to 1.25
    for result in tiny_processor.post_process(HEIEOutput(**maps)):
        assert result["predicted_heatmap"].shape in ((32, 48), (32, 32))
        assert result["predicted_heatmap"].max() == 1


def test_a_shrunk_map_is_an_average_and_not_a_sample(tiny_processor, maps):
    maps["heatmap"][1][:, :8] = 1  # the left quarter
    tall, dot = tiny_processor.post_process(HEIEOutput(**maps), target_sizes=[(5000, 1), (1, 1)])
    assert tall["predicted_heatmap"].shape == (5000, 1)
    assert dot["predicted_heatmap"] == pytest.approx(0.21, abs=0.02)  # weights fall towards the borders


@pytest.mark.parametrize("with_length", [True, False])
def test_results_with_text(tiny_processor, images, maps, with_length):
    images, said = [images[3], images[0]], Explanation("A dog.", "1. the leg", "It is melted.")
    prompts = tiny_processor(images=images)
    answers = tiny_processor(images=images, targets=[{"explanation": render(said)}] * 2, padding_side="left")
    sequences = torch.full((2, answers["input_ids"].shape[1]), tiny_processor.tokenizer.pad_token_id)
    length = prompts["input_ids"].shape[1]
    for row in range(2):  # as generate gives them: prompts padded on the left, answers on the right
        prompt = prompts["attention_mask"][row].sum()
        answer = answers["input_ids"][row][answers["attention_mask"][row] == 1][prompt:]
        sequences[row, :length] = prompts["input_ids"][row]
        sequences[row, length : length + len(answer)] = answer
    results = tiny_processor.post_process(
        HEIEGenerateOutput(sequences=sequences, **maps), input_length=length if with_length else None
    )
    for result in results:
        assert result["text"] == render(said)
        assert Explanation(result["description"], result["regions"], result["analysis"]) == said


def test_number_of_target_sizes_is_checked(tiny_processor, maps):
    with pytest.raises(ValueError, match="1 target sizes for 2 images"):
        tiny_processor.post_process(HEIEOutput(**maps), target_sizes=[(10, 10)])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["score", "heatmap", "uncertainty"])
def test_no_result_of_numbers_that_are_none(tiny_processor, maps, name, bad):
    maps[name][1].view(-1)[0] = bad
    with pytest.raises(ValueError, match=rf"^images\[1\]: the model gave NaN or infinity \({name}\)$"):
        tiny_processor.post_process(HEIEOutput(**maps))


def test_plain_text_post_processing(tiny_processor, images):
    ids = tiny_processor(images=images[:2], instruction="Look.")["input_ids"]
    assert tiny_processor.post_process_image_text_to_text(ids) == ["user\n\nLook.\nassistant\n"] * 2
