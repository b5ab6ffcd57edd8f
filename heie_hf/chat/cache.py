"""What a server answered before, on disk, so that a stopped run goes on and a repeated one costs nothing."""

import json
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Lock

logger = logging.getLogger("heie_hf.chat")


@dataclass(frozen=True)
class CachedAnswer:
    """A server's text and the tokens that it cost."""

    text: str
    prompt_tokens: int
    completion_tokens: int


class AnswerCache:
    """Answers by key, in memory and appended line by line to a JSON-lines file that several runs may share.

    A damaged line (the last one of a run that was killed, garbage) is left out with a warning; the others count.

    Args:
        path: of the file, which need not be there yet; None keeps answers in memory only.

    Raises:
        OSError: if the file is there and cannot be read.
    """

    def __init__(self, path: str | Path | None):
        self.path = None if path is None else Path(path)
        self.lock = Lock()
        self.answers: dict[str, CachedAnswer] = {}
        stored = b""
        if self.path and self.path.exists():
            stored = self.path.read_bytes()
        self.is_torn = not stored.endswith(b"\n") and stored != b""
        self._read(stored.splitlines())

    def get(self, key: str) -> CachedAnswer | None:
        return self.answers.get(key)

    def add(self, key: str, model: str, answer: CachedAnswer) -> None:
        """Written at once, as one line in one call, so that a kill or another process cannot mix lines.

        Raises:
            OSError: if the file cannot be written.
        """
        line = json.dumps({"key": key, "model": model, **asdict(answer)}) + "\n"
        with self.lock:
            self.answers[key] = answer
            if self.path:
                self._append(line.encode())

    def _append(self, line: bytes) -> None:
        if self.is_torn:
            line = b"\n" + line
        self.is_torn = True  # until the whole line is there: a full disk may take half of it
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("ab", buffering=0) as file:
            self.is_torn = file.write(line) < len(line)
        if self.is_torn:
            raise OSError(f"no space for a whole line in {self.path}")

    def _read(self, lines: list[bytes]) -> None:
        damaged = []
        for number, line in enumerate(lines, 1):
            try:
                row = json.loads(line)
                self.answers[str(row["key"])] = _cached_answer(row)
            except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
                if line.strip():
                    damaged.append(number)
        if damaged:
            logger.warning(
                "%s: %d of %d lines are damaged, the first is line %d; their questions are asked again",
                self.path,
                len(damaged),
                len(lines),
                damaged[0],
            )


def _cached_answer(row: dict) -> CachedAnswer:
    # Files of the first versions hold the judge's rating, not its words.
    text = row["text"] if "text" in row else str(int(row["rating"]))
    if not isinstance(text, str):
        raise TypeError("the text is no text")
    return CachedAnswer(text, int(row["prompt_tokens"]), int(row["completion_tokens"]))
