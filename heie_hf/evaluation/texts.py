"""Generated texts beside the reference texts: ROUGE-L, BERTScore and a language model's rating, image by image."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from heie_hf.metrics.judge import RANGE, Judge, JudgeError, JudgeReport
from heie_hf.metrics.text import bert_score, bert_score_layer, rouge_l

from .batches import TextSource
from .data import SECTIONS, EvaluationData, folder_name, reference_text
from .store import EvaluationError


@dataclass
class ComparedTexts:
    """What came out of a comparison.

    Args:
        rows: per sample `rouge_l`, `bert_score` and `judge_rating`, where it has a reference text and they were asked
            for.
        definitions: what the figures mean, by name.
        judge: who rated, how many texts, and what it cost; None without a judge.
        failures: image and reason of the texts that the judge did not rate.
    """

    rows: list[dict]
    definitions: dict[str, str] = field(default_factory=dict)
    judge: dict | None = None
    failures: list[tuple[str, str]] = field(default_factory=list)

    def add(self, name: str, places: Sequence[int], values: Iterable[float | None], definition: str) -> None:
        """Another figure, of the samples at these places."""
        self.definitions[name] = definition
        for place, value in zip(places, values, strict=True):
            self.rows[place][name] = None if value is None else float(value)


@dataclass(frozen=True)
class TextComparison:
    """How generated texts are compared with the reference texts. ROUGE-L is there wherever rouge_score is installed.

    Args:
        bertscore: folder or Hub name of BERTScore's encoder; None leaves BERTScore out.
        judge: rates the texts; None leaves the rating out.
    """

    bertscore: str | None = None
    judge: Judge | None = None

    def check(self, text: TextSource) -> None:
        """To be called before the inference, which may take hours.

        Raises:
            EvaluationError: no text is generated, bert_score is not installed, or there is no such encoder.
        """
        if not (self.bertscore or self.judge):
            return
        if text != "generated":
            raise EvaluationError(f"BERTScore and judge compare generated texts, but the text is to be {text!r}")
        if self.bertscore:
            with self._encoder_errors():
                bert_score_layer(self.bertscore)

    def __call__(self, data: EvaluationData, samples: Sequence[dict]) -> ComparedTexts:
        """Description, regions and analysis of each sample, as one text, against those of its row."""
        rows = data.rows.select_columns(list(SECTIONS))
        found = [reference_text(rows[sample["row"]]) for sample in samples]
        places = [place for place, reference in enumerate(found) if reference]
        pair = [_whole(samples[place]) for place in places], [_whole(found[place]) for place in places]
        compared = ComparedTexts([{} for _ in samples])
        if find_spec("rouge_score"):
            definition = "F1 of the longest common subsequence of words, by rouge_score, without stemming"
            compared.add("rouge_l", places, rouge_l(*pair), definition)
        if self.bertscore:
            with self._encoder_errors():
                layer = bert_score_layer(self.bertscore)
                values = bert_score(*pair, self.bertscore, layer)
            definition = f"F1 by bert_score with layer {layer} of {folder_name(self.bertscore)}, not rescaled"
            compared.add("bert_score", places, values, definition)
        if self.judge:
            self._rate(compared, places, *pair, [samples[place]["key"] for place in places])
        return compared

    @contextmanager
    def _encoder_errors(self) -> Iterator[None]:
        try:
            yield
        except (ImportError, OSError, ValueError) as error:
            raise EvaluationError(f"no BERTScore with {self.bertscore}: {error}") from error

    def _rate(
        self,
        compared: ComparedTexts,
        places: list[int],
        candidates: list[str],
        references: list[str],
        keys: list[str],
    ) -> None:
        """Add the judge's ratings; a judge that cannot work at all is one failure, and the other figures stand."""
        name = folder_name(self.judge.model)
        try:
            report = self.judge.rate(candidates, references)
        except JudgeError as error:
            report = JudgeReport([None] * len(places))
            compared.failures.append((f"judge {name}", str(error)))
        compared.failures += [(keys[number], f"not rated: {reason}") for number, reason in report.failures.items()]
        definition = f"{RANGE[0]} to {RANGE[1]} by {name}, asked with the prompt of heie_hf.metrics.judge"
        compared.add("judge_rating", places, report.ratings, definition)
        compared.judge = {"model": name, "url": self.judge.server, **report.summary}


def _whole(sections: dict[str, str | None]) -> str:
    return "\n".join(sections[name] for name in SECTIONS if sections[name])
