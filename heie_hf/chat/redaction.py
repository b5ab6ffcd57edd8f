"""Keys and passwords stay out of messages, log lines and files."""

import base64
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import parse_qsl, unquote, urlsplit

# Shorter ones stand in too many words; in an address they are cut out all the same.
MIN_SECRET_LENGTH = 4
# These write the address of every request, the first at INFO, where many programs listen.
NOISY_LOGGERS = ("httpx", "httpx2", "huggingface_hub.utils._http")

_ADDRESS = re.compile(r"(https?://)(?:[^\s/?#]*@)?([^\s?#\"'<>]*)(?:[?#][^\s\"'<>]*)?", re.IGNORECASE)
_IMAGE = re.compile(r"(data:[\w/+.-]+;base64,)[\w+/=-]+")


def bare_addresses(text: str) -> str:
    """The text with its addresses cut to scheme, host, port and path: no user, password, query or fragment."""
    return _ADDRESS.sub(r"\1\2", text)


def redact(text: str, address: str, key: str) -> str:
    """A message as it may be shown: bare addresses, no key, nothing secret of the address, no images."""
    text = bare_addresses(text)
    for secret in _secrets(address, key):
        text = text.replace(secret, "***")
    return _IMAGE.sub(r"\1...", text)


@contextmanager
def redacted_logs(clean: Callable[[str], str]) -> Iterator[None]:
    """What the HTTP libraries log inside the block goes through `clean`."""

    def clean_record(record: logging.LogRecord) -> bool:
        record.msg = clean(record.getMessage())
        record.args = ()
        return True

    for name in NOISY_LOGGERS:
        logging.getLogger(name).addFilter(clean_record)
    try:
        yield
    finally:
        for name in NOISY_LOGGERS:
            logging.getLogger(name).removeFilter(clean_record)


def _secrets(address: str, key: str) -> list[str]:
    """Key, user, password and the query's values, in each form that a server might send back; longest first."""
    parts = urlsplit(address)
    forms = {key}
    for part in (parts.username, parts.password):
        if part:
            forms |= {part, unquote(part)}
    if parts.password:
        login = unquote(f"{parts.username}:{parts.password}")
        forms.add(base64.b64encode(login.encode()).decode())
    for field in parts.query.split("&"):
        name, _, value = field.partition("=")
        forms.add(value or name)
    for _, value in parse_qsl(parts.query):
        forms.add(value)
    secrets = [form for form in forms if len(form) >= MIN_SECRET_LENGTH]
    return sorted(secrets, key=len, reverse=True)
