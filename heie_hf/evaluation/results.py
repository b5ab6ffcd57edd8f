"""The folder of a result: metrics.json, samples.parquet, failures.jsonl (and report.html, see `report`)."""

import json
from dataclasses import dataclass
from pathlib import Path

from heie_hf.metrics.bootstrap import NUM_RESAMPLES

from .figures import CONFIDENCE, counts, intervals
from .kept_files import save_json, save_text
from .measure import PARAMETERS
from .samples import finite, save_samples
from .texts import ComparedTexts

#: What the figures mean, kept beside them; see heie_hf.metrics for the formulas.
DEFINITIONS = {
    "heatmap_size": "the prediction is resized to the data set's heatmap (bilinear); metrics per image, then averaged",
    "kld_eps": PARAMETERS["eps"],
    "auc_judd_threshold": PARAMETERS["threshold"],
    "nss_threshold": PARAMETERS["threshold"],
    "auc_judd_ties": "exact, mid-ranks",
    "sim_normalize": PARAMETERS["normalize"],
    "mse_gt0": "mse of the images whose heatmap is empty; kld, cc, sim, nss and auc_judd leave these out",
    "plcc_logistic_fit": False,
    "paired_accuracy": "share of the pairs whose clean twin scores higher than the flawed one, a tie is half",
    "paired_false_alarm": "share of the clean twins with heat of .2 or more where the flawed one is marked so",
    "issues": "kinds of defect that the generated analysis names, over all images (micro average)",
    "description_objects": "objects that the description names rightly / the larger number of said and true ones",
    "description_colors": "the same of the objects' colours, each of its own object",
    "description_place": "1 where the true place is said and no other; description_facts is the mean of the three",
    "shuffled": "the same with the text of another image, by a fixed permutation: what chance gives",
    "texts": "rouge_l, bert_score, judge_rating: description, regions and analysis as one, against the reference",
    "perplexity": "e^(mean nats per token) of description, regions and analysis, teacher-forced, fixed texts left out",
}


@dataclass(frozen=True)
class Result:
    """What was found on one data set in one way.

    Args:
        label: its name in tables.
        metrics: the content of metrics.json.
        samples: one dict per image, see `measure`.
        failures: place and reason of the images without a prediction, and of texts that the judge did not rate.
    """

    label: str
    metrics: dict
    samples: list[dict]
    failures: list[tuple[str, str]]

    @property
    def flat(self) -> dict[str, float | None]:
        """The figures and counts alone."""
        return {name: value for name, value in self.metrics.items() if not isinstance(value, dict)}


def summarize(
    label: str,
    samples: list[dict],
    failures: list[tuple[str, str]],
    run: dict,
    num_resamples: int = NUM_RESAMPLES,
    texts: ComparedTexts | None = None,
) -> Result:
    """The figures of a data set: flat, with their intervals, definitions and the run's settings beside them."""
    values, bounds = {}, {}
    for name, interval in intervals(samples, num_resamples).items():
        values[name] = finite(interval.value)
        bounds[name] = [finite(interval.low), finite(interval.high)]
    metrics = {
        **values,
        **counts(samples),
        "num_failures": len(failures),
        "intervals": bounds,
        "parameters": {"confidence": CONFIDENCE, "num_resamples": num_resamples, **DEFINITIONS},
    }
    if texts:
        metrics["parameters"] |= texts.definitions
        if texts.judge:
            metrics["judge"] = texts.judge
    metrics["run"] = run
    return Result(label, metrics, samples, failures)


def save_result(result: Result, folder: Path) -> None:
    """Write metrics.json, samples.parquet and failures.jsonl, each whole or not at all, metrics.json last."""
    save_samples(result.samples, folder)
    lines = []
    for place, reason in result.failures:
        lines.append(json.dumps({"id": place, "reason": reason}) + "\n")
    save_text("".join(lines), folder / "failures.jsonl")
    save_json(result.metrics, folder / "metrics.json")
