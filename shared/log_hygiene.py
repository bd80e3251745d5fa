"""Keeps personal data and credentials out of log lines and error details: the last look before anything is written.

Our code does not log what people said or are called. This is for what slips in all the same: a vendor's error text that
repeats its input, a library's exception, a careless field. Fields of content are refused by name, whatever looks like a
number, address, card or token is masked, and an exception of somebody else's loses its message and keeps its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, MutableMapping
from typing import Any

REFUSED = "[refused]"
MASKED = "[masked]"
WITHHELD = "[message withheld]"

_CONTENT = re.compile(
    r"(^|_)(transcript|payload|body|text|summary|analysis|turns|prompt|caller|customer|phone|number|name|email|address"
    r"|note|notes|authorization|cookie|token|secret|password|signature|api_key|access_key|credentials|event_data)$",
    re.IGNORECASE,
)
_NO_CONTENT = frozenset({"object_name", "logger_name", "service_name", "claim_token"})
"""Ends like content and is none. Whether a claim's token is known helps nobody: it is good for one row."""
_AS_THEY_ARE = frozenset(
    {
        *("tenant_id", "call_id", "request_id", "message_id", "stage", "worker", "digest", "code", "severity", "level"),
        *("timestamp", "traceparent", "service", "object_name", "until", "due_at", "dead_letter_id", "job_id"),
        *("company_id", "operation", "secret_id", "body_digest"),
        *("logging.googleapis.com/trace", "logging.googleapis.com/spanId"),
    }
)
"""Ids and times: long, full of digits, and needed as they are."""

_MASKS = (
    re.compile(r"(?i)\b(?:bearer|basic)\s+[\w.~+/=-]{8,}"),
    re.compile(r"\beyJ[\w-]{8,}\.[\w-]+(?:\.[\w-]*)?"),  # a JSON Web Token
    re.compile(r"\b(?:pat-[a-z0-9]+-|sk-|AIza|ya29\.)[\w-]{8,}"),
    re.compile(
        r"(?i)\b(?:access_key|api_?key|token|secret|password|signature|sig)[\"']?\s*[=:]\s*[\"']?[^\s\"'&,;]{6,}"
    ),
    re.compile(r"[\w.+%-]+@(?![\w.-]*gserviceaccount\.com)[\w-]+(?:\.[\w-]+)+"),
    # Seven digits and more, in groups or not: numbers to call, cards, accounts. Dates and parts of ids are none.
    re.compile(
        r"(?<![\w/.-])(?!\d{4}-\d\d-\d\d(?!\d))\+?\(?\d(?:[ ().-]{0,2}\d){6,}(?![\w/-]| (?:bytes|characters)\b)"
    ),
)
_FRAME = re.compile(r'^\s*\|?\s{2}File "')
_BETWEEN = ("Traceback (most recent", "During handling of", "The above exception was")
_RAISED = re.compile(r"^(?P<type>[A-Za-z_][\w.]*)(?::.*)?$")


def mask(text: str) -> str:
    """The text without what looks like a telephone number, card, address or credential."""
    for pattern in _MASKS:
        text = pattern.sub(MASKED, text)
    return text


def keep_personal_data_out(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor; must come after exceptions were formatted."""
    for key, value in event.items():
        if key not in _AS_THEY_ARE:
            event[key] = _clean(key, value)
    return event


def without_messages(formatted: str) -> str:
    """A formatted traceback with its frames and types. Messages stay where the type is one of our own errors."""
    kept: list[str] = []
    in_message = False  # whatever a message's lines look like, they end with the next part of the chain
    is_code = False
    for line in formatted.splitlines():
        if line.startswith(_BETWEEN):
            kept.append(line)
            in_message = is_code = False
        elif in_message:
            continue
        elif _FRAME.match(line) or (is_code and line.startswith("    ")):
            kept.append(line)
            is_code = True
        elif raised := _RAISED.match(line):
            kept.append(mask(line) if line.startswith("shared.errors.") else f"{raised['type']}: {WITHHELD}")
            in_message = True
    return "\n".join(kept)


def _clean(key: str, value: Any) -> Any:
    if key == "exception" and isinstance(value, str):
        return without_messages(value)
    if _CONTENT.search(key) and key not in _NO_CONTENT and value not in (None, "", True, False):
        return REFUSED
    if isinstance(value, str):
        return mask(value)
    if isinstance(value, bytes | bytearray):
        return REFUSED
    if isinstance(value, Mapping):
        return {name: item if name in _AS_THEY_ARE else _clean(str(name), item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", item) for item in value]
    if value is None or isinstance(value, bool | int | float):
        return value
    return mask(str(value))
