"""What the judge said before, on disk, so that a stopped run goes on and a repeated one costs nothing."""

import json
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from threading import Lock

TOKENS = ("prompt_tokens", "completion_tokens")


class RatingCache:
    """Ratings of one model by prompt, in memory and appended line by line to a file that several runs may share."""

    def __init__(self, model: str, path: str | Path | None):
        self.model, self.path, self.lock = model, path, Lock()
        stored = Path(path).read_text() if path and Path(path).exists() else ""
        self.torn = bool(stored) and not stored.endswith("\n")  # killed while writing: that line is lost
        self.rows = {}
        for line in stored.splitlines():
            try:
                row = json.loads(line)
                self.rows[row["key"]] = {name: int(row[name]) for name in ("rating", *TOKENS)}
            except (ValueError, KeyError, TypeError):
                continue

    def _key(self, prompt: str) -> str:
        return sha256(f"{self.model}\n{prompt}".encode()).hexdigest()

    def __contains__(self, prompt: str) -> bool:
        return self._key(prompt) in self.rows

    def get(self, prompt: str) -> int | None:
        return self.rows[self._key(prompt)]["rating"] if prompt in self else None

    def tokens(self, prompts: Iterable[str]) -> tuple[int, int]:
        """Prompt and completion tokens that the ratings of these prompts cost, in whatever run they were made."""
        rows = [self.rows[self._key(prompt)] for prompt in set(prompts) if prompt in self]
        return tuple(sum(row[name] for row in rows) for name in TOKENS)

    def add(self, prompt: str, rating: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Written at once, as one line in one call, so that a kill or another process cannot mix lines."""
        key = self._key(prompt)
        row = {"rating": rating, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        with self.lock:
            self.rows[key] = row
            if self.path:
                line = ("\n" if self.torn else "") + json.dumps({"key": key, "model": self.model, **row}) + "\n"
                self.torn = False
                with open(self.path, "ab", buffering=0) as file:
                    file.write(line.encode())
