"""One request's spans as a tree for people: when each began, how long it took, what it waited for, how it ended."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

_SHOWN = ("attempt", "outcome", "reason", "vendor", "answer", "published", "kind", "origin")
"""Attributes for the screen, in this order; the ids are in the headline already."""
_GAP_S = 1.0
"""A pause between a span's children that is worth a line."""
_NAME_WIDTH = 34


@dataclass(frozen=True)
class SeenSpan:
    """A span as it was stored. Ids are hexadecimal."""

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    service: str
    begun: datetime
    ended: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)
    error: str = ""

    @property
    def duration_s(self) -> float:
        return (self.ended - self.begun).total_seconds()


def tree_lines(spans: Sequence[SeenSpan]) -> Iterator[str]:
    """The tree of one trace; times are seconds since its first span began. Nothing for no spans.

    A span whose parent nobody stored stands beside the root: the parent may have died before it could be sent.
    """
    if not spans:
        return
    known = {span.span_id for span in spans}
    children: dict[str, list[SeenSpan]] = {}
    for span in sorted(spans, key=lambda one: (one.begun, one.ended)):
        children.setdefault(span.parent_id if span.parent_id in known else "", []).append(span)
    zero = min(span.begun for span in spans)
    yield from _branch(children.get("", []), children, zero=zero, depth=0)


def _branch(
    level: Iterable[SeenSpan], children: Mapping[str, list[SeenSpan]], *, zero: datetime, depth: int
) -> Iterator[str]:
    busy_until: datetime | None = None
    for span in level:
        if busy_until is not None and (gap_s := (span.begun - busy_until).total_seconds()) >= _GAP_S:
            yield f"{'':>9}  {'  ' * depth}… {_seconds(gap_s)} in which nothing ran"
        yield _line(span, zero=zero, depth=depth)
        yield from _branch(children.get(span.span_id, []), children, zero=zero, depth=depth + 1)
        busy_until = max(busy_until, span.ended) if busy_until else span.ended


def _line(span: SeenSpan, *, zero: datetime, depth: int) -> str:
    offset_s = (span.begun - zero).total_seconds()
    name = f"{'  ' * depth}{span.name}"
    facts = [f"{key} {span.attributes[key]}" for key in _SHOWN if span.attributes.get(key)]
    queued = span.attributes.get("queue_s", "")
    if queued:
        facts.insert(0, f"queued {_seconds(float(queued))}")
    mark = f"  ✗ {span.error}" if span.error else ""
    return f"{offset_s:>8.3f}s  {name:<{_NAME_WIDTH}} {_seconds(span.duration_s):>8}  {', '.join(facts)}{mark}".rstrip()


def _seconds(value_s: float) -> str:
    if value_s < 1:
        return f"{value_s * 1000:.0f} ms"
    if value_s < 120:
        return f"{value_s:.1f} s"
    return f"{value_s / 60:.1f} min"
