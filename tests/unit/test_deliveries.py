"""Decoding a delivery: an event that agrees with its attributes, or a reason why not, without values."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import (
    EVENT_TYPES,
    CallAnalyzed,
    CallLeftIncomplete,
    CallReceived,
    CallSynced,
    CallTranscribed,
    Event,
    RecordingStored,
)
from shared.deliveries import KNOWN_VERSION, Delivery, decode_event, parse_event
from shared.errors import InvalidEvent, NotReady
from tests.support.ports import NOON

IDS = {"tenant_id": "acme-plumbing", "request_id": "r-0123456789abcdef", "call_id": "CAL1"}
STORED = RecordingStored(**IDS)
EVENTS = [
    CallReceived(**IDS, kind="post_call", received_at=NOON, payload={"duration": "214", "tags": ["a", None]}),
    STORED,
    CallTranscribed(**IDS),
    CallAnalyzed(**IDS),
    CallLeftIncomplete(**IDS, failed_stage="analyze", received_at=NOON),
    CallSynced(**IDS),
]


def delivery(data: bytes | dict[str, Any], attributes: dict[str, str] | None = None) -> Delivery:
    raw = data if isinstance(data, bytes) else json.dumps(data).encode()
    return Delivery("m-1", raw, STORED.attributes() if attributes is None else attributes, "projects/p/subscriptions/s")


def refusal(data: bytes | dict[str, Any], attributes: dict[str, str] | None = None) -> InvalidEvent:
    with pytest.raises(InvalidEvent) as caught:
        decode_event(delivery(data, attributes))
    return caught.value


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event.type)
def test_every_event_comes_back_as_it_was_sent(event: Event) -> None:
    sent = Delivery("m-1", event.model_dump_json().encode(), event.attributes(), "s")
    assert decode_event(sent) == event


def test_every_type_of_event_is_known_by_its_name() -> None:
    assert {event.type: type(event) for event in EVENTS} == EVENT_TYPES


@pytest.mark.parametrize("data", [b"", b"not json", b"\xff\xfe", b"[]", b'"text"', b"null", b"[" * 100_000])
def test_what_is_no_json_object_is_refused(data: bytes) -> None:
    assert refusal(data).code == "event_not_json"


@pytest.mark.parametrize("kind", ["call_lost", "", None, 7, ["recording_stored"], {"a": 1}])
def test_an_unknown_type_is_refused(kind: Any) -> None:
    assert refusal({**json.loads(STORED.model_dump_json()), "type": kind}).code == "unknown_event_type"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"tenant_id": "Not A Tenant"}, "tenant_id"),
        ({"tenant_id": None}, "tenant_id"),
        ({"request_id": "../../x"}, "request_id"),
        ({"call_id": ""}, "call_id"),
        ({"surplus": 1}, "an unknown field"),
    ],
)
def test_an_event_against_its_schema_is_refused_naming_the_field_and_not_its_value(
    change: dict[str, Any], field: str
) -> None:
    error = refusal({**json.loads(STORED.model_dump_json()), **change})
    assert error.code == "event_against_schema"
    assert field in error.detail
    assert "Not A Tenant" not in str(error)
    assert "Not A Tenant" not in str(error.__cause__), "a traceback would show it"


def test_an_event_of_a_newer_version_is_left_for_a_newer_worker() -> None:
    newer = {**json.loads(STORED.model_dump_json()), "version": KNOWN_VERSION + 1, "surplus": 1}
    with pytest.raises(NotReady):
        decode_event(delivery(newer))


@pytest.mark.parametrize("name", ["type", "version", "tenant_id", "request_id", "call_id"])
def test_an_attribute_that_disagrees_with_the_body_is_refused(name: str) -> None:
    attributes = STORED.attributes() | {name: "other-dental"}
    assert refusal(STORED.model_dump_json().encode(), attributes).code == "attributes_disagree"


def test_a_message_without_the_tenant_in_its_attributes_is_refused() -> None:
    attributes = {name: value for name, value in STORED.attributes().items() if name != "tenant_id"}
    assert refusal(STORED.model_dump_json().encode(), attributes).code == "attributes_disagree"


def test_further_attributes_are_nobodys_business() -> None:
    attributes = STORED.attributes() | {"traceparent": "00-1-2-01", "kind": "post_call"}
    message = delivery(STORED.model_dump_json().encode(), attributes)
    assert decode_event(message) == STORED
    assert message.traceparent == "00-1-2-01"


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
DOCUMENTS = st.fixed_dictionaries(
    {"type": st.sampled_from([*EVENT_TYPES, "else"])},
    optional={
        name: JSON_VALUES | st.just(value)
        for name, value in {**json.loads(EVENTS[0].model_dump_json()), "surplus": 1}.items()
        if name != "type"
    },
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # the machine's affair: four workers share two cores
@given(st.binary(max_size=100) | DOCUMENTS.map(lambda document: json.dumps(document).encode()))
def test_any_message_is_an_event_or_refused_in_our_own_words(data: bytes) -> None:
    try:
        event = parse_event(data)
    except (InvalidEvent, NotReady):
        return
    assert isinstance(event, Event)
