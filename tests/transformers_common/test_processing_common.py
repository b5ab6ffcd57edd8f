"""Transformers' own common tests, run on HEIE's processor and image processor."""

import unittest

import pytest
import torch

from heie_hf import HEIEImageProcessor, HEIEProcessor
from heie_hf.recipes.tokenizer import train_tokenizer

REASON = "Transformers' common tests are not here; `make test` fetches them (tests/transformers_common/fetch.py)"
processing = pytest.importorskip("transformers_tests.test_processing_common", reason=REASON)
image_processing = pytest.importorskip("transformers_tests.test_image_processing_common", reason=REASON)

SMALL = {"size": {"height": 32, "width": 32}, "heatmap_size": {"height": 8, "width": 8}, "max_patches": 4}


class HEIEImageProcessingTester(image_processing.ImageProcessingTester):
    def __init__(self, parent):
        super().__init__(parent, batch_size=3, max_resolution=80, do_convert_rgb=True, **SMALL)

    def _get_image_processing_classes(self):
        return {"pil": HEIEImageProcessor}


class TestHEIEImageProcessor(image_processing.ImageProcessingTestMixin, unittest.TestCase):
    image_processor_tester_class = HEIEImageProcessingTester

    SKIPS = {
        "test_call_numpy_4_channels": "alpha is composited on white: four channels never reach the network",
        "test_new_models_require_torchvision_backend": "torchvision is never needed; there is one backend, PIL",
    }

    # The three tests of Transformers' own expect one row of pixels per image; here an image has N + 1.
    def _check_call(self, **kind):
        images = self.image_processor_tester.prepare_image_inputs(**kind)
        for batch in (images[:1], images):
            encoded = HEIEImageProcessor(**self.image_processor_dict)(batch, return_tensors="pt")
            assert encoded.pixel_values.shape == (encoded.num_patches.sum(), 3, 32, 32)
            assert torch.equal(encoded.patch_grid.prod(dim=1) + 1, encoded.num_patches)
            assert len(encoded.num_patches) == len(batch)

    def test_call_pil(self):
        self._check_call()

    def test_call_numpy(self):
        self._check_call(numpify=True)

    def test_call_pytorch(self):
        self._check_call(torchify=True)


class TestHEIEProcessor(processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = HEIEProcessor
    images_input_name = "num_patches"  # the one with a row per image, which the mixin counts

    SKIPS = {
        "test_apply_chat_template_assistant_mask": "its conversations have no image or three; HEIE assesses one",
        "test_get_num_multimodal_tokens_matches_processor_call": "its second half puts two images into one prompt; "
        "the first half is test_planned_tokens_are_those_of_the_call in tests/processing",
        "test_processor_text_has_no_visual": "a batch with prompts without image; HEIE assesses one image per prompt",
        "test_call_arguments_default_none": "`return_tensors` is 'pt' unless told otherwise, which is documented",
        "test_call_arguments_not_in_processor_kwargs": "`padding_side` is explicit: its default depends on `targets`",
    }

    @classmethod
    def _setup_image_processor(cls):
        return HEIEImageProcessor(**SMALL)

    @classmethod
    def _setup_tokenizer(cls):
        return train_tokenizer(["lower newer", "upper older longer string"], vocab_size=400, max_patches=4)

    @staticmethod
    def prepare_processor_dict():
        return {"image_seq_length": 4}

    def _check_modality_outputs(self, inputs, modality):
        if modality == "images":  # the mixin has set a rescale factor of -1
            assert inputs["pixel_values"].mean() <= 0
