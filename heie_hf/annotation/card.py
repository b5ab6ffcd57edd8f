"""The data card of annotated texts: which models, which prompts, how many, what was left out, what it cost."""

from pathlib import Path

from huggingface_hub import DatasetCard, DatasetCardData

from heie_hf import __version__

from . import aspects, prompts

TEMPLATES = {
    "implausibility": (Path(__file__).with_name("card_template.md"), prompts.DIGEST),
    "quality": (Path(__file__).with_name("quality_card_template.md"), aspects.DIGEST),
}


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
    template, digest = TEMPLATES[about["task"]]
    card = DatasetCard.from_template(
        data, template_path=str(template), about=about, review=review, version=__version__, digest=digest
    )
    return f"{card}\n"
