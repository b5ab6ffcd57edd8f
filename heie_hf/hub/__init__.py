"""The Hugging Face Hub: what is published of a model, its card, and the push."""

from .card import CardFacts, render_card
from .push import PushError, push_saved, push_to_hub
from .repository import write_repository

__all__ = ["CardFacts", "PushError", "push_saved", "push_to_hub", "render_card", "write_repository"]
