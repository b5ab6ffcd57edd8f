"""Decoding that jumps over what the grammar forces: a literal goes into the cache as one chunk, not token by token.

Every row writes a section token by token. A row that is through with it waits: the others' steps leave holes in its
cache, which the attention mask hides. When all are through, the next literal goes in for all of them, flush right, so
that every row's next token is read from the last position.
"""

import torch
from torch import nn
from transformers import GenerationConfig
from transformers.generation import GenerateDecoderOnlyOutput, LogitsProcessorList

from .generation_heie import ChainOfThoughtLogitsProcessor, StateTrace

ASKED_FOR_EVERY_TOKEN = (
    "output_scores",
    "output_logits",
    "output_attentions",
    "output_hidden_states",
    "watermarking_config",
)
CACHE_NAMES = ("past_key_values", "cache")  # until Transformers 5.23, from 5.24


def can_jump(config, generation_config: GenerationConfig, batch_size: int, synced_gpus: bool) -> bool:
    """Whether jumping gives what Transformers' own loop does.

    It does not where something is asked for every single token, where processes must take equally many steps, or where
    holes would move the rows of a batch within a sliding window.
    """
    if synced_gpus:
        return False
    for name in ASKED_FOR_EVERY_TOKEN:
        setting = getattr(generation_config, name)
        if setting is not None and setting is not False:  # the layer 0 is asked for as a number
            return False
    has_window = getattr(config.text_config, "sliding_window", None) is not None
    return batch_size == 1 or not has_window


class FedTokens:
    """What the model was fed: `ids`, `mask` and `positions`, each (B, L); the mask is None where nothing is hidden."""

    def __init__(
        self, ids: torch.LongTensor, mask: torch.LongTensor | None, positions: torch.LongTensor, pad_token_id: int
    ):
        batch_size = len(ids)
        positions = positions.expand(batch_size, -1)
        if mask is None and batch_size > 1:
            mask = torch.ones_like(positions)
        self.ids = ids
        self.mask = mask
        self.positions = positions
        self.pad_token_id = pad_token_id

    def append(self, chunks: list[list[int]]) -> int:
        """Add a chunk to every row, flush right; holes have the position of the token before. Returns the width."""
        width = max(len(chunk) for chunk in chunks)
        id_rows, mask_rows = [], []
        for chunk in chunks:
            num_holes = width - len(chunk)
            id_rows.append([self.pad_token_id] * num_holes + chunk)
            mask_rows.append([0] * num_holes + [1] * len(chunk))
        new_ids = torch.tensor(id_rows, device=self.ids.device)
        new_mask = torch.tensor(mask_rows, device=self.ids.device)
        new_positions = self.positions[:, -1:] + new_mask.cumsum(dim=1)
        self.ids = torch.cat([self.ids, new_ids], dim=1)
        self.positions = torch.cat([self.positions, new_positions], dim=1)
        if self.mask is not None:
            self.mask = torch.cat([self.mask, new_mask], dim=1)
        return width

    def flush_right(self) -> torch.LongTensor:
        """(B, L) ids as if there were no holes: padding on the left, then what each row has."""
        if self.mask is None:
            return self.ids
        mask = self.mask[:, -self.ids.shape[1] :]  # a cache from before has a mask, but no ids
        order = mask.argsort(dim=1, stable=True)
        return self.ids.gather(1, order)


