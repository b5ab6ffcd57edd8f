"""Configuration of HEIE: InternVL's, plus the mapper, the fusion and the scorer (arXiv 2411.17261, Figure 2)."""

from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import InternVLConfig
from transformers.configuration_utils import PreTrainedConfig
from transformers.utils import TRANSFORMERS_DYNAMIC_MODULE_NAME

# Far above every model there is. A config from a stranger is refused before anything is made in such sizes.
LIMITS = {
    "max_patches": 1024,
    "image_seq_length": 65_536,
    "image_size": 16_384,
    "section_max_tokens": 65_536,
    "vocab_size": 2**24,
    "hidden_size": 65_536,
    "intermediate_size": 2**20,
    "num_hidden_layers": 1024,
    "num_attention_heads": 1024,
    "num_key_value_heads": 1024,
    "num_experts": 4096,
    "head_dim": 4096,
    "num_queries": 1024,
    "num_channels": 4096,
    "map_size": 4096,
}
MAX_CELLS = 2**28  # heatmap cells of a whole image
MAX_WEIGHTS = 2**38  # of a tower, roughly


@strict
class HEIEMapperConfig(PreTrainedConfig):
    """The adaptive hierarchical implausibility mapper (Eq. 1).

    Args:
        hidden_size: width of the two-way attention blocks.
        num_hidden_layers: stacked blocks; the paper stacks two.
        num_queries: query vectors made from each map token's state. One would give the feature-to-token attention a
            single key, and a softmax over one key is 1 everywhere.
        upsample_factor: cells per vision patch and side; a power of two.
        min_log_deviation: lower bound of log s. Without one, the Laplace loss (Eq. 3) falls for ever on empty maps.
    """

    model_type = "heie_mapper"
    base_config_key = "mapper_config"

    hidden_size: int = 256
    num_hidden_layers: int = 2
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    num_queries: int = 4
    upsample_factor: int = 4
    min_log_deviation: float = -4.6
    layer_norm_eps: float = 1e-6

    def validate_heads(self):
        if self.hidden_size % (4 * self.num_attention_heads):
            raise ValueError(
                f"mapper hidden_size ({self.hidden_size}) must be a multiple of 4 x num_attention_heads "
                f"({self.num_attention_heads})"
            )

    def validate_upsample_factor(self):
        if self.upsample_factor not in (1, 2, 4, 8):
            raise ValueError(f"upsample_factor must be 1, 2, 4 or 8, not {self.upsample_factor}")


@strict
class HEIEScorerConfig(PreTrainedConfig):
    """The verisimilitude scorer: S_token = FFN([SCORE] state), S_map = conv + FFN over the heatmap.

    Args:
        hidden_size: width of both feed-forward networks.
        num_channels: channels of the first convolution over the heatmap; the second has twice as many.
        map_size: side of the square to which the heatmap is pooled before the convolutions.
    """

    model_type = "heie_scorer"
    base_config_key = "scorer_config"

    hidden_size: int = 256
    num_channels: int = 16
    map_size: int = 32


