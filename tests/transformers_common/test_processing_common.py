"""Transformers' own common tests, run on HEIE's processor and image processor."""

import unittest

import pytest

from heie_hf.data.tokenizer import train_tokenizer
from heie_hf.processing.image_processing_heie import HEIEImageProcessor
from heie_hf.processing.processing_heie import HEIEProcessor

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


class TestHEIEProcessor(processing.ProcessorTesterMixin, unittest.TestCase):
    processor_class = HEIEProcessor

    @classmethod
    def _setup_image_processor(cls):
        return HEIEImageProcessor(**SMALL)

    @classmethod
    def _setup_tokenizer(cls):
        return train_tokenizer(["lower newer", "upper older longer string"], vocab_size=400, max_patches=4)

    @staticmethod
    def prepare_processor_dict():
        return {"image_seq_length": 4}
