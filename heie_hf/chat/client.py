"""A client for servers with OpenAI's chat completions: many questions side by side, each answered once.

chat = Chat("my-model", "http://localhost:8000/v1", "answers.jsonl", key_variable="MY_KEY")
content = [{"type": "text", "text": "What looks wrong here?"}, image_part(picture)]
messages = [{"role": "user", "content": content}]
questions = [Question(messages, {"temperature": 0.7}, sample) for sample in range(3)]
answers = chat.ask(questions, parse=str.strip)
"""

import json
import os
import random
import textwrap
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from functools import cached_property
from pathlib import Path
from time import sleep, time
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from huggingface_hub.errors import HTTPError, OfflineModeIsEnabled
from huggingface_hub.utils import get_session
from tqdm import tqdm

from .cache import AnswerCache, CachedAnswer
from .questions import Answer, Question
from .redaction import bare_addresses, redact, redacted_logs

MAX_WAIT = 120.0  # seconds; a server may ask for more by Retry-After, and does not get it
HOPELESS = (401, 402, 403, 404)  # wrong key, no money, wrong address or model: no question would fare better
BUSY = (408, 409, 425, 429)  # and every 5xx
MALFORMED = (400, 422)  # what servers answer to a field that they do not know

Parse = Callable[[str], Any]


class ChatError(RuntimeError):
    """The server cannot be worked with at all: wrong address, key or model, no money, or no answer to anything."""


class _Failure(Exception):
    """One request failed."""

    def __init__(self, reason: str, is_final: bool = False, retry_after: float | None = None):
        super().__init__(reason)
        self.is_final = is_final
        self.retry_after = retry_after


