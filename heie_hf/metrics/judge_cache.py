"""What the judge said before, on disk, so that a stopped run goes on and a repeated one costs nothing."""

import json
from hashlib import sha256
from pathlib import Path
from threading import Lock


class RatingCache:
    """Ratings of one model by prompt, in memory and appended line by line to a file that several runs may share."""

    def __init__(self, model: str, path: str | Path | None):
        self.model, self.path, self.lock = model, path, Lock()
        stored = Path(path).read_text() if path and Path(path).exists() else ""
        self.torn = bool(stored) and not stored.endswith("\n")  # killed while writing: that line is lost
        self.ratings = {}
        for line in stored.splitlines():
            try:
                row = json.loads(line)
                self.ratings[row["key"]] = row["rating"]
            except (ValueError, KeyError, TypeError):
                continue

    def _key(self, prompt: str) -> str:
        return sha256(f"{self.model}\n{prompt}".encode()).hexdigest()

    def __contains__(self, prompt: str) -> bool:
        return self._key(prompt) in self.ratings

    def get(self, prompt: str) -> int | None:
        return self.ratings.get(self._key(prompt))

    def add(self, prompt: str, rating: int, prompt_tokens: int, completion_tokens: int) -> None:
        """Written at once, as one line in one call, so that a kill or another process cannot mix lines."""
        row = {"key": self._key(prompt), "model": self.model, "rating": rating}
        row |= {"prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
        with self.lock:
            self.ratings[row["key"]] = rating
            if self.path:
                line = ("\n" if self.torn else "") + json.dumps(row) + "\n"
                self.torn = False
                with open(self.path, "ab", buffering=0) as file:
                    file.write(line.encode())
