"""The images to look at in a report: the worst and the best, with what was said of them."""

import base64
from collections.abc import Iterator, Sequence
from html import escape
from io import BytesIO

import numpy as np
from PIL import Image

from heie_hf.evaluation.data import EvaluationData, open_heatmap, open_image, reference_text
from heie_hf.visualization import blend

NUM_CASES = 4  # of each kind
SIDE = 240  # pixels


def choose_cases(samples: Sequence[dict], number: int = NUM_CASES) -> dict[str, list[dict]]:
    """Kind of case -> its images, the most extreme first. Kinds that the labels do not allow are left out."""
    with_defects = sorted((s for s in samples if s["cc"] is not None), key=lambda s: s["cc"])
    empty = sorted((s for s in samples if s["gt_sum"] == 0), key=lambda s: -s["mse"])
    scored = [s for s in samples if s["target_score"] is not None and s["score"] is not None]
    kinds = {
        "Worst heatmaps (lowest CC)": with_defects,
        "Best heatmaps (highest CC)": with_defects[::-1],
        "Worst false alarms (highest MSE where nothing is wrong)": empty,
        "Worst scores (largest error)": sorted(scored, key=lambda s: -abs(s["score"] - s["target_score"])),
    }
    return {kind: found[:number] for kind, found in kinds.items() if found}


def case_html(data: EvaluationData, sample: dict, heatmap: np.ndarray) -> str:
    """Image, reference and prediction side by side, and both texts."""
    row = data.rows[sample["row"]]
    image, target = open_image(row["image"]), open_heatmap(row["heatmap"])
    pictures = [("image", image), ("reference", target), ("predicted", heatmap)]
    shown = "".join(_figure(name, image, picture) for name, picture in pictures if picture is not None)
    texts = "".join(_texts({"reference": reference_text(row), "generated": sample}))
    return f"<article><h4>{escape(sample['key'])}</h4><p>{_numbers(sample)}</p>{shown}{texts}</article>"


def _figure(name: str, image: Image.Image, picture: Image.Image | np.ndarray) -> str:
    overlay = picture if isinstance(picture, Image.Image) else blend(image, np.clip(picture, 0, 1))
    overlay = overlay.copy()
    overlay.thumbnail((SIDE, SIDE))
    buffer = BytesIO()
    overlay.save(buffer, "JPEG", quality=85)
    code = base64.b64encode(buffer.getvalue()).decode()
    return f'<figure><img src="data:image/jpeg;base64,{code}" alt="{name}"><figcaption>{name}</figcaption></figure>'


def _numbers(sample: dict) -> str:
    names = {"score": "score", "target_score": "true score", "cc": "CC", "mse": "MSE", "auc_judd": "AUC-Judd"}
    return " · ".join(f"{name} {sample[key]:.3g}" for key, name in names.items() if sample[key] is not None)


def _texts(texts: dict[str, dict | None]) -> Iterator[str]:
    for name, sections in texts.items():
        lines = [sections[key] for key in ("regions", "analysis") if sections and sections[key]]
        if lines:
            yield f'<p class="text"><b>{name}</b>\n{escape(chr(10).join(lines))}</p>'
