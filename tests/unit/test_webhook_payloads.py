"""CallRail's bodies in our own words: two generations of names, odd types, and which kind a body is."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handlers.webhook_body import FORM_TYPE, read_body
from schemas.calls import CallDetails
from schemas.webhooks import (
    EVENT_KINDS,
    WebhookShapeError,
    company_ids,
    infer_kind,
    kind_of,
    parse_webhook,
    subject_id,
)
from tests.support.tenants import COMPANY
from tests.support.webhooks import (
    CALL,
    CALL_MODIFIED,
    FORM_SUBMISSION,
    GUIDES_TEST,
    LEGACY_POST_CALL,
    MISSED_CALL,
    POST_CALL,
    PRE_CALL,
    RECORDING,
    ROUTING_COMPLETE,
    TEXT_MESSAGE,
    VOICE_ASSIST,
    as_form,
)

STARTED = datetime(2026, 11, 18, 16, 14, 5, tzinfo=UTC)


def through_a_form(payload: dict[str, Any]) -> dict[str, Any]:
    return read_body(as_form(payload), FORM_TYPE)


def parsed(**changes: Any) -> CallDetails:
    return parse_webhook({"resource_id": CALL, **changes})


# -- the call in our own words ------------------------------------------------------------------------


def test_a_post_call_body_is_read_whole() -> None:
    call = parse_webhook(POST_CALL)
    assert call.call_id == CALL
    assert call.company_id == COMPANY
    assert call.direction == "inbound"
    assert call.answered is True
    assert call.voicemail is False
    assert call.call_type == "answered"
    assert call.started_at == STARTED.replace(microsecond=250_000)
    assert call.duration_s == 214
    assert (call.caller_number, call.caller_name) == ("+13035550142", "EXAMPLE CALLER")
    assert (call.tracking_number, call.business_number) == ("+17205550110", "+13035550199")
    assert (call.city, call.state, call.country) == ("Denver", "CO", "US")
    assert call.first_call is True
    assert (call.recording_url, call.recording_duration_s) == (RECORDING, 211)
    assert call.marks.tags == ("new customer",)
    assert call.marketing.source == "Google Ads pool"
    assert call.marketing.gclid == "TEST-GCLID-1"
    assert call.marketing.keywords == "furnace repair near me"


@pytest.mark.parametrize("payload", [POST_CALL, MISSED_CALL, CALL_MODIFIED, PRE_CALL], ids=lambda p: p["call_type"])
def test_the_form_encoded_twin_says_the_same(payload: dict[str, Any]) -> None:
    assert parse_webhook(through_a_form(payload)) == parse_webhook(payload)


def test_the_first_generation_of_names_says_the_same_as_the_second() -> None:
    legacy, modern = parse_webhook(LEGACY_POST_CALL), parse_webhook(POST_CALL)
    assert legacy.call_id == "766970532"
    assert legacy.company_id == "700100200"
    assert legacy.started_at == STARTED
    for name in ("answered", "duration_s", "caller_number", "caller_name", "tracking_number", "business_number"):
        assert getattr(legacy, name) == getattr(modern, name), name
    for name in ("city", "state", "country", "recording_url"):
        assert getattr(legacy, name) == getattr(modern, name), name
    assert legacy.marks.tags == ("new customer",)
    assert legacy.marketing.source == "google_paid"
    assert legacy.marketing.medium == "cpc"
    assert legacy.marketing.landing_page_url == "https://www.example.com/furnace"
    assert legacy.marketing.referring_url == "https://www.google.com/"


def test_mistake_9_a_body_with_a_resource_id_and_no_id_is_a_call() -> None:
    assert parse_webhook({"resource_id": "CAL1"}).call_id == "CAL1"
    assert parse_webhook({"id": 766970532}).call_id == "766970532"
    assert parse_webhook({"call_id": "TEST1"}).call_id == "TEST1"
    assert parse_webhook({"resource_id": "CAL1", "id": 766970532, "call_id": "TEST1"}).call_id == "CAL1"
    assert parse_webhook({"resource_id": "", "id": 766970532}).call_id == "766970532"


def test_the_guides_test_payload_is_a_finished_call() -> None:
    call = parse_webhook(GUIDES_TEST)
    assert (call.call_id, call.company_id, call.duration_s) == ("TEST123456789", COMPANY, 180)
    assert call.caller_number == "+13035550142"
    assert call.recording_url == "https://example.com/test-recording.wav"
    assert call.started_at == datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
    assert kind_of(GUIDES_TEST, None) == "post_call"


@pytest.mark.parametrize(
    ("value", "read"),
    [
        (True, True),
        ("true", True),
        ("True", True),
        (False, False),
        ("false", False),
        ("0", False),
        ("", None),
        (None, None),
    ],
)
def test_mistake_11_booleans_come_as_json_or_as_text(value: Any, read: bool | None) -> None:
    assert parsed(answered=value).answered is read
    assert parsed(voicemail=value).voicemail is bool(read)
    assert parsed(first_call=value).first_call is read


@pytest.mark.parametrize(
    ("value", "read"), [("13", 13), (13, 13), (13.4, 13), ("13.6", 14), ("", None), (None, None), (" 7 ", 7)]
)
def test_numbers_come_as_text_number_or_nothing(value: Any, read: int | None) -> None:
    assert parsed(duration=value).duration_s == read
    assert parsed(recording_duration=value).recording_duration_s == read


def test_an_empty_text_means_not_known() -> None:
    empty = parse_webhook({"resource_id": CALL, **dict.fromkeys(POST_CALL.keys() - {"resource_id"}, "")})
    assert empty == CallDetails(call_id=CALL)


@pytest.mark.parametrize("withheld", ["", "anonymous", "Restricted", "+266696687", "12345", "sip:agent@example.com"])
def test_a_number_that_was_withheld_is_no_number(withheld: str) -> None:
    assert parsed(customer_phone_number=withheld).caller_number == ""


def test_a_number_may_come_as_it_is_dialled() -> None:
    assert parsed(customer_phone_number="303-555-0142").caller_number == "+13035550142"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("start_time", "2026-11-18T09:14:05-07:00"),
        ("start_time", "2026-11-18T16:14:05Z"),
        ("datetime", "2026-11-18 16:14:05"),
        ("timestamp", "2026-11-18T16:14:05.000Z"),
    ],
)
def test_every_way_of_writing_a_time_is_the_same_moment(name: str, text: str) -> None:
    assert parsed(**{name: text}).started_at == STARTED


def test_the_documentations_misspelt_call_type_is_understood() -> None:
    assert parsed(call_type="abandonded").call_type == "abandoned"


def test_an_outbound_call_is_recognised_by_direction_or_type() -> None:
    assert parsed(direction="outbound").direction == "outbound"
    assert parsed(call_type="outbound").direction == "outbound"
    assert parsed(direction="inbound").direction == "inbound"


@pytest.mark.parametrize(
    ("tags", "read"),
    [
        (["a", "b"], ("a", "b")),
        ([{"id": 1, "name": "a"}, {"id": 2}], ("a",)),
        ([None, "", " a "], ("a",)),
        ("a, b,", ("a", "b")),
        ("", ()),
        ({"0": "a"}, ()),
    ],
)
def test_tags_come_as_names_objects_or_one_text(tags: Any, read: tuple[str, ...]) -> None:
    assert parsed(tags=tags).marks.tags == read


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"duration": "three minutes"}, "duration"),
        ({"duration": "-5"}, "duration_s"),
        ({"duration": "1e999"}, "duration"),
        ({"start_time": "yesterday"}, "start_time"),
        ({"start_time": "0001-01-01T00:00:00+14:00"}, "start_time"),
        ({"resource_id": "CAL 1; DROP"}, "call_id"),
        ({"resource_id": "C" * 65}, "call_id"),
    ],
)
def test_an_unreadable_value_is_named_and_not_shown(changes: dict[str, str], field: str) -> None:
    with pytest.raises(WebhookShapeError) as caught:
        parsed(**changes)
    assert field in str(caught.value)
    assert next(iter(changes.values())) not in str(caught.value)


def test_a_body_without_an_id_is_no_call() -> None:
    with pytest.raises(WebhookShapeError, match="no call id"):
        parse_webhook({"duration": "214"})


# -- whose and which ----------------------------------------------------------------------------------


def test_every_company_id_is_found_newest_first_and_once() -> None:
    assert company_ids(POST_CALL) == (COMPANY, "700100200")
    assert company_ids({"company_id": 700100200, "callrail_company_id": "700100200"}) == ("700100200",)
    assert company_ids({"company_id": "", "company_resource_id": None}) == ()


def test_a_body_without_an_id_is_known_by_its_digest() -> None:
    assert subject_id({"a": 1}, body_digest="f" * 64) == "body-" + "f" * 32


# -- kinds --------------------------------------------------------------------------------------------

KINDS = [
    ("post-call", POST_CALL, "post_call"),
    ("missed call", MISSED_CALL, "post_call"),
    ("voicemail", POST_CALL | {"voicemail": True, "call_type": "voicemail", "answered": False}, "post_call"),
    ("outbound", POST_CALL | {"direction": "outbound", "call_type": "outbound"}, "post_call"),
    ("legacy", LEGACY_POST_CALL, "post_call"),
    ("guide", GUIDES_TEST, "post_call"),
    ("pre-call", PRE_CALL, "pre_call"),
    ("routing complete", ROUTING_COMPLETE, "routing_complete"),
    ("call modified", CALL_MODIFIED, "call_modified"),
    ("text message", TEXT_MESSAGE, "text_message"),
    ("form", FORM_SUBMISSION, "form_submission"),
    ("voice assist", VOICE_ASSIST, "unknown"),
    ("empty", {}, "unknown"),
]


@pytest.mark.parametrize(("payload", "kind"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS])
def test_the_kind_is_told_from_the_body_at_the_shared_address(payload: dict[str, Any], kind: str) -> None:
    assert kind_of(payload, None) == kind
    assert infer_kind(through_a_form(payload)) == kind


@pytest.mark.parametrize(("payload", "kind"), [case[1:] for case in KINDS], ids=[case[0] for case in KINDS])
def test_mistake_22_at_the_post_call_address_a_body_is_what_it_is(payload: dict[str, Any], kind: str) -> None:
    """Pre-call placeholders are no missed call, a text message is no call, Voice Assist's notice is no end of one."""
    assert kind_of(payload, "post-call") == kind
    assert kind_of(payload, "outbound-post-call") == kind


