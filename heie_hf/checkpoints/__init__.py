"""The model that comes inside the package: `heie-tiny`, trained on synthetic scenes only."""

from pathlib import Path

DEFAULT_CHECKPOINT = str(Path(__file__).resolve().parent / "heie-tiny")


def default_checkpoint() -> str:
    """Path of the embedded checkpoint.

    Raises:
        FileNotFoundError: if this installation lacks it (a checkout in which `make train-tiny` never ran).
    """
    if not Path(DEFAULT_CHECKPOINT, "config.json").is_file():
        raise FileNotFoundError(
            f"the embedded model is missing ({DEFAULT_CHECKPOINT}); reinstall heie-hf, make it with "
            "`make train-tiny`, or name another model"
        )
    return DEFAULT_CHECKPOINT
