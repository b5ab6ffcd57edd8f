"""The folder of a result: metrics.json, samples.parquet, failures.jsonl (and report.html, see `report`)."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from heie_hf.metrics.bootstrap import NUM_RESAMPLES

from .figures import CONFIDENCE, FIGURES, TEXT_FIGURES, counts, finite, intervals
from .measure import PARAMETERS
from .store import write_whole
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
    "issues": "kinds of defect that the generated analysis names, over all images (micro average)",
    "texts": "rouge_l, bert_score, judge_rating: description, regions and analysis as one, against the reference",
    "perplexity": "e^(mean nats per token) of description, regions and analysis, teacher-forced, fixed texts left out",
}

_REALS = ("score", "token_score", "map_score", "target_score", "gt_sum", "mse", "kld", "cc", "sim", "nss", "auc_judd")
_COUNTS = ("row", "position", "hits", "false_alarms", "misses", "num_tokens_reference", "num_tokens_generated")
_TEXTS = ("key", "shard", "description", "regions", "analysis")
SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in _TEXTS),
        *((name, pa.float64()) for name in (*_REALS, *TEXT_FIGURES, "nll_reference", "nll_generated")),
        *((name, pa.int64()) for name in _COUNTS),
        *((name, pa.list_(pa.string())) for name in ("issues_named", "issues_there")),
    ]
)


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
    texts = texts or ComparedTexts([])
    found = intervals(samples, num_resamples)
    metrics = {
        **{name: finite(found[name].value) for name in FIGURES},
        **counts(samples),
        "num_failures": len(failures),
        "intervals": {name: [finite(found[name].low), finite(found[name].high)] for name in FIGURES},
        "parameters": {"confidence": CONFIDENCE, "num_resamples": num_resamples, **DEFINITIONS, **texts.definitions},
        **({"judge": texts.judge} if texts.judge else {}),
        "run": run,
    }
    return Result(label, metrics, samples, failures)


def save_result(result: Result, folder: Path) -> None:
    """Write metrics.json, samples.parquet and failures.jsonl."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(result.samples, schema=SCHEMA), folder / "samples.parquet")
    lines = [json.dumps({"id": place, "reason": reason}) + "\n" for place, reason in result.failures]
    (folder / "failures.jsonl").write_text("".join(lines), encoding="utf-8")
    save_json(result.metrics, folder / "metrics.json")


def save_json(value: dict, path: Path) -> None:
    write_whole(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def load_samples(folder: str | Path) -> list[dict]:
    """The rows of a result's samples.parquet.

    Raises:
        FileNotFoundError: the folder holds no result; names those below it that do.
    """
    path = Path(folder) / "samples.parquet"
    if not path.is_file():
        below = sorted(str(found.parent) for found in Path(folder).glob("*/samples.parquet"))
        raise FileNotFoundError(
            f"{folder} has no samples.parquet of heie evaluate" + (f"; there are {', '.join(below)}" if below else "")
        )
    return [dict.fromkeys(SCHEMA.names) | row for row in pq.read_table(path).to_pylist()]


def by_key(samples: Sequence[dict]) -> dict[str, dict]:
    return {sample["key"]: sample for sample in samples}
