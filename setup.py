"""Metadata is in setup.cfg, but for what PyPI shows: links into the repository lead nowhere there and become names."""

import re
from pathlib import Path

from setuptools import setup

LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)[^)]+\)")
readme = Path(__file__).with_name("README.md").read_text(encoding="utf-8")
setup(long_description=LINK.sub(r"\1", readme), long_description_content_type="text/markdown")
