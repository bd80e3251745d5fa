"""Rows by their keys."""

from __future__ import annotations

from contextlib import nullcontext

import pytest

from shared.errors import NotReady
from shared.gateways.keyed_rows import ConditionalUpdate, ExpectedRow, RowUpdate, read_row, update_if
from tests.support.recording_spanner import RecordingSpanner

KEY = {"tenant_id": "ours", "request_id": "r-1"}


def change(**expected: object) -> ConditionalUpdate:
    return ConditionalUpdate("processing_requests", KEY, {"state": "done"}, expected)


def test_a_key_without_its_tenant_reads_nothing() -> None:
    spanner = RecordingSpanner()

    with pytest.raises(ValueError, match="begins with its tenant"):
        read_row(spanner.open, "processing_requests", ["state"], {"request_id": "r-1"}, what="read")

    assert spanner.reads == []


@pytest.mark.parametrize("found", [None, {"state": "failed"}, {"state": None}])
def test_nothing_is_written_where_the_row_is_not_as_expected(found: dict[str, object] | None) -> None:
    spanner = RecordingSpanner(keyed={"processing_requests": found} if found is not None else {})
    also = RowUpdate("processing_requests", KEY, {"stage": "download"})

    assert not update_if(spanner.open, change(state="active"), also=[also], what="end", tag="end")
    assert spanner.mutations == []


def test_null_is_a_value_like_another() -> None:
    spanner = RecordingSpanner(keyed={"processing_requests": {"state": "active", "finished_at": None}})

    assert update_if(spanner.open, change(state="active", finished_at=None), what="end", tag="end")
    ((mutation),) = spanner.mutations
    assert (mutation.verb, mutation.columns) == ("update", ("tenant_id", "request_id", "state"))


@pytest.mark.parametrize(("tag", "holds"), [("new", False), ("old", True)])
def test_another_row_can_be_a_condition_too(tag: str, *, holds: bool) -> None:
    spanner = RecordingSpanner(keyed={"processing_requests": {"state": "active"}, "call_records": {"tag": tag}})
    call = {"tenant_id": "ours", "call_id": "CAL1"}
    only = ExpectedRow("call_records", call, {"tag": "old"}, NotReady("changed", "it has another tag"))

    with nullcontext() if holds else pytest.raises(NotReady, match="another tag"):
        update_if(spanner.open, change(state="active"), only=only, what="end", tag="end")

    assert len(spanner.mutations) == int(holds)
