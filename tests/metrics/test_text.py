import importlib.util

import numpy as np
import pytest
import torch

from heie_hf.metrics.text import bert_score, bert_score_layer, issue_metrics, perplexity, rouge_l, text_nll
from heie_hf.modeling.generation_heie import chain_of_thought_literals
from tests.metrics.tiny_bert import make_tiny_bert

# ---------------------------------------------------------------- issues


def test_issues_are_counted_over_all_images():
    row = issue_metrics([["extra finger", "extra eye"], ["missing leg"], []], [["extra finger"], ["extra eye"], []])
    assert row == {"issue_precision": 1 / 3, "issue_recall": 1 / 2, "issue_f1": 2 / 5, "num_issues": 2}


def test_naming_an_issue_twice_counts_once():
    row = issue_metrics([["extra eye", "extra eye"]], [["extra eye"]])
    assert (row["issue_precision"], row["issue_recall"], row["issue_f1"]) == (1, 1, 1)


def test_false_alarm_on_a_flawless_image_costs_precision():
    row = issue_metrics([["extra eye"], ["extra eye"]], [["extra eye"], []])
    assert (row["issue_precision"], row["issue_recall"]) == (0.5, 1)


def test_nothing_named_or_nothing_there():
    silent = issue_metrics([[]], [["extra eye"]])
    assert np.isnan(silent["issue_precision"])
    assert (silent["issue_recall"], silent["issue_f1"]) == (0, 0)
    assert np.isnan(list(issue_metrics([[]], [[]]).values())[:3]).all()
    assert np.isnan(issue_metrics([], [])["issue_f1"])


def test_a_text_in_place_of_kinds_is_named():
    with pytest.raises(ValueError, match="image 1: kinds of issue are a set or list of texts"):
        issue_metrics([["extra eye"], "extra eye"], [["extra eye"], ["extra eye"]])


def test_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError):
        issue_metrics([["extra eye"]], [])


# ---------------------------------------------------------------- overlap of texts


def test_rouge_l_by_hand():
    pytest.importorskip("rouge_score")
    scores = rouge_l(
        ["the left hand has six fingers", "", "a dog"], ["the hand has six long fingers", "a dog", "A dog!"]
    )
    assert scores == pytest.approx([5 / 6, 0, 1])  # longest common subsequence: the hand has six fingers


def test_rouge_l_is_f1_and_neither_precision_nor_recall():
    pytest.importorskip("rouge_score")
    # In common: "the hand has fingers", 4 words of 10 and of 5. Precision .4, recall .8, F1 2 * .32 / 1.2.
    long = "the hand on the left side has too many fingers"
    short = "the hand has six fingers"
    assert rouge_l([long, short], [short, long]) == pytest.approx([8 / 15, 8 / 15])


@pytest.mark.parametrize("bad", [None, 7, ["a", "dog"]])
def test_what_is_no_text_is_named(bad, tiny_bert):
    pytest.importorskip("rouge_score")
    pytest.importorskip("bert_score")
    for metric in (rouge_l, lambda *texts: bert_score(*texts, tiny_bert)):
        with pytest.raises(ValueError, match="prediction 1 is no text but"):
            metric(["a", bad], ["a", "b"])
        with pytest.raises(ValueError, match="reference 2 is no text but"):
            metric(["a", "b", "c"], ["a", "b", bad])
        with pytest.raises(ValueError, match="there are 1 predictions and 2 references"):
            metric(["a"], ["a", "b"])


@pytest.fixture(scope="module")
def tiny_bert(tmp_path_factory):
    return make_tiny_bert(tmp_path_factory.mktemp("bert"))


def test_bert_score_with_a_local_model(tiny_bert):
    pytest.importorskip("bert_score")
    scores = bert_score(["a hand", "two clocks", "", "a dog"], ["a hand", "the left leg", "a dog", " "], tiny_bert, 2)
    assert scores[0] == pytest.approx(1, abs=1e-5)
    assert 0 < scores[1] < 1
    assert scores[2:].tolist() == [0, 0]
    assert bert_score_layer(tiny_bert) == 2  # unknown to bert_score: the last
    assert bert_score(["two clocks"], ["the left leg"], tiny_bert) == pytest.approx(scores[1:2])


def test_bert_score_is_f1_which_does_not_mind_the_order(tiny_bert):
    """Precision and recall change places with the texts."""
    pytest.importorskip("bert_score")
    long, short = "two clocks and a dog on the left", "the leg"
    assert bert_score([long], [short], tiny_bert) == pytest.approx(bert_score([short], [long], tiny_bert), abs=1e-6)


