"""What HEIE's paper prints (CVPR 2025, arXiv 2411.17261), for a run's own row to stand beside."""

from dataclasses import dataclass


@dataclass(frozen=True)
class PrintedTable:
    """A table of the paper.

    Args:
        columns: names of figures.
        rows: name and one value per column, None = not printed.
        images: what the figures were measured on; data set and split in the words of `heie evaluate` beside it.
    """

    title: str
    columns: tuple[str, ...]
    rows: dict[str, tuple[float | None, ...]]
    images: str = "RichHF-18K test (955 images)"
    dataset: str = "richhf18k"
    split: str = "test"

    def is_of(self, run: dict) -> bool:
        """Whether a run, by its settings, is on the same images or some of them; only then its row may stand here."""
        published = run.get("root") is not None  # a folder of one's own may have any name, rows in memory have none
        return published and (run["dataset"], run["split"]) == (self.dataset, self.split)


_MAIN = ("mse", "mse_gt0", "kld", "cc", "sim", "auc_judd", "plcc", "srcc")

RICHHF = PrintedTable(
    "Main table (Tables 1, 2)",
    _MAIN,
    {
        "CLIP encoder, tuned": (0.01437, 0.00425, 2.462, 0.251, 0.122, 0.747, 0.390, 0.378),
        "RAHF multi-head": (0.01216, 0.00141, 1.971, 0.425, 0.302, 0.877, 0.666, 0.654),
        "RAHF augmented prompt": (0.00920, 0.00095, 1.652, 0.556, 0.409, 0.913, 0.693, 0.681),
        "HEIE (InternVL2-8B)": (0.00825, 0.00014, 1.634, 0.574, 0.417, 0.915, 0.697, 0.683),
        "open RAHF (github youweiliang/RichHF)": (0.00724, 0.00078, 1.649, 0.525, 0.339, 0.905, 0.739, 0.726),
    },
)

ABHUMAN = PrintedTable(
    "Other data sets (Table 4)",
    _MAIN,
    {"HEIE (InternVL2-8B)": (0.00510, 0.00076, 1.629, 0.684, 0.423, 0.938, None, None)},
    images="AbHuman val",
    dataset="abhuman",
    split="val",
)

#: Table 5. A run with one of these fusions is the row of the same name.
FUSION = PrintedTable(
    "Fusion of local and global heatmap (Table 5)",
    ("mse", "kld", "cc"),
    {
        "global": (0.01071, 1.950, 0.502),
        "local": (0.00980, 1.921, 0.504),
        "fixed": (0.00954, 1.874, 0.511),
        "learned": (0.00873, 1.680, 0.557),
        "uncertainty": (0.00825, 1.634, 0.574),
    },
)

#: What the score is read from; every run gives the first three, `--heatmap reference` the last.
SCORE_SOURCE = PrintedTable(
    "What the score is read from (Tables 6, 7)",
    ("plcc", "srcc"),
    {
        "number in the text": (0.216, 0.197),
        "token": (0.653, 0.640),
        "heatmap": (0.597, 0.575),
        "token and heatmap": (0.697, 0.683),
        "token and reference heatmap": (0.743, 0.710),
    },
)

#: Table 6e. `--text none`, `generated` and `reference` are the rows in this order.
TEXT = PrintedTable(
    "The chain of thought (Table 6e)",
    ("mse", "cc", "plcc"),
    {
        "none": (0.00913, 0.553, 0.669),
        "generated": (0.00825, 0.574, 0.697),
        "reference": (0.00792, 0.580, 0.701),
    },
)
