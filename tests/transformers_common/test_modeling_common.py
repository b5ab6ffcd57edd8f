"""Transformers' own common tests, run on HEIE. What does not apply is listed below with its reason."""

import unittest

import pytest
import torch

from heie_hf.modeling.configuration_heie import HEIEConfig, HEIEMapperConfig, HEIEScorerConfig
from heie_hf.modeling.generation_heie import template_without_text
from heie_hf.modeling.modeling_heie import HEIEForImplausibility

REASON = "Transformers' common tests are not here; `make test` fetches them (tests/transformers_common/fetch.py)"
common = pytest.importorskip("transformers_tests.test_modeling_common", reason=REASON)
config_common = pytest.importorskip("transformers_tests.test_configuration_common", reason=REASON)

IMAGE_TOKEN, MAP_TOKEN, SCORE_TOKEN, EOS = 3, 4, 9, 10
LOCAL_MAP_TOKENS = [5, 6, 7, 8]
TEXT = {
    "model_type": "qwen2",
    "vocab_size": 64,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "intermediate_size": 32,
    "max_position_embeddings": 128,
    "tie_word_embeddings": False,
}
VISION = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": [32, 32],
    "patch_size": [8, 8],
}


class HEIEModelTester:
    """Two images of 2 x 1 patches and a thumbnail, 4 LLM tokens a patch, with an answer of empty sections."""

    batch_size = 2
    num_patches = 3
    is_training = True
    num_hidden_layers = 2
    hidden_size = 32
    num_attention_heads = 2
    image_seq_length = 4

    @property
    def seq_length(self) -> int:
        return len(self.row())

    def get_config(self) -> HEIEConfig:
        return HEIEConfig(
            text_config=TEXT,
            vision_config=VISION,
            mapper_config={"hidden_size": 32, "num_attention_heads": 2, "intermediate_size": 32},
            scorer_config={"hidden_size": 32, "num_channels": 4, "map_size": 8},
            image_token_id=IMAGE_TOKEN,
            image_seq_length=self.image_seq_length,
            downsample_ratio=0.5,
            max_patches=len(LOCAL_MAP_TOKENS),
            map_token_id=MAP_TOKEN,
            local_map_token_ids=LOCAL_MAP_TOKENS,
            score_token_id=SCORE_TOKEN,
            eos_token_id=EOS,
            template_ids=[[11, 12], [13, 14], [15, 16], [17, 18], [19, 20], [21]],
        )

    def row(self) -> list[int]:
        prompt = [30, *[IMAGE_TOKEN] * self.num_patches * self.image_seq_length, 31]
        return prompt + template_without_text(self.get_config(), self.num_patches)

    def prepare_config_and_inputs_for_common(self) -> tuple[HEIEConfig, dict[str, torch.Tensor]]:
        input_ids = torch.tensor([self.row()] * self.batch_size)
        generator = torch.Generator().manual_seed(0)
        pixels = torch.rand(self.batch_size * self.num_patches, 3, 32, 32, generator=generator)
        return self.get_config(), {
            "input_ids": input_ids,
            "attention_mask": torch.ones_like(input_ids),
            "pixel_values": pixels,
            "num_patches": torch.full((self.batch_size,), self.num_patches),
            "patch_grid": torch.tensor([[2, 1]] * self.batch_size),
        }


class TestHEIEModel(common.ModelTesterMixin, unittest.TestCase):
    all_model_classes = (HEIEForImplausibility,)
    _is_composite = True
    test_can_init_all_missing_weights_before_2023 = True  # runs that test, which looks for a year in a file header

    SKIPS = {
        "test_generation_tester_mixin_inheritance": "the source distribution has no GenerationTesterMixin; "
        "decoding follows a grammar, without beams, and tests/modeling/test_generation.py covers it",
    }

    def setUp(self):
        self.model_tester = HEIEModelTester()

    @unittest.skip("an image has N + 1 rows of features; the mixin, which has this test from 5.24, expects one")
    def test_multimodal_outputs_are_returned(self):
        pass

    def _prepare_for_class(self, inputs_dict, model_class, return_labels=False):
        inputs = super()._prepare_for_class(inputs_dict, model_class)
        if return_labels:  # for every loss, so that every head gets its gradient
            generator = torch.Generator().manual_seed(1)
            inputs["labels"] = inputs["input_ids"].clone()
            inputs["heatmap_labels"] = torch.rand(len(inputs["pixel_values"]), 16, 16, generator=generator)
            inputs["score_labels"] = torch.tensor([0.2, 0.9])
        return inputs


class TestHEIEConfig(unittest.TestCase):
    def test_config(self):
        self.model_tester = HEIEModelTester()
        tester = config_common.ConfigTester(self, HEIEConfig, has_text_modality=False, fusion="learned", max_patches=6)
        tester.run_common_tests()

    def test_part_configs(self):
        self.model_tester = None
        for part in (HEIEMapperConfig, HEIEScorerConfig):
            tester = config_common.ConfigTester(self, part, False, common_properties=["hidden_size"], hidden_size=64)
            tester.run_common_tests()
