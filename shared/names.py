"""Names derived from the message: object names, request ids. Derivation makes repetition harmless."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from schemas.tenant import TENANT_ID_PATTERN
from shared.errors import InvalidEvent

_SAFE_ID = re.compile(r"^[A-Za-z0-9_.-]{1,64}$")
_TRANSCRIPT_OBJECT = re.compile(r"^transcripts/(?P<tenant>[a-z0-9-]{3,40})/(?P<request>[a-z0-9-]{8,64})/.+$")


def first_request_id(tenant_id: str, call_id: str) -> str:
    """The request that a call's post-call webhook starts, however often the webhook comes."""
    return _digest_id("r", tenant_id, call_id, "post_call")


def side_request_id(tenant_id: str, call_id: str, kind: str, body_digest: str) -> str:
    """The request of any other webhook: one per distinct body, so an exact repeat is recognised."""
    return _digest_id("w", tenant_id, call_id, kind, body_digest)


def late_audio_request_id(tenant_id: str, call_id: str) -> str:
    """The request that a recording starts when it comes after the call went on without one; once for each call."""
    return _digest_id("l", tenant_id, call_id, "late_audio")


def incomplete_request_id(tenant_id: str, request_id: str) -> str:
    """The request that takes an unfinished call to the CRM; one for each request that failed."""
    return _digest_id("i", tenant_id, request_id, "incomplete")


def _digest_id(prefix: str, *parts: str) -> str:
    digest = hashlib.sha256("\x1f".join(parts).encode()).hexdigest()
    return f"{prefix}-{digest[:32]}"


def recording_object(tenant_id: str, call_id: str, extension: str) -> str:
    """`recordings/<tenant>/<call>.<ext>`: one recording per call, whatever the request."""
    return f"recordings/{tenant_id}/{_safe(call_id)}.{extension}"


def transcript_prefix(tenant_id: str, request_id: str) -> str:
    """Where Speech writes its output object for a request; the notification leads back from it."""
    return f"transcripts/{tenant_id}/{request_id}/"


class TranscriptOwner(NamedTuple):
    tenant_id: str
    request_id: str


def owner_of_transcript(object_name: str) -> TranscriptOwner:
    """Whose output object this is. Raises `InvalidEvent` for any other name."""
    match = _TRANSCRIPT_OBJECT.fullmatch(object_name)
    if match is None or not TENANT_ID_PATTERN.fullmatch(match["tenant"]):
        raise InvalidEvent(
            "not_a_transcript_object",
            "the object's name does not follow transcripts/<tenant>/<request>/…",
        )
    return TranscriptOwner(match["tenant"], match["request"])


def _safe(call_id: str) -> str:
    """Call ids come from outside; anything but plain letters is replaced by its digest."""
    if _SAFE_ID.fullmatch(call_id) and ".." not in call_id:
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:40]
