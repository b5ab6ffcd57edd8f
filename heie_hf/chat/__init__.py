"""Asks language models behind servers with OpenAI's chat completions: the judge of texts and others."""

from .client import Chat, ChatError
from .questions import Answer, Question, image_part

__all__ = ["Answer", "Chat", "ChatError", "Question", "image_part"]