@strict
class HEIEConfig(InternVLConfig):
    """Configuration of [`HEIEForImplausibility`].

    The four ablations of the paper are one field each:

    Args:
        fusion: how local and global heatmap become one (Table 5).
        score_source: what the score is read from (Table 6).
        calibration: S = Calib(S_token, S_map) by a learned weight or one that the states choose.
        uncertainty: one deviation per heatmap cell (Eq. 3) or one per map.
        map_token_id, local_map_token_ids, score_token_id: ids of `[MAP]`, `[MAP_1]`.. and `[SCORE]`; None until the
            tokenizer knows them (`heie_hf.from_backbone` adds them).
        template_ids: ids of the fixed texts of the chain of thought: opening, regions header, map lead, analysis
            header, score lead, closing. What the grammar forces while decoding.
        section_max_tokens: budgets for description, regions and analysis while decoding.
        special_token_ids: ids that may not occur inside the free sections.
        num_token_ids: ids from here on belong to no token, where the vocabulary is padded; never written.
        loss_weights: weights of the four components of `loss`.
        training_data_notice: a sentence for the user about what the weights know; shown once by the pipeline.
        untrained_weights: names of weights that no checkpoint held and that were not trained since. Set by loading and
            cleared by `model.train()`; a pipeline refuses a model that has any.
    """

    model_type = "heie"
    sub_configs_defaults = {
        **InternVLConfig.sub_configs_defaults,
        "mapper_config": HEIEMapperConfig,
        "scorer_config": HEIEScorerConfig,
    }
    # `Trainer` gathers the other outputs of an evaluation; of these, images have differently many, or they are large.
    keys_to_ignore_at_inference = [
        "past_key_values",
        "cache",
        "last_hidden_state",
        "image_hidden_states",
        "image_outputs",
        "heatmap",
        "local_heatmap",
        "global_heatmap",
        "uncertainty",
        "patch_logits",
        "patch_log_deviation",
        "score_states",
    ]

    mapper_config: dict | PreTrainedConfig | None = None
    scorer_config: dict | PreTrainedConfig | None = None
    max_patches: int = 12
    map_token_id: int | None = None
    local_map_token_ids: list[int] | None = None
    score_token_id: int | None = None
    eos_token_id: int | list[int] | None = None
    template_ids: list[list[int]] | None = None
    section_max_tokens: list[int] | tuple[int, ...] = (96, 96, 192)
    special_token_ids: list[int] | None = None
    num_token_ids: int | None = None
    fusion: Literal["uncertainty", "learned", "fixed", "local", "global"] = "uncertainty"
    score_source: Literal["calibrated", "token", "map"] = "calibrated"
    calibration: Literal["weighted", "dynamic"] = "weighted"
    uncertainty: Literal["pixel", "map"] = "pixel"
    focal_gamma: float = 2.0
    loss_weights: dict[str, float] | None = None
    training_data_notice: str | None = None
    untrained_weights: list[str] | None = None

    def __post_init__(self, **kwargs):
        _check_sizes(self)
        self.loss_weights = {"lm": 1.0, "heatmap": 10.0, "laplace": 0.05, "score": 5.0} | (self.loss_weights or {})
        super().__post_init__(**kwargs)

    @classmethod
    def from_dict(cls, config_dict, **kwargs):
        if "llm_config" in config_dict:
            raise ValueError(
                "this is an InternVL checkpoint in the original remote-code layout (config.json has 'llm_config'). "
                "Convert it first: heie convert SOURCE TARGET"
            )
        if not cls.__module__.startswith(TRANSFORMERS_DYNAMIC_MODULE_NAME):
            # Installed: nothing of the repository's own copy of this code is needed, so nothing of it is run.
            remote = ("auto_map", "custom_pipelines")
            config_dict = {name: value for name, value in config_dict.items() if name not in remote}
        if config_dict.get("model_type") == InternVLConfig.model_type:  # a native InternVL becomes HEIE's backbone
            config_dict = {**config_dict, "model_type": cls.model_type}
        return super().from_dict(config_dict, **kwargs)

    def validate_grammar(self):
        if self.template_ids is not None and len(self.template_ids) != 6:
            raise ValueError(f"template_ids must hold 6 runs of token ids, not {len(self.template_ids)}")
        if len(self.section_max_tokens) != 3 or min(self.section_max_tokens) < 1:
            raise ValueError(f"section_max_tokens must be 3 positive budgets, not {self.section_max_tokens}")
        if self.local_map_token_ids is not None and len(self.local_map_token_ids) < self.max_patches:
            raise ValueError(
                f"local_map_token_ids has {len(self.local_map_token_ids)} ids, max_patches is {self.max_patches}"
            )

    def validate_loss_weights(self):
        unknown = set(self.loss_weights) - {"lm", "heatmap", "laplace", "score"}
        if unknown:
            raise ValueError(f"loss_weights has unknown components: {sorted(unknown)}")


def _check_sizes(config: HEIEConfig) -> None:
    """Before the parts are built: they make lists of as many entries as there are layers."""
    parts = (config.vision_config, config.text_config, config.mapper_config, config.scorer_config)
    vision, text, mapper, scorer = (
        {} if part is None else part if isinstance(part, dict) else vars(part) for part in parts
    )
    for fields in (vars(config), vision, text, mapper, scorer):
        sizes = {name: _largest(fields.get(name)) for name in LIMITS}
        for name, size in sizes.items():
            _refuse_above(LIMITS[name], name, size)
        inner = sizes["vocab_size"] + sizes["num_hidden_layers"] * sizes["intermediate_size"]
        _refuse_above(
            MAX_WEIGHTS,
            "hidden_size x (vocab_size + num_hidden_layers x intermediate_size)",
            sizes["hidden_size"] * inner,
        )
    side = _largest(vision.get("image_size")) // (_largest(vision.get("patch_size")) or 1)
    side *= _largest(mapper.get("upsample_factor")) or 1
    _refuse_above(MAX_CELLS, "max_patches x cells of a patch", config.max_patches * side**2)


def _largest(size) -> int:
    """Of a size or a list of sizes; 0 where there is none."""
    sizes = size if isinstance(size, (list, tuple)) else [size]
    return max((size for size in sizes if isinstance(size, int)), default=0)


def _refuse_above(limit: int, name: str, value: int) -> None:
    if value > limit:
        raise ValueError(f"{name} = {value} is absurd; the limit is {limit}")


__all__ = ["HEIEConfig", "HEIEMapperConfig", "HEIEScorerConfig"]
