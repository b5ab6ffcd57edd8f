"""The data card of annotated texts: which models, which prompts, how many, what was left out, what it cost."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from huggingface_hub import DatasetCard, DatasetCardData

from heie_hf import __version__

from .prompts import DIGEST

if TYPE_CHECKING:
    from .run import Outcome

TEMPLATE = Path(__file__).with_name("card_template.md")


def render(outcome: "Outcome", models: dict[str, str], num_samples: int, source: str) -> str:
    """The text of README.md, with the metadata of a data set on the Hub."""
    data = DatasetCardData(
        language="en",
        annotations_creators=["machine-generated"],
        task_categories=["image-to-text"],
        tags=["image-implausibility", "explanations", "heie"],
    )
    card = DatasetCard.from_template(
        data,
        template_path=str(TEMPLATE),
        outcome=outcome,
        models=models,
        num_samples=num_samples,
        source=source,
        version=__version__,
        digest=DIGEST,
        categories=Counter(category for _, category in outcome.excluded),
    )
    return str(card)
