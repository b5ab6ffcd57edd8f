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

# Column types. A value that is unknown is None.
_TEXT = ("key", "shard", *SECTIONS)
_REAL = (
    *("score", "token_score", "map_score", "target_score"),
    *("gt_sum", "mse", "kld", "cc", "sim", "nss", "auc_judd"),
    *TEXT_FIGURES,
    *("nll_reference", "nll_generated"),
)
_WHOLE = ("row", "position", "hits", "false_alarms", "misses", "num_tokens_reference", "num_tokens_generated")
_TEXTS = ("issues_named", "issues_there")
_TYPES = {pa.string(): _TEXT, pa.float64(): _REAL, pa.int64(): _WHOLE, pa.list_(pa.string()): _TEXTS}

SCHEMA = pa.schema([(name, kind) for kind, names in _TYPES.items() for name in names])

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
        results_below = sorted(str(file.parent) for file in Path(folder).glob(f"*/{FILE}"))
        if results_below:
            message += f"; there are {', '.join(results_below)}"
        raise FileNotFoundError(message)
    with reading(path, "run heie evaluate again, it needs no new inference"):
        table = pq.read_table(path, schema=SCHEMA)
        if table["key"].null_count:
            raise ValueError("images without a key")
    return table.to_pylist()


def column(samples: Sequence[dict], name: str) -> np.ndarray:
    """(n,) float64, NaN where it is None."""
    return np.array([sample[name] for sample in samples], dtype=np.float64)


def finite(value: float) -> float | None:
    """What is no number as None: JSON knows neither NaN nor infinity."""
    return value if np.isfinite(value) else None