@dataclass
class Chat:
    """Asks several questions at a time and remembers every answer on disk.

    Args:
        model: name of the model, as the server knows it.
        base_url: address of a server with OpenAI's API, with or without "/v1"; by default the Hub's router, whose key
            is a Hub token. User and password in it are sent as basic authentication in place of the key. It is not
            shown anywhere: `server` is.
        cache: JSON-lines file of answers; a run that was stopped goes on from it. None keeps nothing.
        concurrency: requests under way at once.
        timeout: seconds of silence after which a request has failed.
        max_attempts: tries per question. Tried again are lost connections, time-outs, status 408, 409, 425, 429 and
            5xx, and answers that cannot be used: after `backoff` seconds, twice that, and so on (up to half as much
            again, by chance), or what Retry-After asks, never more than `MAX_WAIT`.
        key_variable: environment variable with the key. It is read when a question is asked, kept nowhere, and blotted
            out of every message. No other token is sent, not even the one that is saved for the Hub.

    Raises:
        ValueError: if `base_url` is no http or https address.
    """

    model: str
    base_url: str = field(default="https://router.huggingface.co/v1", repr=False)
    cache: str | Path | None = None
    concurrency: int = 8
    timeout: float = 60.0
    max_attempts: int = 5
    backoff: float = 1.0
    key_variable: str = field(kw_only=True)
    _is_plain: bool = field(default=False, init=False, repr=False)  # the server knows no response_format
    _was_heard: bool = field(default=False, init=False, repr=False)  # the server is alive

    def __post_init__(self):
        _completions_url(self.base_url)

    @property
    def server(self) -> str:
        """`base_url` without user, password and query, fit to be shown."""
        return bare_addresses(self.base_url)

    def ask(self, questions: Sequence[Question], parse: Parse, progress: str | None = "answered") -> list[Answer]:
        """The answers, in the order of the questions; one that cannot be had is an Answer with an error.

        Args:
            parse: turns a text into the answer's value; a ValueError of it means that the text is of no use, and the
                question is asked again. Remembered texts go through it, too.
            progress: beside the progress bar; None shows none.

        Raises:
            ChatError: if the server refuses key or model, its account is empty (429 with "insufficient_quota"), it
                gives no answer at all to the first question, or the cache cannot be read or written.
        """
        cache = self._cache
        answers = [self._remembered(question, parse, cache) for question in questions]
        open_places = [place for place, answer in enumerate(answers) if answer is None]
        if not open_places:
            return answers

        def answer(place: int) -> Answer:
            return self._answer(questions[place], parse, cache)

        with redacted_logs(self._redact):
            if not self._was_heard:
                first = open_places.pop(0)
                answers[first] = answer(first)  # alone: a dead server fails once, not a thousand times
                if not answers[first].was_heard:
                    raise ChatError(f"{self.server}: {answers[first].error}")
                self._was_heard = True
            is_hidden = True if progress is None else None  # None: where there is no terminal
            with ThreadPoolExecutor(self.concurrency) as pool:
                fresh = pool.map(answer, open_places)
                shown = tqdm(fresh, desc=progress, total=len(open_places), unit="question", disable=is_hidden)
                for place, fresh_answer in zip(open_places, shown, strict=True):
                    answers[place] = fresh_answer
        return answers

    @cached_property
    def _cache(self) -> AnswerCache:
        try:
            return AnswerCache(self.cache)
        except OSError as error:
            raise ChatError(f"cannot read {self.cache}: {error.strerror or error}") from error

    def _remembered(self, question: Question, parse: Parse, cache: AnswerCache) -> Answer | None:
        cached = cache.get(question.key_for(self.model))
        if cached is None:
            return None
        try:
            value = parse(cached.text)
        except ValueError:
            return None
        tokens = {"prompt_tokens": cached.prompt_tokens, "completion_tokens": cached.completion_tokens}
        return Answer(value, is_cached=True, **tokens)

    def _answer(self, question: Question, parse: Parse, cache: AnswerCache) -> Answer:
        """Ask until there is an answer that can be used."""
        answer = Answer()
        for attempt in range(1, self.max_attempts + 1):
            try:
                text = self._complete(question, answer)
                answer.value = self._parsed(text, parse)
            except _Failure as failure:
                answer.error = f"{failure} (attempt {attempt} of {self.max_attempts})"
                if failure.is_final:
                    break
                if attempt < self.max_attempts:
                    sleep(self._wait(attempt, failure.retry_after))
            else:
                answer.error = None
                self._remember(question, text, answer, cache)
                break
        return answer

    def _wait(self, attempt: int, retry_after: float | None) -> float:
        """Seconds before the next attempt."""
        doubled = self.backoff * 2 ** (attempt - 1)
        jittered = doubled * random.uniform(1.0, 1.5)  # callers that collided part ways
        return min(retry_after or jittered, MAX_WAIT)

    def _remember(self, question: Question, text: str, answer: Answer, cache: AnswerCache) -> None:
        cached = CachedAnswer(text, answer.prompt_tokens, answer.completion_tokens)
        try:
            cache.add(question.key_for(self.model), self.model, cached)
        except OSError as error:
            raise ChatError(f"cannot write {self.cache}: {error.strerror or error}") from error

    def _parsed(self, text: str, parse: Parse) -> Any:
        try:
            return parse(text)
        except ValueError as error:
            raise _Failure(f"{error} in the answer {self._redact(text)[-80:]!r}") from None

    def _complete(self, question: Question, answer: Answer) -> str:
        """The server's text; where it turns response_format down, that of the question without it."""
        options = dict(question.options)
        if self._is_plain:
            options.pop("response_format", None)
        response = self._post(question.messages, options, answer)
        if response.status_code in MALFORMED and options.pop("response_format", None):
            response = self._post(question.messages, options, answer)
            self._is_plain |= response.is_success
        if not response.is_success:
            raise self._failure(response, answer)
        return self._text(response, answer)

    def _post(self, messages: Sequence[Mapping], options: Mapping, answer: Answer):
        """One request, counted in the answer; the response of the HTTP library that huggingface_hub brings."""
        body = {"model": self.model, "messages": messages, **options}
        headers = {"Content-Type": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        answer.requests += 1
        try:
            return get_session().post(
                _completions_url(self.base_url),
                content=json.dumps(body),  # plain ASCII: halves of surrogate pairs in damaged texts pass
                headers=headers,
                timeout=self.timeout,
            )
        except OfflineModeIsEnabled:
            raise ChatError(f"{self.server} needs the network, but HF_HUB_OFFLINE is set") from None
        except HTTPError as error:  # no connection, or silence
            raise _Failure(self._redact(str(error) or type(error).__name__)) from None

    def _failure(self, response, answer: Answer) -> _Failure:
        """What to do about an HTTP status; raises ChatError where no other question would fare better."""
        status = response.status_code
        answer.was_heard |= status < 429
        reason = f"status {status} {response.reason_phrase}: {self._shortened(response.text)}"
        is_spent = status == 429 and "insufficient_quota" in response.text
        if status in HOPELESS or is_spent:
            raise ChatError(f"{self.server}: {reason} (model {self.model!r}, key from {self.key_variable})")
        if "content_filter" in response.text:
            answer.is_refused = True
            return _Failure(reason, is_final=True)
        is_final = status not in BUSY and status < 500
        return _Failure(reason, is_final, _seconds(response.headers.get("Retry-After")))

    def _text(self, response, answer: Answer) -> str:
        answer.was_heard = True
        try:
            reply = response.json()
            usage = reply.get("usage") or {}
            answer.prompt_tokens += int(usage.get("prompt_tokens") or 0)
            answer.completion_tokens += int(usage.get("completion_tokens") or 0)
            choice = reply["choices"][0]
            message = choice["message"]
            reason_to_stop = choice.get("finish_reason")
            refusal = message.get("refusal")
            text = message.get("content") or ""
        except (ValueError, AttributeError, TypeError, LookupError, OverflowError, RecursionError):
            raise _Failure("the answer is not a chat completion") from None
        if refusal or reason_to_stop == "content_filter":
            answer.is_refused = True
            raise _Failure(f"refused: {self._shortened(str(refusal or text))}", is_final=True)
        if reason_to_stop == "length":
            raise _Failure("the answer was cut off: it needs more tokens than max_tokens allows")
        if not isinstance(text, str):
            raise _Failure("the answer is not a text")
        return text

    @property
    def _key(self) -> str:
        key = os.environ.get(self.key_variable, "").strip()
        if not key.isascii():
            raise ChatError(f"the key in {self.key_variable} has letters that no key has")
        return key

    def _redact(self, text: str) -> str:
        return redact(text, self.base_url, self._key)

    def _shortened(self, text: str) -> str:
        return textwrap.shorten(self._redact(text), 400, placeholder=" ...")


def _completions_url(base_url: str) -> str:
    """The address that questions go to.

    Raises:
        ValueError: if there is no such address; the message does not repeat it, it may hold a password.
    """
    mistake = "the server's address must look like http://HOST:PORT/v1"
    try:
        parts = urlsplit(base_url.strip())
        is_valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        raise ValueError(mistake) from None
    if not is_valid:
        raise ValueError(mistake)
    path = parts.path.rstrip("/")
    if not path.endswith("/chat/completions"):
        version = "" if path.endswith("/v1") else "/v1"
        path = f"{path}{version}/chat/completions"
    return urlunsplit(parts._replace(path=path, fragment=""))


def _seconds(retry_after: str | None) -> float | None:
    """Retry-After as seconds from now; it holds a number or a date."""
    if not retry_after:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(retry_after).timestamp()
    except (ValueError, OverflowError):
        return None
    return max(0.0, moment - time())