def test_a_short_body_at_the_post_call_address_is_a_post_call_when_it_tells_of_an_end() -> None:
    assert kind_of({"resource_id": CALL, "duration": "214"}, "post-call") == "post_call"
    assert kind_of({"resource_id": CALL, "recording": ""}, "post-call") == "post_call"
    assert kind_of({"resource_id": CALL}, "post-call") == "unknown"


@pytest.mark.parametrize(
    ("event_name", "payload", "kind"),
    [
        ("call-modified", CALL_MODIFIED, "call_modified"),
        ("outbound-call-modified", POST_CALL, "call_modified"),
        ("call-modified", VOICE_ASSIST, "unknown"),
        ("call-modified", TEXT_MESSAGE, "text_message"),
        ("pre-call", PRE_CALL, "pre_call"),
        ("pre-call", FORM_SUBMISSION, "form_submission"),
        ("routing-complete", PRE_CALL, "routing_complete"),
        ("text-sent", TEXT_MESSAGE, "text_message"),
        ("form-submitted", {"anything": 1}, "form_submission"),
        ("other", VOICE_ASSIST, "unknown"),
    ],
)
def test_elsewhere_the_address_decides_unless_the_body_is_clearly_another_thing(
    event_name: str, payload: dict[str, Any], kind: str
) -> None:
    assert kind_of(payload, event_name) == kind


# -- anything at all ----------------------------------------------------------------------------------

NAMES = sorted({*POST_CALL, *PRE_CALL, *LEGACY_POST_CALL, *GUIDES_TEST, "changes", "form_data", "content"})
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters())
    | st.datetimes(timezones=st.timezones()).map(str)
    | st.sampled_from(["", "true", "0", "+13035550142", "2026-11-18 16:14:05"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=12), st.sampled_from([None, *EVENT_KINDS]))
def test_whatever_a_body_holds_it_is_read_or_refused_with_one_error(
    payload: dict[str, Any], event_name: str | None
) -> None:
    kind_of(payload, event_name)
    company_ids(payload)
    subject_id(payload, body_digest="f" * 64)
    try:
        call = parse_webhook(payload)
    except WebhookShapeError:
        return
    assert CallDetails.model_validate_json(call.model_dump_json()) == call
