"""`heie evaluate` as a function: predict what is missing, measure, summarise, report."""

import platform
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import transformers
from accelerate import PartialState

from heie_hf.evaluation.report import write_joint_report, write_single_report
from heie_hf.metrics.judge import Judge
from heie_hf.text_sources import EVALUATION_SOURCES, TextSource

from .data import EvaluationData
from .heads import Heads
from .kept_files import EvaluationError, save_json
from .measure import HeatmapSource, measure
from .model import EvaluatedModel
from .predict import predict
from .results import Result, save_result, summarize
from .store import PredictionStore
from .text_truth import add_shuffled
from .texts import TextComparison


def evaluate(
    data: EvaluationData | Sequence[EvaluationData],
    model: EvaluatedModel,
    output_dir: str | Path,
    *,
    text: TextSource | str = TextSource.GENERATED,
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
        DamagedFileError: a file in `output_dir` cannot be read.
        OSError: a file cannot be written, such as on a full disk; another call goes on.
    """
    state = PartialState()
    output_dir = Path(output_dir)
    if text not in EVALUATION_SOURCES:
        raise EvaluationError(f"the text is to be {', '.join(EVALUATION_SOURCES)}, not '{text}'")
    if judge and judge.cache is None:
        judge = replace(judge, cache=output_dir / "judge.jsonl")
    comparison = TextComparison(bertscore, judge)
    comparison.check(text)
    data_sets = unique_labels([data] if isinstance(data, EvaluationData) else data)
    folders = [output_dir / "predictions" / f"{data_set.label}-{text}" for data_set in data_sets]
    with state.main_process_first():
        for data_set, folder in zip(data_sets, folders):
            PredictionStore(folder).claim({**model.identity, "text": text, **data_set.identity})
    predicted = []
    for data_set, folder in zip(data_sets, folders):
        store = PredictionStore(folder)
        speed = predict(data_set, model, store, text=text, batch_size=batch_size, num_workers=num_workers)
        run = run_settings(data_set, model, text=text, heatmap=heatmap, images_per_second=speed)
        predicted.append(Predicted(data_set, PredictionStore(folder), run))
    if not state.is_main_process:
        return []

    is_single = len(data_sets) == 1 and len(fusions) == 1
    results = []
    for each in predicted:
        for result in _results(each, fusions, comparison, num_workers, name_data=len(data_sets) > 1):
            folder = output_dir if is_single else output_dir / result.label
            save_result(result, folder)
            write_single_report(result, each.data, each.store, folder)
            results.append(result)
    if not is_single:
        metrics = {result.label: result.metrics for result in results}
        save_json(metrics, output_dir / "metrics.json")
        write_joint_report(results, output_dir)
    return results


@dataclass(frozen=True)
class Predicted:
    """A data set with its predictions, and the settings of the run as metrics.json has them."""

    data: EvaluationData
    store: PredictionStore
    run: dict


def _results(
    predicted: Predicted,
    fusions: Sequence[str | None],
    comparison: TextComparison,
    num_workers: int,
    name_data: bool,
) -> Iterator[Result]:
    """One result of each fusion; `name_data`: whether their labels name the data set beside the fusion."""
    data, store, run = predicted.data, predicted.store, predicted.run
    model_heads = Heads.load(store.folder)
    texts = None
    for fusion in fusions:
        fusion = fusion or model_heads.fuser.fusion
        measured = measure(data, store, fusion=fusion, heatmap=run["heatmap"], num_workers=num_workers)
        samples = measured.samples
        failures = [*data.bad_rows, *store.failures(data.keys), *measured.failures]
        if run["text"] == TextSource.GENERATED:
            texts = texts or comparison(data, samples)  # once: fusions change no text
            shuffled = add_shuffled(data, samples)
            samples = [sample | row | other for sample, row, other in zip(samples, texts.rows, shuffled, strict=True)]
            failures += texts.failures
        label = data.label
        if len(fusions) > 1:
            label = f"{data.label}-{fusion}" if name_data else fusion
        settings = run | {"fusion": fusion, "notice": model_heads.notice}
        yield summarize(label, samples, failures, settings, texts=texts)


def run_settings(data: EvaluationData, model: EvaluatedModel, **settings) -> dict:
    """What a reader must know to repeat the run."""
    from heie_hf import __version__

    return {
        "model": model.name,
        "dtype": model.dtype,
        **data.source,
        **settings,
        "num_processes": PartialState().num_processes,
        "heie_hf": __version__,
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def unique_labels(data_sets: Sequence[EvaluationData]) -> list[EvaluationData]:
    """The same data sets, "-2", "-3" .. behind labels that were there before."""
    seen = Counter()
    renamed = []
    for data in data_sets:
        seen[data.label] += 1
        if seen[data.label] > 1:
            data = replace(data, label=f"{data.label}-{seen[data.label]}")
        renamed.append(data)
    return renamed
