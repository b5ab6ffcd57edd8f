"""The chain of thought as a grammar: what is fixed is forced while decoding, so every answer can be read.

An answer is `literal description literal regions literal analysis literal`: the literals hold the headers, exactly
N + 1 map tokens (global first, then patch by patch), one score token and the end. The free sections belong to the
language model, within a budget of tokens each.
"""

from collections import deque
from collections.abc import Iterable

import torch
from transformers import GenerationConfig, LogitsProcessor

# What of a generation config changes which token is chosen, how long an answer may be, or how it is computed. Whatever
# else Transformers knows (beams, lookup in the prompt, assistants, stop strings ...) steps over the grammar.
ALLOWED_SETTINGS = {
    *("max_length", "max_new_tokens", "min_length", "min_new_tokens"),
    *("do_sample", "temperature", "top_k", "top_p", "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff"),
    *("repetition_penalty", "encoder_repetition_penalty", "no_repeat_ngram_size", "encoder_no_repeat_ngram_size"),
    *(
        "bad_words_ids",
        "sequence_bias",
        "suppress_tokens",
        "begin_suppress_tokens",
        "exponential_decay_length_penalty",
    ),
    *("remove_invalid_values", "renormalize_logits", "watermarking_config"),
    *("use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile"),
    *("continuous_batching_config", "output_attentions", "output_hidden_states", "output_scores", "output_logits"),
    *("return_dict_in_generate", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"),
    # without beams or an assistant, which are refused, these do nothing
    *("early_stopping", "length_penalty", "num_assistant_tokens", "num_assistant_tokens_schedule"),
    *("assistant_confidence_threshold", "assistant_lookbehind", "target_lookbehind", "max_matching_ngram_size"),
}
REFUSED_ARGUMENTS = (
    "stopping_criteria",
    "prefix_allowed_tokens_fn",
    "assistant_model",
    "assistant_tokenizer",
    "tokenizer",
    "custom_generate",
    "negative_prompt_ids",
    "negative_prompt_attention_mask",
)


def check_generation_config(generation_config: GenerationConfig) -> None:
    """Refuse by name what a config asks of decoding that the grammar cannot be kept with, and texts for numbers.

    Raises:
        ValueError: naming the first such setting.
    """
    blank = GenerationConfig()
    neutral = blank._get_default_generation_params()
    for name, value in sorted(vars(generation_config).items()):
        kinds = None
        if name.startswith("output_"):
            kinds = bool | int
        elif isinstance(neutral.get(name), (int, float)):
            kinds = bool | int | float
        if kinds is not None and value is not None and not isinstance(value, kinds):
            raise ValueError(f"{name}={value!r} is not possible: it must be a number, or true or false")
    for name in sorted(vars(blank).keys() - ALLOWED_SETTINGS - {"transformers_version"}):
        value = getattr(generation_config, name, None)
        if name.startswith("_") or value is None or value is False or value == neutral.get(name):
            continue
        raise ValueError(
            f"HEIE writes one chain of thought per image, token by token along its grammar: {name}={value!r} is not "
            "possible"
        )


def check_generation_arguments(names: Iterable[str]) -> None:
    """Refuse arguments of `generate` that the grammar cannot be kept with.

    Raises:
        ValueError: naming the first such argument.
    """
    for name in REFUSED_ARGUMENTS:
        if name in names:
            raise ValueError(f"HEIE writes along its grammar, to its end: {name} is not possible")


def chain_of_thought_literals(config, num_patches: int) -> list[list[int]]:
    """The four runs of token ids around the three free sections, for an image of `num_patches` = N + 1 patches.

    Raises:
        ValueError: if the config knows no chain-of-thought tokens, or fewer local map tokens than patches.
    """
    if config.template_ids is None or config.map_token_id is None:
        raise ValueError(
            "this model's config has no [MAP] and [SCORE] tokens yet; make model and processor with "
            "heie_hf.from_backbone(...), which adds them"
        )
    if not 1 < num_patches <= config.max_patches + 1:
        raise ValueError(f"num_patches must be 2 to max_patches + 1 = {config.max_patches + 1}, not {num_patches}")
    opening, regions_header, map_lead, analysis_header, score_lead, closing = config.template_ids
    eos = config.eos_token_id
    if not isinstance(eos, int):
        eos = eos[0]
    maps = [config.map_token_id, *config.local_map_token_ids[: num_patches - 1]]
    return [
        opening,
        regions_header,
        [*map_lead, *maps, *analysis_header],
        [*score_lead, config.score_token_id, *closing, eos],
    ]


def template_without_text(config, num_patches: int) -> list[int]:
    """The chain of thought with its three sections empty, the input of `assess`."""
    return _joined(chain_of_thought_literals(config, num_patches))


def _joined(literals: list[list[int]]) -> list[int]:
    token_ids = []
    for literal in literals:
        token_ids += literal
    return token_ids


def fit_budgets(budgets: list[int], num_free_tokens: int) -> list[int]:
    """Shrink the sections' budgets in proportion, to at most `num_free_tokens` together and at least 1 each."""
    scale = min(1.0, num_free_tokens / sum(budgets))
    return [max(1, int(budget * scale)) for budget in budgets]


# Two would not do: a line that begins with "Sofa" may begin with the tokens "\n" and "So".
NUM_CLOSING_TOKENS = 3


class ChainOfThoughtRow:
    """Where one row stands in the grammar.

    A section ends when the model has written the first three tokens of the next literal, or when its budget is used
    up; then (the rest of) that literal is forced.
    """

    def __init__(self, literals: list[list[int]], budgets: list[int]):
        self.literals = literals
        self.budgets = budgets
        self.section = 0
        self.forced = deque(literals[0])
        self.written: list[int] = []

    @property
    def next_literal(self) -> list[int]:
        return self.literals[self.section + 1]

    @property
    def done(self) -> bool:
        return not self.forced and self.section == len(self.budgets)

    def advance(self, token: int) -> None:
        """Take note of the token just emitted."""
        if self.done:
            return
        if self.forced:
            self.forced.popleft()
            return
        self.written.append(token)
        closing = self.next_literal[:NUM_CLOSING_TOKENS]
        if self.written[-len(closing) :] == closing:
            self._leave_section(self.next_literal[len(closing) :])
        elif len(self.written) == self.budgets[self.section]:
            self._leave_section(self.next_literal)

    def take_forced(self) -> list[int]:
        """All that is forced now, which counts as emitted."""
        literal = list(self.forced)
        self.forced.clear()
        return literal

    def _leave_section(self, literal: list[int]) -> None:
        self.forced = deque(literal)
        self.section += 1
        self.written = []


class ChainOfThoughtLogitsProcessor(LogitsProcessor):
    """Masks the scores of a batch so that every row follows the grammar, whatever the weights.

    Args:
        config: the model's `HEIEConfig`.
        num_patches: N + 1 per row.
        max_new_tokens: the sections' budgets are shrunk to fit into it; None = `config.section_max_tokens`.

    Raises:
        ValueError: if `max_new_tokens` leaves no room for one token per section.
    """

    def __init__(self, config, num_patches: list[int], max_new_tokens: int | None = None):
        literals = [chain_of_thought_literals(config, count) for count in num_patches]
        num_fixed = max(len(_joined(row)) for row in literals)
        budgets = list(config.section_max_tokens)
        if max_new_tokens is not None:
            if max_new_tokens < num_fixed + len(budgets):
                raise ValueError(
                    f"max_new_tokens={max_new_tokens} cannot hold the chain of thought: its fixed parts take "
                    f"{num_fixed} tokens and each of the {len(budgets)} sections at least one; use assess() for "
                    "heatmap and score without text"
                )
            budgets = fit_budgets(budgets, max_new_tokens - num_fixed)
        self.rows = [ChainOfThoughtRow(row, budgets) for row in literals]
        self.max_new_tokens = num_fixed + sum(budgets)
        self.eos_token_id = literals[0][-1][-1]
        self.special_token_ids = config.special_token_ids or []
        self.num_token_ids = config.num_token_ids
        self.never_written: torch.BoolTensor | None = None  # (vocabulary,), on the device of the scores
        self.gave_nan: torch.BoolTensor | bool = False  # (B,): rows whose text was drawn from numbers that are none
        self.is_told = True  # whether the rows have taken note of the last token; there is none yet

    def __call__(self, input_ids: torch.LongTensor, scores: torch.FloatTensor) -> torch.FloatTensor:
        if not self.is_told:
            for row, token in zip(self.rows, input_ids[:, -1].tolist(), strict=True):
                row.advance(token)
        self.is_told = False
        is_nan = scores.isnan() | (scores == torch.inf)
        self.gave_nan = self.gave_nan | is_nan.any(dim=1)
        scores.masked_fill_(is_nan, 0.0)  # sampling could draw from nothing else
        if self.never_written is None:
            self.never_written = self._mask_of_never_written(scores)
        scores.masked_fill_(self.never_written, -torch.inf)
        for row_scores, row in zip(scores, self.rows, strict=True):
            self._mask_row(row_scores, row)
        return scores

    def _mask_of_never_written(self, scores: torch.FloatTensor) -> torch.BoolTensor:
        mask = torch.zeros(scores.shape[-1], dtype=torch.bool)
        mask[self.special_token_ids] = True
        if self.num_token_ids is not None:
            mask[self.num_token_ids :] = True
        return mask.to(scores.device)

    def _mask_row(self, scores: torch.Tensor, row: ChainOfThoughtRow) -> None:
        if row.forced or row.done:
            only_token = row.forced[0] if row.forced else self.eos_token_id
            scores.fill_(-torch.inf)
            scores[only_token] = 0.0
        elif not row.written:  # no section is empty
            scores[row.next_literal[0]] = -torch.inf


class StateTrace:
    """The last-layer states of all generated tokens, kept while decoding: (B, n, dim) per forward pass, nothing else.

    The state AT a token appears one pass after the token was chosen, when it is fed back.
    """

    def __init__(self):
        self.states: list[torch.Tensor] = []

    def append(self, states: torch.Tensor) -> None:
        self.states.append(states)

    def close_holes(self, mask: torch.LongTensor, length: int) -> None:
        """Keep the first `length` states of each row where `mask` (B, n) is 1; the rest is filled."""
        order = mask.argsort(dim=1, descending=True, stable=True)[:, :length]
        states = torch.cat(self.states, dim=1)
        kept = states.gather(1, order[..., None].expand(-1, -1, states.shape[-1]))
        self.states = [kept]

    def stack(self) -> torch.Tensor:
        """(B, T, dim): the states of the generated tokens, the first one (end of the prompt) left out."""
        return torch.cat(self.states, dim=1)[:, 1:]