class JumpingDecoder:
    """One call of `generate` for a batch of B rows.

    Args:
        model: an `HEIEForImplausibility`.
        input_ids: (B, L) the prompts, padded on the left.
        logits_processor: all processors of the call, the grammar among them. They are asked where there is a choice.
        generation_config: as `generate` prepared it.
        streamer: gets the tokens (B,) one by one, as soon as every row has its own.
        model_kwargs: as `generate` prepared them.
    """

    def __init__(
        self,
        model,
        input_ids: torch.LongTensor,
        logits_processor: LogitsProcessorList,
        generation_config: GenerationConfig,
        streamer,
        model_kwargs: dict,
    ):
        self.model = model
        self.logits_processor = logits_processor
        self.generation_config = generation_config
        self.streamer = streamer
        self.num_streamed = 0
        self.trace: StateTrace = model_kwargs["state_trace"]
        self.pad_token_id = generation_config._pad_token_tensor.item()
        mask, positions = model_kwargs.get("attention_mask"), model_kwargs["position_ids"]
        self.fed = FedTokens(input_ids, mask, positions, self.pad_token_id)
        self.prompt_length = input_ids.shape[1]
        self.step_kwargs = {**model_kwargs}
        for name in ("attention_mask", "position_ids", "state_trace"):
            self.step_kwargs.pop(name, None)
        for processor in logits_processor:
            if isinstance(processor, ChainOfThoughtLogitsProcessor):
                self.grammar = processor
        self.rows = self.grammar.rows
        self.answers: list[list[int]] = []
        self.pending: list[list[int]] = []  # decided, but not fed yet

    def run(self) -> GenerateDecoderOnlyOutput | torch.LongTensor:
        compiled = self.model._valid_auto_compile_criteria(self.step_kwargs, self.generation_config)
        self.step = self.model.get_compiled_call(self.generation_config.compile_config) if compiled else self.model
        for grammar_row in self.rows:
            opening = grammar_row.take_forced()
            self.answers.append(opening)
            self.pending.append([*opening])
        with self.model._optimize_model_for_decode():
            while not self.rows[0].done:  # they leave a section together
                self._write_section()
            for tokens in self.pending:
                tokens.pop()  # nothing is read at the end token
            self._feed(self.pending)
        if self.streamer is not None:
            self.streamer.end()
        return self._outputs()

    def _write_section(self) -> None:
        """Feed the literal before it, then choose token by token until every row is through."""
        self._stream()
        logits = self._feed(self.pending)
        writing = set(range(len(self.rows)))
        while True:
            tokens = self._choose(logits)
            for row in sorted(writing):
                place = self.rows[row]
                section = place.section
                place.advance(tokens[row])
                self.pending[row] = [tokens[row], *place.take_forced()]
                self.answers[row] += self.pending[row]
                if place.section > section:  # by a header of up to three tokens nothing is left to force
                    writing.remove(row)
            self._stream()
            if not writing:
                return
            chunks: list[list[int]] = [[]] * len(self.rows)
            for row in writing:
                chunks[row] = self.pending[row]
            logits = self._feed(chunks)

    def _feed(self, chunks: list[list[int]]) -> torch.Tensor:
        """Logits (B, vocabulary) after the last token of each row. The first chunks go in with the prompts."""
        is_first = self.fed.ids.shape[1] == self.prompt_length
        width = self.fed.append(chunks)
        inputs = self.model.prepare_inputs_for_generation(
            self.fed.ids,
            next_sequence_length=self._num_new_tokens(width, is_first),
            attention_mask=self.fed.mask,
            position_ids=self.fed.positions,
            is_first_iteration=is_first,
            **self.step_kwargs,
        )
        forward = self.step if width == 1 else self.model  # compiled for one shape
        outputs = forward(**inputs, return_dict=True)
        num_traced = width + 1 if is_first else width  # the end of the prompt, too
        self.trace.append(outputs.last_hidden_state[:, -num_traced:])
        return outputs.logits[:, -1]

    def _num_new_tokens(self, width: int, is_first: bool) -> int | None:
        """How many ids at the end the cache does not hold; None for all that there are."""
        if not self.step_kwargs["use_cache"]:
            return None
        if not is_first:
            return width
        num_ids, num_positions = self.fed.ids.shape[1], self.fed.positions.shape[1]
        if num_ids < num_positions:  # whoever filled the cache left its ids out
            return None
        (cache,) = self._cache().values()
        return num_ids - cache.get_seq_length()

    def _cache(self) -> dict:
        """By its name in this Transformers; empty if there is none."""
        cache = {}
        for name in CACHE_NAMES:
            if name in self.step_kwargs:
                cache[name] = self.step_kwargs[name]
        return cache

    def _choose(self, logits: torch.Tensor) -> list[int]:
        """A token for every row; what a waiting row gets counts for nothing."""
        ids = self.fed.flush_right()
        scores = logits.to(copy=True, dtype=torch.float32, device=ids.device)
        self.grammar.is_told = True
        for processor in self.logits_processor:  # the list's own call inspects each one's signature, token by token
            scores = processor(ids, scores)
        if not self.generation_config.do_sample:
            return scores.argmax(dim=-1).tolist()
        probabilities = scores.softmax(dim=-1)
        return torch.multinomial(probabilities, num_samples=1).squeeze(1).tolist()

    def _stream(self) -> None:
        """Pass on what every row has decided; a row that has ended has padding."""
        if self.streamer is None:
            return
        sequences = self._padded_answers()
        end = sequences.shape[1]
        for answer, row in zip(self.answers, self.rows, strict=True):
            if not row.done:
                end = min(end, len(answer))
        for column in range(self.num_streamed, end):
            self.streamer.put(sequences[:, column])
        self.num_streamed = end

    def _padded_answers(self) -> torch.LongTensor:
        """(B, T) on the CPU."""
        answers = [torch.tensor(answer) for answer in self.answers]
        return nn.utils.rnn.pad_sequence(answers, batch_first=True, padding_value=self.pad_token_id)

    def _outputs(self) -> GenerateDecoderOnlyOutput | torch.LongTensor:
        prompts = self.fed.ids[:, : self.prompt_length]
        answers = self._padded_answers().to(prompts.device)
        sequences = torch.cat([prompts, answers], dim=1)
        if not self.generation_config.return_dict_in_generate:
            return sequences
        if self.fed.mask is not None:
            num_traced = self.fed.ids.shape[1] - self.prompt_length + 1  # from the end of the prompt
            self.trace.close_holes(self.fed.mask[:, -num_traced:], answers.shape[1])
        return GenerateDecoderOnlyOutput(sequences=sequences, **self._cache())
