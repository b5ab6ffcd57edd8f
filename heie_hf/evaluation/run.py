"""`heie evaluate` as a function: predict what is missing, measure, summarise, report."""

import platform
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch
import transformers
from accelerate import PartialState

from heie_hf.evaluation.report import joint_report, single_report
from heie_hf.metrics.judge import Judge

from .batches import TextSource
from .data import EvaluationData
from .heads import Heads
from .measure import HeatmapSource, measure
from .model import EvaluatedModel
from .predict import predict
from .results import Result, save_json, save_result, summarize
from .store import PredictionStore, write_whole
from .texts import ComparedTexts, TextComparison


def evaluate(
    data: EvaluationData | Sequence[EvaluationData],
    model: EvaluatedModel,
    output_dir: str | Path,
    *,
    text: TextSource = "generated",
    heatmap: HeatmapSource = "predicted",
    fusions: Sequence[str | None] = (None,),
    bertscore: str | None = None,
    judge: Judge | None = None,
    batch_size: int = 8,
    num_workers: int = 2,
) -> list[Result]:
    """Every figure of the paper's tables for a model on one or several data sets.

    What the network says is kept in `output_dir`/predictions, one folder per data set and kind of text; images that
    have a prediction there are not run again, whether the last call was killed or asked for another fusion.

    One data set with one fusion: metrics.json, samples.parquet, failures.jsonl and report.html are in `output_dir`.
    More of either: a folder for each below it, and a joint metrics.json and report.html.

    Args:
        text: what stands in the chain of thought: "generated" by the model, "none", or "reference" (Table 6e).
        heatmap: what the scorer reads: "predicted" or "reference" (Table 7).
        fusions: how local and global maps become one (Table 5); None is as the model does.
        bertscore: folder or Hub name of an encoder, for BERTScore of the generated texts.
        judge: rates the generated texts; without a cache of its own, its ratings are kept in `output_dir`/judge.jsonl.
        batch_size: images per pass. num_workers: processes that load images and compute metrics.

    Returns:
        the results, in the main process; on the others an empty list.

    Raises:
        EvaluationError: `output_dir` holds predictions of another run, the model has no such fusion, or texts cannot
            be compared as asked for.
    """
    state, output_dir = PartialState(), Path(output_dir)
    judge = judge and replace(judge, cache=judge.cache or output_dir / "judge.jsonl")
    compare = TextComparison(bertscore, judge)
    compare.check(text)
    data = unique_labels([data] if isinstance(data, EvaluationData) else data)
    stores = [PredictionStore(output_dir / "predictions" / f"{each.label}-{text}") for each in data]
    with state.main_process_first():
        for each, store in zip(data, stores):
            store.claim({**model.identity, "text": text, **each.identity})
    loading = {"batch_size": batch_size, "num_workers": num_workers}
    speeds = [predict(each, model, store, text=text, **loading) for each, store in zip(data, stores)]
    if not state.is_main_process:
        return []
    single = len(data) * len(fusions) == 1
    results = []
    for each, store, speed in zip(data, stores, speeds):
        texts = None  # compared once: fusions change no text
        for fusion in fusions:
            fusion = fusion or Heads.load(store.folder).fuser.fusion
            label = result_label(each.label, fusion, len(data), len(fusions))
            settings = {"text": text, "heatmap": heatmap, "fusion": fusion}
            settings |= {"images_per_second": speed, "num_processes": state.num_processes}
            run = run_settings(each, model, **settings)
            predictions = PredictionStore(store.folder)
            samples = measure(each, predictions, fusion=fusion, heatmap=heatmap, num_workers=num_workers)
            if text == "generated" and texts is None:
                texts = compare(each, samples)
            folder = output_dir if single else output_dir / label
            results.append(_one_result(label, each, predictions, samples, texts, run, folder))
    if not single:
        save_json({result.label: result.metrics for result in results}, output_dir / "metrics.json")
        write_whole(output_dir / "report.html", joint_report(results).encode("utf-8", "replace"))
    return results


def _one_result(
    label: str,
    data: EvaluationData,
    store: PredictionStore,
    samples: list[dict],
    texts: ComparedTexts | None,
    run: dict,
    folder: Path,
) -> Result:
    """From the figures of single images to the files of one result."""
    failures = [*data.bad_rows, *store.failures(data.keys)]
    if texts:
        samples = [sample | row for sample, row in zip(samples, texts.rows, strict=True)]
        failures += texts.failures
    result = summarize(label, samples, failures, run, texts=texts)
    save_result(result, folder)
    write_whole(folder / "report.html", single_report(result, data, store).encode("utf-8", "replace"))
    return result


def run_settings(data: EvaluationData, model: EvaluatedModel, **settings) -> dict:
    """What a reader must know to repeat the run."""
    from heie_hf import __version__

    versions = {"heie_hf": __version__, "transformers": transformers.__version__, "torch": torch.__version__}
    return {
        "model": model.name,
        "dtype": model.dtype,
        **data.source,
        **settings,
        **versions,
        "python": platform.python_version(),
    }


def unique_labels(data: Sequence[EvaluationData]) -> list[EvaluationData]:
    """The same data sets, "-2", "-3" .. behind labels that were there before."""
    seen: dict[str, int] = {}
    renamed = []
    for each in data:
        seen[each.label] = seen.get(each.label, 0) + 1
        label = each.label if seen[each.label] == 1 else f"{each.label}-{seen[each.label]}"
        renamed.append(replace(each, label=label))
    return renamed


def result_label(data: str, fusion: str, num_data: int, num_fusions: int) -> str:
    """What tells results apart: the data set, the fusion, or both."""
    return f"{data}-{fusion}" if num_data > 1 and num_fusions > 1 else fusion if num_fusions > 1 else data
