"""Generated texts beside the reference texts: ROUGE-L, BERTScore and a language model's rating, image by image."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from heie_hf.metrics.judge import RANGE, Judge, JudgeError, JudgeReport
from heie_hf.metrics.text import bert_score, bert_score_layer, rouge_l
from heie_hf.processing.explanation_heie import SECTIONS
from heie_hf.text_sources import TextSource

from .data import EvaluationData, folder_name, reference_text
from .kept_files import EvaluationError
from .samples import finite
from .text_truth import partners


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
            self.rows[place][name] = None if value is None else finite(float(value))


@dataclass
class TextPairs:
    """The samples that have a reference text: their places and keys, what was written, and what was to be."""

    places: list[int] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    candidates: list[str] = field(default_factory=list)
    references: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, data: EvaluationData, samples: Sequence[dict]) -> "TextPairs":
        pairs = cls()
        rows = data.rows.select_columns(list(SECTIONS))
        for place, sample in enumerate(samples):
            reference = reference_text(rows[sample["row"]])
            if reference:
                pairs.places.append(place)
                pairs.keys.append(sample["key"])
                pairs.candidates.append(_as_one(sample))
                pairs.references.append(_as_one(reference))
        return pairs


def _as_one(sections: dict[str, str | None]) -> str:
    """Description, regions and analysis, those that there are, one below the other."""
    texts = [sections[name] for name in SECTIONS]
    return "\n".join(filter(None, texts))


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
        if text != TextSource.GENERATED:
            raise EvaluationError(f"BERTScore and judge compare generated texts, but the text is to be '{text}'")
        if self.bertscore:
            with self._encoder_errors():
                bert_score_layer(self.bertscore)

    def __call__(self, data: EvaluationData, samples: Sequence[dict]) -> ComparedTexts:
        """Description, regions and analysis of each sample, as one text, against those of its row.

        Raises:
            EvaluationError: the encoder cannot be loaded.
        """
        pairs = TextPairs.of(data, samples)
        compared = ComparedTexts([{} for _ in samples])
        if find_spec("rouge_score"):
            values = rouge_l(pairs.candidates, pairs.references)
            definition = "F1 of the longest common subsequence of words, by rouge_score, without stemming"
            compared.add("rouge_l", pairs.places, values, definition)
            if len(pairs.places) > 1:
                self._add_shuffled_rouge_l(compared, pairs)
        if self.bertscore:
            self._add_bert_score(compared, pairs)
        if self.judge:
            self._add_ratings(compared, pairs)
        return compared

    def _add_shuffled_rouge_l(self, compared: ComparedTexts, pairs: TextPairs) -> None:
        candidates = [pairs.candidates[partner] for partner in partners(len(pairs.places))]
        values = rouge_l(candidates, pairs.references)
        compared.add("rouge_l_shuffled", pairs.places, values, "rouge_l of the text of another image")

    def _add_bert_score(self, compared: ComparedTexts, pairs: TextPairs) -> None:
        with self._encoder_errors():
            layer = bert_score_layer(self.bertscore)
            values = bert_score(pairs.candidates, pairs.references, self.bertscore, layer)
        encoder = folder_name(self.bertscore)
        definition = f"F1 by bert_score with layer {layer} of {encoder}, not rescaled"
        compared.add("bert_score", pairs.places, values, definition)

    @contextmanager
    def _encoder_errors(self) -> Iterator[None]:
        try:
            yield
        except (ImportError, OSError, ValueError) as error:
            raise EvaluationError(f"no BERTScore with {self.bertscore}: {error}") from error

    def _add_ratings(self, compared: ComparedTexts, pairs: TextPairs) -> None:
        """A judge that cannot work at all is one failure, and the other figures stand."""
        judge_name = folder_name(self.judge.model)
        try:
            report = self.judge.rate(pairs.candidates, pairs.references)
        except JudgeError as error:
            report = JudgeReport([None] * len(pairs.places))
            compared.failures.append((f"judge {judge_name}", str(error)))
        for number, reason in report.failures.items():
            compared.failures.append((pairs.keys[number], f"not rated: {reason}"))
        low, high = RANGE
        definition = f"{low} to {high} by {judge_name}, asked with the prompt of heie_hf.metrics.judge"
        compared.add("judge_rating", pairs.places, report.ratings, definition)
        compared.judge = {"model": judge_name, "url": self.judge.server, **report.summary}
