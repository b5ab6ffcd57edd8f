"""Which files weights may come from (a stranger's index can name any), and which weights are in none."""

import os

from torch import nn
from transformers import PreTrainedModel

# Quantised to four bits, two weights share a byte; heads that are still to be trained are in no file.
MAX_WEIGHTS_PER_BYTE = 4
MAX_NEW_WEIGHTS = 2**27


class WholeWeights:
    """Loading for a model of Transformers: from safetensors only, and it is known which weights were in no file."""

    @classmethod
    def from_pretrained(cls, *args, use_safetensors: bool | None = True, output_loading_info: bool = False, **kwargs):
        """As in Transformers, from safetensors only.

        Weights that the checkpoint lacks are newly initialised, with Transformers' usual message, and named in
        `config.untrained_weights` until `train` is called: a pipeline refuses such a model.

        Raises:
            OSError: if there are no safetensors weights.
            ValueError: for `use_safetensors=False`, and for an index that names anything but safetensors beside it.
        """
        if use_safetensors is False:
            raise ValueError("HEIE is loaded from safetensors only: a pickle can run code when it is read")
        model, info = super().from_pretrained(*args, use_safetensors=True, output_loading_info=True, **kwargs)
        model._note_untrained(info["missing_keys"], info["mismatched_keys"])
        return (model, info) if output_loading_info else model

    @staticmethod
    def _load_pretrained_model(model, state_dict, checkpoint_files, load_config, *args, **kwargs):
        """All files of weights come by here, whoever named them: an index, the config, an adapter."""
        index = load_config.sharded_metadata or {}
        check_weight_files(model, checkpoint_files or [], index.get("weight_map", {}))
        return PreTrainedModel._load_pretrained_model(
            model, state_dict, checkpoint_files, load_config, *args, **kwargs
        )

    @staticmethod
    def _finalize_model_loading(model, load_config, loading_info):
        """Below an adapter, too, whose own loading is all that `from_pretrained` tells of."""
        info = PreTrainedModel._finalize_model_loading(model, load_config, loading_info)
        model._note_untrained(info.missing_keys, info.mismatched_keys)
        return info

    def _note_untrained(self, missing_keys, mismatched_keys) -> None:
        names = self._without_tied({*missing_keys, *(self.config.untrained_weights or [])})
        for name, *_ in mismatched_keys:
            names.add(name)
        self.config.untrained_weights = sorted(names) or None

    def _without_tied(self, names: set[str]) -> set[str]:
        """Without those that are another name of a weight that was loaded (an adapter's, for tied embeddings)."""
        weights = dict(self.named_parameters(remove_duplicate=False))
        loaded = {id(weight) for name, weight in weights.items() if name not in names}
        return {name for name in names if id(weights.get(name)) not in loaded}

    def train(self, mode: bool = True):
        if mode:
            self.config.untrained_weights = None
        return super().train(mode)


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
