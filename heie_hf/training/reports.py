"""What a training run shows beside its losses: metrics of the evaluation set, and pictures of it."""

import itertools
import re
from pathlib import Path

import numpy as np
from PIL import Image
from transformers import EvalPrediction, TrainerCallback
from transformers.integrations import TensorBoardCallback
from transformers.trainer_callback import CallbackHandler

from heie_hf.files import whole_file
from heie_hf.metrics import heatmap_metrics, score_metrics
from heie_hf.visualization import Heatmap, beside, overlay

HEATMAP_FIGURES = ("mse", "mse_gt0", "kld", "cc", "sim", "nss", "auc_judd")
SCORE_FIGURES = ("plcc", "srcc", "krcc", "rmse")
GIVEN_TEXT_FIGURES = ("cc", "plcc")


def evaluation_metrics(prediction: EvalPrediction) -> dict[str, float]:
    """The default `compute_metrics`: figures without text, named as `heie evaluate` names them.

    `cc_given_text` and `plcc_given_text` are those with the reference text: far above `cc` and `plcc`, they tell that
    the model reads the text instead of the image. Heatmaps are compared on the cells of one patch, so they come close
    to those of `heie evaluate`, not more. Without any label of a kind there are no figures of it.

    Args:
        prediction: of `HEIETrainer.predict`.
    """
    scores, heatmaps, given_scores, given_heatmaps = prediction.predictions
    score_labels, targets = prediction.label_ids
    figures = _figures(scores, heatmaps, score_labels, targets)
    given = _figures(given_scores, given_heatmaps, score_labels, targets)
    for name in GIVEN_TEXT_FIGURES:
        if name in given:
            figures[f"{name}_given_text"] = given[name]
    return figures


def _figures(
    scores: np.ndarray, heatmaps: np.ndarray, score_labels: np.ndarray, targets: np.ndarray
) -> dict[str, float]:
    """(B,), (B, h, w) and the labels of both, NaN where unknown."""
    figures = {}
    known = ~np.isnan(targets).any(axis=(1, 2))
    if known.any():
        of_heatmaps = heatmap_metrics(heatmaps[known], targets[known])
        for name in HEATMAP_FIGURES:
            figures[name] = of_heatmaps[name]
    if not np.isnan(score_labels).all():
        of_scores = score_metrics(scores, score_labels)
        for name in SCORE_FIGURES:
            figures[name] = of_scores[name]
    return figures


def comparison(
    image: Image.Image, reference: Heatmap | None, predicted: Heatmap, score: float, side: int = 320
) -> Image.Image:
    """Image | reference heatmap (left out if unknown) | predicted heatmap with scale and score, `side` high.

    Args:
        reference, predicted: (H, W) in [0, 1], or an L image.
    """
    width = max(1, round(image.width * side / image.height))
    small = image.convert("RGB").resize((width, side))
    pictures = [small]
    if reference is not None:
        pictures.append(overlay(small, reference, scale=False))
    pictures.append(overlay(small, predicted, score))
    return beside(pictures)


class Overlays(TrainerCallback):
    """At every evaluation, the first images of the evaluation set with reference and predicted heatmap.

    They go to TensorBoard if that is in `report_to`, else to output_dir/_overlays/step-N/ID.png ("_" keeps them out of
    uploads). The prediction is the one without text.

    Args:
        handler: of the trainer; its TensorBoard callback has the writer.
        num_overlays: pictures per evaluation.
    """

    def __init__(self, handler: CallbackHandler, num_overlays: int):
        self.handler = handler
        self.num_overlays = num_overlays

    def on_evaluate(self, args, state, control, model=None, processing_class=None, eval_dataloader=None, **kwargs):
        rows = list(itertools.islice(eval_dataloader.dataset, self.num_overlays))
        if not rows:
            return
        pictures = _pictures(model, processing_class, rows)  # in all processes: a sharded model needs them
        if not state.is_world_process_zero:
            return
        step = state.global_step
        for callback in self.handler.callbacks:
            if isinstance(callback, TensorBoardCallback):
                for name, picture in pictures.items():
                    pixels = np.asarray(picture)
                    callback.tb_writer.add_image(f"overlays/{name}", pixels, step, dataformats="HWC")
                return
        folder = Path(args.output_dir, "_overlays", f"step-{step}")
        for name, picture in pictures.items():
            file = re.sub(r"[^\w.-]", "_", name) + ".png"
            with whole_file(folder / file) as draft:
                picture.save(draft, "PNG")


def _pictures(model, processor, rows: list[dict]) -> dict[str, Image.Image]:
    """A `comparison` per row, by row id."""
    images = [row["image"] for row in rows]
    inputs = processor(images=images, return_tensors="pt").to(model.device)
    sizes = [(image.height, image.width) for image in images]
    results = processor.post_process(model.assess(**inputs), target_sizes=sizes)
    pictures = {}
    for row, result in zip(rows, results, strict=True):
        picture = comparison(row["image"], row["heatmap"], result["predicted_heatmap"], result["score"])
        pictures[row["id"]] = picture
    return pictures
