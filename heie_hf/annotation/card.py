"""The data card of annotated texts: which models, which prompts, how many, what was left out, what it cost."""

from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from heie_hf import __version__

from .prompts import DIGEST

TEMPLATE = Path(__file__).with_name("card_template.md")


def render(about: dict, review: dict | None = None) -> str:
    """The text of README.md, with the metadata of a data set on the Hub.

    Args:
        about: what is in summary.json.
        review: what `heie_hf.annotation.review` found, if people have judged the texts.
    """
    data = DatasetCardData(
        language="en",
        annotations_creators=["machine-generated"],
        task_categories=["image-to-text"],
        tags=["image-implausibility", "explanations", "heie"],
    )
    card = DatasetCard.from_template(
        data, template_path=str(TEMPLATE), about=about, review=review, version=__version__, digest=DIGEST
    )
    return str(card)
