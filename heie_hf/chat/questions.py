"""What is asked, and what came of it."""

import base64
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from PIL import Image


@dataclass(frozen=True)
class Question:
    """What is asked.

    Args:
        messages: as OpenAI has them; a content may be a text, or a list of text parts and `image_part`s.
        options: temperature, max_tokens, seed, response_format and so on, sent as they are.
        sample: tells several answers to the same question apart.
        key: what the answer is remembered by; by default it stands for model, messages, options and sample.
    """

    messages: Sequence[Mapping]
    options: Mapping[str, Any] = field(default_factory=dict)
    sample: int = 0
    key: str | None = None

    def key_for(self, model: str) -> str:
        if self.key is not None:
            return self.key
        content = json.dumps([model, self.messages, self.options, self.sample], sort_keys=True)
        return sha256(content.encode()).hexdigest()


@dataclass
class Answer:
    """What came of a question: `value`, or `error` with the reason why there is none.

    Requests and tokens include failed attempts. Tokens are what the server reports, 0 if it reports none; those of a
    cached answer were paid for in an earlier run, and its requests are 0.
    """

    value: Any = None  # what `parse` made of the text
    error: str | None = None
    is_refused: bool = False  # by the server's content filter, or by the model
    is_cached: bool = False
    was_heard: bool = False  # the server gave some answer, be it nonsense
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


def image_part(image: Image.Image) -> dict:
    """A picture as a part of a message's content, as a data URL (PNG): servers need not fetch it."""
    buffer = io.BytesIO()
    image.save(buffer, format="PNG")
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}
