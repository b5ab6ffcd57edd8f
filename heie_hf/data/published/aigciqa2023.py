"""AIGCIQA2023: 6 generators x 100 prompts x 4 images; opinion scores of quality, authenticity, correspondence.

Files: DATA/MOS/mosz{1,2,3}.mat and Image/allimg/{0..2399}.png. AIGCIQA2023.csv of the authors' repository, if it is
beside them, adds the prompts.
"""

from functools import partial
from pathlib import Path

from heie_hf.data.fields import Entries, checked_split, image_index, required, training_groups

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


def entries(root: Path, split: str) -> Entries:
    scores = {}
    for aspect, file in FILES.items():
        scores[aspect] = _read_mat(root / "DATA" / "MOS" / file)
    prompts = _prompts(root / "AIGCIQA2023.csv")
    index = image_index(root / "Image" / "allimg")
    training = training_groups(list(map(str, range(NUM_PROMPTS))), TRAIN_SHARE)
    for number, opinions in enumerate(zip(*scores.values(), strict=True)):
        prompt = number // IMAGES_PER_PROMPT % NUM_PROMPTS
        is_training = str(prompt) in training
        if is_training == (split == "train"):
            name = f"{number}.png"
            record = dict(zip(scores, opinions, strict=True))
            record |= {"name": name, "prompt": prompts.get(name)}
            yield name, partial(mos_row, record, index, SCALES)


def _prompts(table: Path) -> dict[str, str]:
    """File name to prompt; empty where the table is not there."""
    prompts = {}
    if table.exists():
        for row in read_csv(table, ["name", "prompt"]):
            prompts[row["name"]] = row["prompt"]
    return prompts


def _read_mat(path: Path) -> list[float]:
    from scipy.io import loadmat

    variables = loadmat(path, variable_names=["MOSz"])
    return variables["MOSz"].ravel().tolist()