def test_bert_score_says_what_to_install(monkeypatch):
    monkeypatch.setattr("heie_hf.metrics.text.find_spec", lambda name: None)
    with pytest.raises(ImportError, match="pip install bert_score"):
        bert_score(["a"], ["b"], "bert", 2)


# ---------------------------------------------------------------- perplexity


@pytest.fixture
def rows(images, targets):
    return [{"image": image, **target["explanation"]} for image, target in zip(images, targets, strict=True)]


def nll_by_hand(model, processor, row):
    """The chain of thought put together id by id, one image, log-probabilities from a whole forward pass."""
    prompt = processor(images=[row["image"]])
    num_patches = prompt["num_patches"].item()
    ids, free = prompt["input_ids"][0].tolist(), []
    literals = chain_of_thought_literals(model.config, num_patches)
    for literal, section in zip(literals, ("description", "regions", "analysis", None), strict=True):
        ids += literal
        words = processor.tokenizer(row[section], add_special_tokens=False)["input_ids"] if section else []
        free += range(len(ids), len(ids) + len(words))
        ids += words
    ids = torch.tensor(ids)
    inputs = prompt | {"input_ids": ids[None], "attention_mask": torch.ones_like(ids)[None]}
    with torch.no_grad():
        log_probabilities = model(**inputs).logits[0].log_softmax(-1)
    free = torch.tensor(free)
    return -log_probabilities[free - 1, ids[free]].sum().item(), len(free)


def test_nll_is_of_the_free_text_alone(tiny_model, tiny_processor, rows):
    nll, num_tokens = text_nll(tiny_model, tiny_processor, [row["image"] for row in rows], rows)
    expected = [nll_by_hand(tiny_model, tiny_processor, row) for row in rows]
    assert num_tokens.tolist() == [count for _, count in expected]
    assert nll == pytest.approx([value for value, _ in expected], rel=1e-4)


def test_features_that_are_there_are_not_computed_again(tiny_model, tiny_processor, rows, monkeypatch):
    images = [row["image"] for row in rows]
    expected = text_nll(tiny_model, tiny_processor, images, rows)
    features = tiny_model.get_image_features(tiny_processor(images=images)["pixel_values"], return_dict=True)
    monkeypatch.setattr(tiny_model.model.vision_tower, "forward", None)
    for ours, theirs in zip(text_nll(tiny_model, tiny_processor, images, rows, features), expected, strict=True):
        assert np.array_equal(ours, theirs)


def test_perplexity_weighs_tokens_and_does_not_depend_on_the_batches(tiny_model, tiny_processor, rows):
    nll, num_tokens = zip(*(nll_by_hand(tiny_model, tiny_processor, row) for row in rows), strict=True)
    for batch_size in (1, 3):
        result = perplexity(tiny_model, tiny_processor, rows, batch_size=batch_size)
        assert set(result) == {"perplexity_reference", "num_tokens_reference"}
        assert result["perplexity_reference"] == pytest.approx(np.exp(sum(nll) / sum(num_tokens)), rel=1e-4)


def test_rows_without_text_are_left_out(tiny_model, tiny_processor, rows):
    nothing = {"image": rows[0]["image"], "description": None, "regions": None, "analysis": ""}
    both = perplexity(tiny_model, tiny_processor, [rows[1], nothing])
    assert both == pytest.approx(perplexity(tiny_model, tiny_processor, rows[1:2]), rel=1e-4)
    none = perplexity(tiny_model, tiny_processor, [nothing])
    assert np.isnan(none["perplexity_reference"])
    nll, num_tokens = text_nll(tiny_model, tiny_processor, [nothing["image"]], [nothing])
    assert (nll.tolist(), num_tokens.tolist()) == ([0], [0])


def test_perplexity_of_the_models_own_text(tiny_model, tiny_processor, rows):
    own = perplexity(tiny_model, tiny_processor, rows, text="generated")
    reference = perplexity(tiny_model, tiny_processor, rows)
    assert own["num_tokens_generated"] > 0
    assert 1 < own["perplexity_generated"] < reference["perplexity_reference"]  # greedy text is the likelier one


def test_synthetic_issues_find_themselves():
    if importlib.util.find_spec("heie_hf.data.synthetic") is None:
        pytest.skip("no synthetic data set here")
    from heie_hf.data import synthetic

    rows = synthetic.load(num_images=6, seed=3)
    texts = [f"{row['regions']}\n{row['analysis']}" for row in rows]
    kinds = [[defect["kind"] for defect in row["defects"]] for row in rows]
    result = issue_metrics([synthetic.issues_in(text) for text in texts], kinds)
    assert (result["issue_precision"], result["issue_recall"]) == (1, 1)
