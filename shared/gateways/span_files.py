"""Reads the spans that the local stack's services wrote, a line each (`shared/gateways/telemetry_exports.py`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

from shared.trace_tree import SeenSpan


class SpanFiles:
    """The files of one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def spans_of(self, trace_id: str) -> list[SeenSpan]:
        """Every span of a trace, in no order. A line that a dying process left half is passed over."""
        return [span for document in self._lines(trace_id) if (span := _span_of(document)).trace_id == trace_id]

    def _lines(self, wanted: str) -> Iterator[dict[str, Any]]:
        for path in sorted(self._folder.glob("spans-*.jsonl")):
            with path.open(encoding="utf-8") as lines:
                for line in lines:
                    if wanted not in line:
                        continue
                    try:
                        yield json.loads(line)
                    except ValueError:
                        continue


def _span_of(document: dict[str, Any]) -> SeenSpan:
    status = document["status"]
    failed = status["status_code"] == "ERROR"
    return SeenSpan(
        trace_id=_bare(document["context"]["trace_id"]),
        span_id=_bare(document["context"]["span_id"]),
        parent_id=_bare(document["parent_id"] or ""),
        name=document["name"],
        service=document["resource"]["attributes"].get("service.name", ""),
        begun=datetime.fromisoformat(document["start_time"]),
        ended=datetime.fromisoformat(document["end_time"]),
        attributes={name: str(value) for name, value in document["attributes"].items()},
        error=status.get("description", "error") if failed else "",
    )


def _bare(number: str) -> str:
    return number.removeprefix("0x")
