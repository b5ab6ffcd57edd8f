"""AIGCIQA2023: 6 generators x 100 prompts x 4 images; opinion scores of quality, authenticity, correspondence.

Files: DATA/MOS/mosz{1,2,3}.mat and Image/allimg/{0..2399}.png. AIGCIQA2023.csv of the authors' repository, if it is
beside them, adds the prompts.
"""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from heie_hf.data.fields import checked_split, image_index, required, training_groups

from .agiqa3k import mos_row, read_csv

HOME = "https://github.com/wangjiarui153/AIGCIQA2023"
SPLITS = ("train", "test")
TRAIN_SHARE = 3 / 4  # the usual ratio; no list was published
NUM_PROMPTS, IMAGES_PER_PROMPT = 100, 4
#: Authenticity ("does it look real?") is what comes nearest to plausibility.
SCALES = {
    "score": ("authenticity", 0.0, 100.0),
    "overall_score": ("quality", 0.0, 100.0),
    "alignment_score": ("correspondence", 0.0, 100.0),
}
FILES = {"quality": "mosz1.mat", "authenticity": "mosz2.mat", "correspondence": "mosz3.mat"}
WHERE = f"Download the database with its folders DATA and Image from the links at {HOME}."


def sources(root: Path, split: str = "train") -> dict:
    for name in FILES.values():
        required(root / "DATA" / "MOS" / name, WHERE)
    required(root / "Image" / "allimg", WHERE)
    return {"root": root, "split": checked_split(split, SPLITS)}


def entries(root: Path, split: str) -> Iterator[tuple[str, Callable[[], dict]]]:
    scores = {name: _read_mat(root / "DATA" / "MOS" / file) for name, file in FILES.items()}
    table = root / "AIGCIQA2023.csv"
    prompts = {row["name"]: row["prompt"] for row in read_csv(table, ["name", "prompt"])} if table.exists() else {}
    index = image_index(root / "Image" / "allimg")
    training = training_groups([str(number) for number in range(NUM_PROMPTS)], TRAIN_SHARE)
    for number, values in enumerate(zip(*scores.values(), strict=True)):
        prompt = number // IMAGES_PER_PROMPT % NUM_PROMPTS
        if (str(prompt) in training) == (split == "train"):
            name = f"{number}.png"
            record = {"name": name, "prompt": prompts.get(name)} | dict(zip(scores, values, strict=True))
            yield name, partial(mos_row, record, index, SCALES)


def _read_mat(path: Path) -> list[float]:
    from scipy.io import loadmat

    return loadmat(path, variable_names=["MOSz"])["MOSz"].ravel().tolist()
