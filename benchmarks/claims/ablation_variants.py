"""What the ablations change, one thing each, and the rows of the tables that they give."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from transformers import set_seed

from benchmarks.claims.short_runs import Parts
from heie_hf import HEIEForImplausibility, HEIEProcessor
from heie_hf.evaluation.report.paper import FUSION, SCORE_SOURCE, TEXT
from heie_hf.modeling.mapper_heie import TwoWayBlock
from heie_hf.training.collator import DEFAULT_TEXT_SOURCE


class LiteralBlock(TwoWayBlock):
    """Eq. 1 as it is printed: no residuals, one norm."""

    def forward(self, tokens, features, positions):
        tokens = self.self_attention(tokens, tokens, tokens)
        tokens = self.token_to_feature(tokens, features + positions, features)  # C_T
        tokens = self.mlp(self.norm_mlp(tokens))  # T'
        features = self.feature_to_token(features + positions, tokens, tokens)  # C_F
        return tokens, self.norm_feature(features)


class PredictingPosition(HEIEForImplausibility):
    """Reads the states that predict the map and score tokens, one position before them."""

    def _select_states(self, states, token_ids, num_patches):
        return super()._select_states(states.roll(1, dims=1), token_ids, num_patches)


def use_literal_equation(model: HEIEForImplausibility) -> None:
    for layer in model.mapper.layers:
        layer.__class__ = LiteralBlock


def use_predicting_position(model: HEIEForImplausibility) -> None:
    model.__class__ = PredictingPosition


@dataclass(frozen=True)
class Variant:
    """One change of the model or of its training.

    Args:
        config: fields of `HEIEConfig`.
        patch: changes the model where no field of the config does.
        text_source: what rows are shown with in training.
        max_patches: of the image processor.
        writes_score: the score is a number at the end of the analysis, learnt and read as text alone.
    """

    config: dict = field(default_factory=dict)
    patch: Callable[[HEIEForImplausibility], None] = lambda model: None
    text_source: dict[str, float] = field(default_factory=lambda: dict(DEFAULT_TEXT_SOURCE))
    max_patches: int | None = None
    writes_score: bool = False


VARIANTS = {
    "heie": Variant(),
    **{f"fusion-{fusion}": Variant({"fusion": fusion}) for fusion in ("global", "local", "fixed", "learned")},
    **{f"score-{source}": Variant({"score_source": source}) for source in ("token", "map")},
    "score-text": Variant(writes_score=True),
    "dynamic": Variant({"calibration": "dynamic"}),
    "one-deviation": Variant({"uncertainty": "map"}),
    "literal-equation": Variant(patch=use_literal_equation),
    "predicting-position": Variant(patch=use_predicting_position),
    "one-patch": Variant(max_patches=1),
    "texts-none": Variant(text_source={"none": 1.0}),
    "texts-reference": Variant(text_source={"reference": 1.0}),
    "texts-generated": Variant(text_source={"reference": 0.36, "none": 0.4, "generated": 0.24}),
}


@dataclass(frozen=True)
class Cell:
    """A row of a table: a variant, what text stands in the chain of thought, and what heatmap the scorer reads."""

    variant: str
    text: str = "none"
    heatmap: str = "predicted"
    printed: tuple[float, ...] = ()  # the paper's row, for the table's figures

    @property
    def name(self) -> str:
        return f"{self.variant}/{self.text}" + ("" if self.heatmap == "predicted" else "-reference-heatmap")


@dataclass(frozen=True)
class Table:
    """`rows`: the last one is what the others are compared with."""

    title: str
    figures: tuple[str, ...]
    rows: dict[str, Cell]


MAIN = ("cc", "auc_judd", "mse", "plcc", "srcc")
TABLES = {
    "fusion": Table(
        "How local and global heatmap become one (the paper's Table 5)",
        tuple(FUSION.columns),
        {
            "global only": Cell("fusion-global", printed=FUSION.rows["global"]),
            "local only": Cell("fusion-local", printed=FUSION.rows["local"]),
            "both, fixed weight": Cell("fusion-fixed", printed=FUSION.rows["fixed"]),
            "both, learned weight": Cell("fusion-learned", printed=FUSION.rows["learned"]),
            "both, by uncertainty (HEIE)": Cell("heie", printed=FUSION.rows["uncertainty"]),
        },
    ),
    "score": Table(
        "What the score is read from (Table 6)",
        tuple(SCORE_SOURCE.columns),
        {
            "a number in the text": Cell("score-text", "generated", printed=SCORE_SOURCE.rows["number in the text"]),
            "the token's state": Cell("score-token", printed=SCORE_SOURCE.rows["token"]),
            "the heatmap": Cell("score-map", printed=SCORE_SOURCE.rows["heatmap"]),
            "both, the states choose the weight": Cell("dynamic"),
            "both and the reference heatmap": Cell(
                "heie", heatmap="reference", printed=SCORE_SOURCE.rows["token and reference heatmap"]
            ),
            "both (HEIE)": Cell("heie", printed=SCORE_SOURCE.rows["token and heatmap"]),
        },
    ),
    "text": Table(
        "The chain of thought (Table 7)",
        tuple(TEXT.columns),
        {
            "trained and used without text": Cell("texts-none"),
            "used without text": Cell("heie", printed=TEXT.rows["none"]),
            "with the reference text": Cell("heie", "reference", printed=TEXT.rows["reference"]),
            "with generated text (HEIE)": Cell("heie", "generated", printed=TEXT.rows["generated"]),
        },
    ),
    "training-text": Table(
        "What text it is shown in training; used with generated text",
        MAIN,
        {
            "reference texts alone": Cell("texts-reference", "generated"),
            "reference, none and generated": Cell("texts-generated", "generated"),
            "reference, none and another image's (HEIE)": Cell("heie", "generated"),
        },
    ),
    "decisions": Table(
        "Where the paper is silent or cannot be taken literally",
        MAIN,
        {
            "Eq. 1 literally, without residuals": Cell("literal-equation"),
            "the states one position before the tokens": Cell("predicting-position"),
            "one deviation per patch": Cell("one-deviation"),
            "one patch and the thumbnail": Cell("one-patch"),
            "HEIE": Cell("heie"),
        },
    ),
}

_NUMBER = re.compile(r"plausibility is (\d+(?:\.\d+)?)")


def write_score(row: dict) -> dict:
    """The row with its score written behind the analysis."""
    return {"analysis": f"{row['analysis']} The plausibility is {row['score']:.2f}."}


def read_score(analysis: str) -> float:
    """The number after `write_score`'s words; 0.5 where the text holds none in [0, 1]."""
    found = _NUMBER.search(analysis)
    number = float(found[1]) if found else 0.5
    return number if number <= 1 else 0.5


def start(variant: Variant, source: str, seed: int) -> Parts:
    """Backbone and processor of a checkpoint, new heads, the vision tower at rest, and the variant's change."""
    pretrained = HEIEForImplausibility.from_pretrained(source)
    config = pretrained.config
    for name, value in variant.config.items():
        setattr(config, name, value)
    if variant.writes_score:
        description, regions, analysis = config.section_max_tokens
        config.section_max_tokens = [description, regions, analysis + 32]
        config.loss_weights["score"] = 0.0
    config._attn_implementation = "eager"  # faster than SDPA's backward pass on a CPU
    set_seed(seed)
    model = HEIEForImplausibility(config)
    model.model.load_state_dict(pretrained.model.state_dict())
    model.lm_head.load_state_dict(pretrained.lm_head.state_dict())
    model.model.vision_tower.requires_grad_(False)
    variant.patch(model)
    processor = HEIEProcessor.from_pretrained(source)
    if variant.max_patches:
        processor.image_processor.min_patches = processor.image_processor.max_patches = variant.max_patches
    return model, processor


def load(variant: Variant, folder) -> HEIEForImplausibility:
    model = HEIEForImplausibility.from_pretrained(folder)
    variant.patch(model)
    return model
