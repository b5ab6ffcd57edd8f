"""The model card: `card_template.md`, filled in from a saved model, its figures and what the user states."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCard, ModelCardData
from huggingface_hub.utils import HFValidationError, validate_repo_id

TEMPLATE = Path(__file__).with_name("card_template.md")
#: Told from other cards (PEFT writes an empty one beside every adapter) by the second.
TAGS = ["heie", "image-implausibility", "image-quality-assessment"]

# Keys of `metrics.json` that are figures, with their names for readers, in the order of the table.
METRICS = {
    "cc": "Heatmap: correlation coefficient (CC)",
    "sim": "Heatmap: similarity (SIM)",
    "kld": "Heatmap: KL divergence (KLD)",
    "nss": "Heatmap: normalised scanpath saliency (NSS)",
    "auc_judd": "Heatmap: AUC-Judd",
    "mse": "Heatmap: mean squared error, all images",
    "mse_gt0": "Heatmap: mean squared error, images without defects",
    "plcc": "Score: Pearson correlation (PLCC)",
    "srcc": "Score: Spearman correlation (SRCC)",
    "krcc": "Score: Kendall correlation (KRCC)",
    "rmse": "Score: root mean squared error",
    "paired_accuracy": "Pairs: the clean twin scores higher than the flawed one",
    "paired_false_alarm": "Pairs: false alarm where the clean twin has no defect",
    "issue_precision": "Explanation: precision of the named defects",
    "issue_recall": "Explanation: recall of the named defects",
    "issue_f1": "Explanation: F1 of the named defects",
    "description_facts": "Description: facts said rightly (mean of objects, colours and place)",
    "description_objects": "Description: objects said rightly",
    "description_colors": "Description: colours said rightly",
    "description_place": "Description: place said rightly",
    "rouge_l": "Explanation: ROUGE-L against the reference text",
    "bert_score": "Explanation: BERTScore against the reference text",
    "judge_rating": "Explanation: a language model's rating against the reference text, 0 to 10",
    "perplexity_reference": "Explanation: perplexity of the reference text",
    "perplexity_generated": "Explanation: perplexity of the model's own text",
}

#: What a figure's name has behind it where the texts are those of other images.
BY_CHANCE = "_shuffled"

#: What the shares of the description's facts are of.
DESCRIBED = {
    "description_objects": "objects",
    "description_colors": "colours",
    "description_place": "places",
}


@dataclass
class CardFacts:
    """What a card says that the saved model does not know.

    Args:
        repo_id: name by which the model will be loaded; by default the name of its folder.
        license: of the weights, a licence id of the Hub such as "apache-2.0".
        base_model: Hub id of the model that this one was made from.
        datasets: Hub ids of the data sets that it was trained on.
        training_data: a sentence about training data that is not on the Hub.
        intended_use: what it is for, if not what HEIE models are for in general.
        metrics: content of the `metrics.json` of `heie evaluate` (one data set).
        tags: further tags for the Hub's search.
    """

    repo_id: str | None = None
    license: str | None = None
    base_model: str | None = None
    datasets: list[str] = field(default_factory=list)
    training_data: str | None = None
    intended_use: str | None = None
    metrics: dict[str, Any] | None = None
    tags: list[str] = field(default_factory=list)

    @property
    def are_stated(self) -> bool:
        """Whether there is anything beside the name."""
        return self != CardFacts(repo_id=self.repo_id)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


# The model inside the package.
EMBEDDED = CardFacts(
    repo_id="heie-tiny",
    license="apache-2.0",
    training_data="the train split of the synthetic benchmark, version 1 (36,000 scenes drawn by\n"
    "`heie synthesize --split train`, with planted defects), and the 144,000 scenes that follow it in the same seed;\n"
    "no photograph, no generated image. `make train-tiny` trains such a model from scratch",
    metrics=_read(Path(__file__).parents[1] / "checkpoints" / "heie-tiny-metrics.json"),
    intended_use="Seeing in minutes how HEIE works, tests, teaching. It is not for judging photographs or generated\n"
    "images: it was trained on drawn scenes and knows nothing else.",
)


def render_card(folder: str | Path, facts: CardFacts) -> ModelCard:
    """The card of the model (or PEFT adapter) saved in `folder`.

    Raises:
        ValueError: if `facts.metrics` has none of the figures of `heie evaluate`.
    """
    folder = Path(folder)
    config, adapter = _read(folder / "config.json"), _read(folder / "adapter_config.json")
    model_id = facts.repo_id or folder.name
    title = model_id.rpartition("/")[2]
    base_model = facts.base_model or hub_name(adapter.get("base_model_name_or_path"))
    metrics = facts.metrics or {}
    results = eval_results(metrics) if metrics else []
    data = ModelCardData(
        language="en",
        license=facts.license,
        library_name="peft" if adapter else "transformers",
        pipeline_tag="image-text-to-text",
        tags=[*TAGS, *facts.tags],
        base_model=base_model,
        datasets=facts.datasets or None,
        model_name=title if results else None,
        eval_results=results or None,
    )
    return ModelCard.from_template(
        data,
        template_path=str(TEMPLATE),
        title=title,
        model_id=model_id,
        adapter=bool(adapter),
        notice=config.get("training_data_notice"),
        base_model=base_model,
        license=facts.license,
        datasets=facts.datasets,
        training_data=facts.training_data,
        intended_use=facts.intended_use,
        results=results,
        metrics=facts.metrics,
        has_chance=any(name.endswith(BY_CHANCE) and value is not None for name, value in metrics.items()),
        described=_described(metrics),
    )


def _described(metrics: dict[str, Any]) -> str | None:
    """How much of the descriptions is right, and what chance gives; None where it was not measured."""
    right, by_chance = [], []
    for figure, subject in DESCRIBED.items():
        share = metrics.get(figure)
        shuffled_share = metrics.get(figure + BY_CHANCE)
        if share is None or shuffled_share is None:
            return None
        right.append(f"{share:.2f} of the {subject}")
        by_chance.append(f"{shuffled_share:.2f}")
    return f"right are {', '.join(right)}; the texts of other images reach {', '.join(by_chance)}"


def eval_results(metrics: dict[str, Any]) -> list[EvalResult]:
    """The figures of a `metrics.json` for the card's `model-index`; those that are undefined (null) are left out.

    Raises:
        ValueError: if there is none.
    """
    run = metrics.get("run", {})
    dataset = Path(run.get("dataset") or "unnamed").name  # of a folder's path, nothing but the name is published
    results = [
        EvalResult(
            task_type="image-text-to-text",
            task_name="Image implausibility",
            dataset_type=dataset,
            dataset_name=dataset,
            dataset_split=run.get("split"),
            metric_type=key,
            metric_name=name,
            metric_value=round(metrics[key], 6),
        )
        for key, name in METRICS.items()
        if metrics.get(key) is not None
    ]
    if not results:
        raise ValueError(f"the metrics hold none of the figures {', '.join(METRICS)}")
    return results


def origin(model: Any) -> str | None:
    """Hub name of what a model was loaded from; None for a folder, or nothing."""
    return hub_name(model.config.name_or_path)


def hub_name(name: str | None) -> str | None:
    """The name, if it can be one on the Hub; None for a path of this machine, which says nothing elsewhere."""
    if not name or Path(name).is_absolute() or Path(name).exists():
        return None
    try:
        validate_repo_id(name)
    except HFValidationError:
        return None
    return name


def saved_card(folder: Path) -> ModelCard | None:
    """The card of a HEIE model that lies beside its weights, without paths of this machine; None for any other."""
    path = folder / "README.md"
    if not path.is_file():
        return None
    try:
        card = ModelCard.load(path)
    except (ValueError, yaml.YAMLError):  # metadata that cannot be read
        return None
    if TAGS[1] not in (card.data.tags or []):
        return None
    bases = card.data.base_model
    if isinstance(bases, str) and hub_name(bases) is None:
        card.data.base_model = None
    return card
