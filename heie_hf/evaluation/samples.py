"""One row of figures per image: its columns, and samples.parquet, the file of these rows."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from heie_hf.files import whole_file
from heie_hf.processing.explanation_heie import SECTIONS

from .kept_files import reading

FILE = "samples.parquet"

#: How alike the generated and the reference text of an image are.
TEXT_FIGURES = ("rouge_l", "bert_score", "judge_rating")

_SCORES = ("score", "token_score", "map_score", "target_score")
_HEATMAP_FIGURES = ("gt_sum", "mse", "kld", "cc", "sim", "nss", "auc_judd")
#: Shares of the scene's facts that the description says rightly.
FACT_FIGURES = ("description_facts", "description_objects", "description_colors", "description_place")

_ISSUE_COUNTS = ("hits", "false_alarms", "misses")
#: What the name of a figure has behind it where it is that of another image's text.
SHUFFLED = "_shuffled"
_SHUFFLED_FIGURES = tuple(name + SHUFFLED for name in (*FACT_FIGURES, "rouge_l"))
_SHUFFLED_COUNTS = tuple(name + SHUFFLED for name in _ISSUE_COUNTS)
_COLUMNS = {
    pa.string(): ("key", "shard", "twin_of", *SECTIONS),
    pa.float64(): (
        *_SCORES,
        *_HEATMAP_FIGURES,
        *FACT_FIGURES,
        *TEXT_FIGURES,
        *_SHUFFLED_FIGURES,
        "nll_reference",
        "nll_generated",
        "twin_heat",
    ),
    pa.int64(): (
        "row",
        "position",
        *_ISSUE_COUNTS,
        *_SHUFFLED_COUNTS,
        "num_tokens_reference",
        "num_tokens_generated",
    ),
    pa.list_(pa.string()): ("issues_named", "issues_there", "twin_kinds"),
}


def _schema() -> pa.Schema:
    fields = []
    for kind, names in _COLUMNS.items():
        for name in names:
            fields.append(pa.field(name, kind))
    return pa.schema(fields)


#: Columns and their types. A value that is unknown is None.
SCHEMA = _schema()

#: A sample of which nothing is known.
UNKNOWN = dict.fromkeys(SCHEMA.names)


def save_samples(samples: Sequence[dict], folder: Path) -> None:
    table = pa.Table.from_pylist(list(samples), schema=SCHEMA)
    with whole_file(folder / FILE) as draft:
        pq.write_table(table, draft)


def load_samples(folder: str | Path) -> list[dict]:
    """The rows of a result's samples.parquet.

    Raises:
        FileNotFoundError: the folder holds no result; names those below it that do.
        DamagedFileError: the file cannot be read.
    """
    path = Path(folder) / FILE
    if not path.is_file():
        message = f"{folder} has no {FILE} of heie evaluate"
        files_below = sorted(Path(folder).glob(f"*/{FILE}"))
        if files_below:
            folders = [str(file.parent) for file in files_below]
            message += f"; there are {', '.join(folders)}"
        raise FileNotFoundError(message)
    with reading(path, "run heie evaluate again, it needs no new inference"):
        table = pq.read_table(path, schema=SCHEMA)
        if table["key"].null_count:
            raise ValueError("images without a key")
    return table.to_pylist()


def column(samples: Sequence[dict], name: str) -> np.ndarray:
    """(n,) float64, NaN where it is None."""
    values = [sample[name] for sample in samples]
    return np.array(values, dtype=np.float64)


def finite(value: float) -> float | None:
    """What is no number as None: JSON knows neither NaN nor infinity."""
    return value if np.isfinite(value) else None
