"""The synthetic benchmark, version 1: which scenes train, tune and test (docs/benchmark.md). Frozen."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Split:
    """The first `num_images` scenes of a seed; `unseen`: out of the family of the other splits, see `draw_scene`."""

    seed: int
    num_images: int
    unseen: bool = False


SPLITS = {
    "train": Split(seed=1, num_images=36_000),
    "dev": Split(seed=2, num_images=500),
    "test": Split(seed=4000, num_images=1000),
    "test-unseen": Split(seed=5000, num_images=1000, unseen=True),
}
