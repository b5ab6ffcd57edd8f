"""Which files weights may come from: a stranger's index can name any."""

import os

from torch import nn

# Quantised to four bits, two weights share a byte; heads that are still to be trained are in no file.
MAX_WEIGHTS_PER_BYTE = 4
MAX_NEW_WEIGHTS = 2**27


def check_weight_files(model: nn.Module, files: list[str], weight_map: dict[str, str]) -> None:
    """Refuse what is no safetensors file of the model's folder, and files that hold far fewer weights than it has.

    Args:
        model: those of its weights that are to be loaded are on the device "meta" still.
        files: paths of all that is to be loaded.
        weight_map: names of weights -> names of files, as model.safetensors.index.json has them; may be empty.

    Raises:
        ValueError: naming the file, or the two sizes.
    """
    for name in weight_map.values():
        if name != os.path.basename(name):
            raise ValueError(f"the index of the weights names {name!r}; they must be files of the same folder")
    for file in files:
        if not file.endswith(".safetensors"):
            raise ValueError(f"weights are loaded from safetensors only, not from {os.path.basename(file)!r}")
    num_bytes = sum(os.path.getsize(file) for file in files)
    num_weights = sum(parameter.numel() for parameter in model.parameters() if parameter.is_meta)
    if files and num_weights > MAX_NEW_WEIGHTS + MAX_WEIGHTS_PER_BYTE * num_bytes:
        raise ValueError(
            f"the config describes {num_weights:,} weights, but their files have only {num_bytes:,} bytes"
        )
