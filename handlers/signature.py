"""Webhook signatures: CallRail's own scheme, and the one for forwarders and tests (reference: callrail.md §1).

A tenant has exactly one scheme; there is no fall-back from one to the other.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Mapping, Sequence

from schemas.tenant import SignatureScheme

FORWARDER_WINDOW_S = 300
_UNIX_SECONDS = re.compile(r"[0-9]{1,12}")


def callrail_signature(key: str, body: bytes) -> str:
    """Base64 of HMAC-SHA1 over the raw body; the key is the signing key's characters, not decoded hex."""
    return base64.b64encode(hmac.digest(key.encode(), body, "sha1")).decode()


def forwarder_signature(key: str, timestamp: str, body: bytes) -> str:
    """`sha256=<hex>` of HMAC-SHA256 over `<timestamp>.<body>`; the timestamp is in Unix seconds."""
    digest = hmac.new(key.encode(), timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    return f"sha256={digest}"


def is_signed(
    scheme: SignatureScheme, keys: Sequence[str], body: bytes, headers: Mapping[str, str], *, now_s: float
) -> bool:
    """Whether one of the keys signed the body. Every key is tried in constant time; no key and an empty key mean no."""
    keys = [key for key in keys if key]
    if scheme == "callrail":
        given = headers.get("Signature", "")
        return _matches(given, [callrail_signature(key, body) for key in keys])
    timestamp = headers.get("x-timestamp", "")
    if not _UNIX_SECONDS.fullmatch(timestamp) or abs(now_s - int(timestamp)) > FORWARDER_WINDOW_S:
        return False
    given = headers.get("x-callrail-signature", "")
    return _matches(given, [forwarder_signature(key, timestamp, body) for key in keys])


def _matches(given: str, expected: list[str]) -> bool:
    # No early exit: how long it takes must not say which key matched.
    results = [hmac.compare_digest(given.encode(), candidate.encode()) for candidate in expected]
    return any(results)
