"""The JSON Schema snapshots say what the models say."""

from __future__ import annotations

import json
from pathlib import Path

from schemas.events import EVENT_TYPES
from schemas.snapshots import FOLDER, stale, write


def test_the_committed_snapshots_are_up_to_date() -> None:
    assert stale() == [], "run: python -m schemas.snapshots"


def test_writing_makes_a_folder_up_to_date_and_a_second_time_changes_nothing(tmp_path: Path) -> None:
    assert len(write(tmp_path)) == len(EVENT_TYPES) + 3
    assert write(tmp_path) == []
    assert stale(tmp_path) == []


def test_a_missing_an_edited_and_a_surplus_snapshot_are_stale_and_mended(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "transcript.schema.json").unlink()
    (tmp_path / "call_analysis.schema.json").write_text("{}")
    (tmp_path / "events" / "call_lost.schema.json").write_text("{}")
    names = ["call_analysis.schema.json", "events/call_lost.schema.json", "transcript.schema.json"]
    assert stale(tmp_path) == names
    assert write(tmp_path) == names
    assert stale(tmp_path) == []


def test_every_event_says_that_its_type_and_version_are_always_there() -> None:
    for name in EVENT_TYPES:
        schema = json.loads((FOLDER / "events" / f"{name}.schema.json").read_text(encoding="utf-8"))
        assert {"type", "version", "tenant_id", "request_id", "call_id"} <= set(schema["required"])
        assert schema["properties"]["type"]["const"] == name
