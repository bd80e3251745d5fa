"""A request's trace: which one it is follows from the request itself, so that nobody has to carry or keep it.

Its ids are digests of tenant and request: a retry, a sweep, a replay and Speech's notification, which brings nothing
but an object's name, all find the trace they belong to (docs/decisions/0012-a-requests-trace-is-derived.md).
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

ATTRIBUTE = "traceparent"
"""The W3C's name, as a message attribute and as an HTTP header."""
_TRACEPARENT = re.compile(r"^00-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-(?P<flags>[0-9a-f]{2})$")
_SAMPLED = 1
_LOWER_HALF = (1 << 64) - 1


class TraceContext(NamedTuple):
    """Where in which trace something happens. Ids are numbers, as OpenTelemetry has them; neither is 0."""

    trace_id: int
    span_id: int
    is_sampled: bool

    @property
    def header(self) -> str:
        """As the W3C writes it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{'01' if self.is_sampled else '00'}"

    def inside(self, span_id: int) -> TraceContext:
        """The same trace within another span."""
        return TraceContext(self.trace_id, span_id, self.is_sampled)


def trace_of_request(tenant_id: str, request_id: str, *, ratio: float = 1.0) -> TraceContext:
    """The trace of a request, at its first span. `ratio` of all requests are sampled, always the same ones."""
    digest = hashlib.sha256(f"trace\x1f{tenant_id}\x1f{request_id}".encode()).digest()
    trace_id = int.from_bytes(digest[:16], "big") or 1
    span_id = int.from_bytes(digest[16:24], "big") or 1
    # OpenTelemetry's TraceIdRatioBased sampler looks at the same half: other programs decide as we do.
    return TraceContext(trace_id, span_id, is_sampled=(trace_id & _LOWER_HALF) < ratio * (_LOWER_HALF + 1))


def read_traceparent(text: str) -> TraceContext | None:
    """None for whatever is no valid `traceparent`."""
    match = _TRACEPARENT.match(text)
    if match is None:
        return None
    trace_id, span_id = int(match["trace"], 16), int(match["span"], 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, is_sampled=bool(int(match["flags"], 16) & _SAMPLED))
