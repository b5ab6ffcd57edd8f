"""The stages that ask a model, each for many images at once: sensitive filter, free form, format."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from PIL import Image

from heie_hf.chat import Answer, Chat, Question, image_part

from .checks import Formatted, check_format, parse_filter
from .prompts import FILTER, FILTER_SCHEMA, REPAIR, bring_into_form, describe
from .visual_prompt import VisualPrompt

#: Diversity among several texts of one image; one alone is the most likely one.
TEMPERATURE = 0.8
#: The most tokens that an answer may have. Limits of servers reckon with them: no larger than needed.
FILTER_TOKENS, FREE_TOKENS, FORMAT_TOKENS = 60, 700, 500


@dataclass
class Annotation:
    """One text of one image on its way through the stages.

    Args:
        key: id of the image.
        sample: number of the text, from 0.
        visual_prompt: what stage 1 drew.
        free_text: answer of stage 2.
        formatted: answer of stage 3, checked.
        raw_format: that answer as it came.
        sent_back: what did not fit at first and was sent back.
        problem: why there is no text; None while all is well.
    """

    key: str
    sample: int
    visual_prompt: VisualPrompt
    free_text: str | None = None
    formatted: Formatted | None = None
    raw_format: str | None = None
    sent_back: list[str] = field(default_factory=list)
    problem: str | None = None


@dataclass
class Costs:
    """What the servers charged for, failed attempts included.

    Args:
        requests, prompt_tokens, completion_tokens: of this run.
        earlier_prompt_tokens, earlier_completion_tokens: of answers from earlier runs that were used again.
    """

    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    earlier_prompt_tokens: int = 0
    earlier_completion_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Of this run."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def all_tokens(self) -> int:
        return self.tokens + self.earlier_prompt_tokens + self.earlier_completion_tokens

    def add(self, answers: Sequence[Answer]) -> None:
        for answer in answers:
            if answer.is_cached:
                self.earlier_prompt_tokens += answer.prompt_tokens
                self.earlier_completion_tokens += answer.completion_tokens
            else:
                self.requests += answer.requests
                self.prompt_tokens += answer.prompt_tokens
                self.completion_tokens += answer.completion_tokens


@dataclass
class Stages:
    """The two models and what they cost.

    Args:
        vision: looks at pictures (filter and free form).
        text: brings texts into form.
    """

    vision: Chat
    text: Chat
    costs: Costs = field(default_factory=Costs)

    def filter(self, images: Sequence[Image.Image]) -> list[Answer]:
        """The category of each picture, "none" where it is harmless; a refusal counts as "refused"."""
        options = {"temperature": 0.0, "max_tokens": FILTER_TOKENS}
        schema = {"name": "sensitive_filter", "schema": FILTER_SCHEMA, "strict": True}
        options["response_format"] = {"type": "json_schema", "json_schema": schema}
        questions = [Question([_user(FILTER, image)], options) for image in images]
        answers = self.vision.ask(questions, parse_filter, progress=None)
        self.costs.add(answers)
        for answer in answers:
            if answer.is_refused:
                answer.value, answer.error = "refused", None
        return answers

    def write_freely(self, annotations: Sequence[Annotation], num_samples: int) -> None:
        """Stage 2: fills in `free_text`, or `problem`."""
        temperature = TEMPERATURE if num_samples > 1 else 0.0
        options = {"temperature": temperature, "max_tokens": FREE_TOKENS}
        questions = []
        for annotation in annotations:
            drawn = annotation.visual_prompt
            messages = [_user(describe(len(drawn.regions)), drawn.image)]
            questions.append(Question(messages, options, annotation.sample))
        answers = self.vision.ask(questions, _nonempty, progress=None)
        self.costs.add(answers)
        for annotation, answer in zip(annotations, answers, strict=True):
            annotation.free_text = answer.value
            if answer.error:
                annotation.problem = f"free form: {answer.error}"

    def bring_into_form(self, annotations: Sequence[Annotation]) -> None:
        """Stage 3, with one turn to repair what does not fit: fills in `formatted`, or `problem`."""
        conversations = []
        for annotation in annotations:
            ask = bring_into_form(annotation.free_text, len(annotation.visual_prompt.regions))
            conversations.append([{"role": "user", "content": ask}])
        self._format(annotations, conversations)
        flawed, repairs = [], []
        for annotation, messages in zip(annotations, conversations, strict=True):
            if annotation.formatted is None or not annotation.formatted.problems:
                continue
            annotation.sent_back = annotation.formatted.problems
            ask = REPAIR.format(problems="; ".join(annotation.sent_back))
            answered = {"role": "assistant", "content": annotation.raw_format}
            flawed.append(annotation)
            repairs.append([*messages, answered, {"role": "user", "content": ask}])
        self._format(flawed, repairs)
        for annotation in flawed:
            if annotation.formatted and annotation.formatted.problems:
                annotation.problem = f"format: {'; '.join(annotation.formatted.problems)}"

    def _format(self, annotations: Sequence[Annotation], conversations: Sequence[list[dict]]) -> None:
        options = {"temperature": 0.0, "max_tokens": FORMAT_TOKENS}
        questions = []
        for annotation, messages in zip(annotations, conversations, strict=True):
            questions.append(Question(messages, options, annotation.sample))
        answers = self.text.ask(questions, _nonempty, progress=None)
        self.costs.add(answers)
        for annotation, answer in zip(annotations, answers, strict=True):
            annotation.raw_format = answer.value
            annotation.formatted = None
            if answer.error:
                annotation.problem = f"format: {answer.error}"
            else:
                annotation.formatted = check_format(answer.value, len(annotation.visual_prompt.regions))


def _user(text: str, image: Image.Image) -> dict:
    return {"role": "user", "content": [{"type": "text", "text": text}, image_part(image)]}


def _nonempty(text: str) -> str:
    if not text.strip():
        raise ValueError("nothing")
    return text.strip()
