"""What HubSpot is told of a call, and what its answers mean."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.calls import Marketing
from schemas.crm import CrmSection
from shared.errors import Deferred, PermanentFailure, TenantBlocked, Throttled, TransientFailure
from shared.gateways.caller_names import person_name
from shared.gateways.hubspot_errors import RecordConflict, RecordMissing, failure, item_failure, next_daily_look
from shared.gateways.hubspot_mapping import (
    call_properties,
    caller_key,
    first_properties,
    is_latest,
    latest_properties,
    timestamp,
)
from shared.gateways.hubspot_schema import PROPERTIES, ObjectType
from shared.gateways.hubspot_text import body_html, cut, plain
from tests.support.crm_calls import CALLER, STARTED_AT, call_details, crm_call

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)


# --- the call -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answered", "voicemail", "status"),
    [(True, False, "COMPLETED"), (False, False, "NO_ANSWER"), (True, True, "NO_ANSWER"), (False, True, "NO_ANSWER")],
)
def test_status_follows_who_answered(answered: bool, voicemail: bool, status: str) -> None:
    details = call_details(answered=answered, voicemail=voicemail)

    assert call_properties(crm_call(details=details), now=NOW)["hs_call_status"] == status


def test_nothing_is_claimed_that_callrail_did_not_say() -> None:
    details = call_details(answered=None, duration_s=None, tracking_number="", business_number="")
    properties = call_properties(crm_call(details=details), now=NOW)

    assert not {"hs_call_status", "hs_call_duration", "hs_call_to_number"} & set(properties)


def test_a_call_of_no_length_is_known_to_have_none() -> None:
    assert call_properties(crm_call(details=call_details(duration_s=0)), now=NOW)["hs_call_duration"] == "0"


@pytest.mark.parametrize(
    ("direction", "expected"),
    [("inbound", ("INBOUND", CALLER, "+12025550100")), ("outbound", ("OUTBOUND", "+12025550100", CALLER))],
)
def test_direction_is_the_hubspot_users(direction: str, expected: tuple[str, str, str]) -> None:
    properties = call_properties(crm_call(details=call_details(direction=direction)), now=NOW)

    assert (
        properties["hs_call_direction"],
        properties["hs_call_from_number"],
        properties["hs_call_to_number"],
    ) == expected


def test_all_values_are_strings_and_every_custom_property_is_one_we_prepare() -> None:
    marketing = Marketing(**dict.fromkeys(Marketing.model_fields, "x"))
    call = crm_call(details=call_details(marketing=marketing))
    contact = {**first_properties(call, CALLER), **latest_properties(call)}

    written: dict[ObjectType, dict[str, str]] = {"calls": call_properties(call, now=NOW), "contacts": contact}
    for kind, values in written.items():
        prepared = {spec.name for spec in PROPERTIES[kind] if not spec.unique}
        assert {name for name in values if name.startswith("ext_")} == prepared
        assert all(isinstance(value, str) for value in values.values())


def test_caller_key_depends_on_the_number_alone_and_hides_it() -> None:
    assert caller_key(CALLER) == caller_key(CALLER) != caller_key("+12025550144")
    assert "5550143" not in caller_key(CALLER)


@pytest.mark.parametrize(
    ("noted", "latest"),
    [
        ("", True),
        ("2026-11-20T15:04:05.000Z", True),
        ("2026-11-20T15:04:04.999Z", True),
        ("2026-11-20T15:04:05.001Z", False),
        ("2026-11-20T17:04:05+02:00", True),
        ("rubbish", True),
        ("2026-11-20", True),
    ],
)
def test_only_a_later_call_keeps_this_one_from_being_the_latest(noted: str, latest: bool) -> None:
    assert is_latest(crm_call(), noted) is latest


def test_moments_are_utc_whatever_zone_they_came_in() -> None:
    moment = datetime.fromisoformat("2026-11-20T17:04:05.1234+02:00")

    assert timestamp(moment) == "2026-11-20T15:04:05.123Z"
    assert timestamp(None) == ""


# --- names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "junk",
    [
        "WIRELESS CALLER",
        "Wireless Caller 2",
        "CELL PHONE   WA",
        "Unknown",
        "Toll-Free Call",
        "V11180340400021",
        "2025550143",
        "TACOMA",
        "Tacoma, WA",
        "SEA TAC WA",
        "www.example.com",
        "win@example.com",
        "<>",
        "",
    ],
)
def test_junk_is_no_name(junk: str) -> None:
    assert person_name(junk, city="Tacoma", state="WA") == ("", "")


@pytest.mark.parametrize(
    ("caller_id", "name"),
    [
        ("Dana Example", ("Dana", "Example")),
        ("EXAMPLE,DANA", ("DANA", "EXAMPLE")),
        ("Dana  van  Example", ("Dana van", "Example")),
        ("Example", ("", "Example")),
        ("<b>Dana</b> < Example", ("Dana", "Example")),
        ("Dana\u202e\x00 Example", ("Dana", "Example")),
        ("Yo-Yo Ma", ("Yo-Yo", "Ma")),
    ],
)
def test_names_are_taken_apart(caller_id: str, name: tuple[str, str]) -> None:
    assert person_name(caller_id, city="Boston", state="MA") == name


def test_contact_of_a_nameless_caller_has_a_number_and_no_name() -> None:
    properties = first_properties(crm_call(details=call_details(caller_name="UNKNOWN")), CALLER)

    assert properties["phone"] == CALLER
    assert not {"firstname", "lastname"} & set(properties)


# --- text -----------------------------------------------------------------------------------------


def test_body_escapes_and_keeps_line_breaks() -> None:
    sections = (CrmSection(heading="A & B", lines=("<script>\n'x'", "\x00second")),)

    assert body_html(sections) == ("<p><strong>A &amp; B</strong><br>&lt;script&gt;<br>&#x27;x&#x27;<br>second</p>")


_SECTIONS = st.lists(
    st.builds(
        CrmSection,
        heading=st.text(max_size=30),
        lines=st.lists(st.text(alphabet="a&<\n💧", max_size=80), max_size=4).map(tuple),
    ),
    max_size=4,
)


@settings(deadline=None)  # other processes share the machine
@given(sections=_SECTIONS, limit=st.integers(min_value=18, max_value=400))
def test_body_never_exceeds_its_limit_and_stays_balanced(sections: list[CrmSection], limit: int) -> None:
    body = body_html(sections, limit=limit)

    assert len(body.encode("utf-16-le")) // 2 <= limit
    assert body.count("<p>") == body.count("</p>")
    assert body.count("<strong>") == body.count("</strong>")
    assert body.count("&") == body.count("&amp;") + body.count("&lt;") + body.count("&gt;") + body.count("&#x27;") + (
        body.count("&quot;")
    )


@settings(deadline=None)  # other processes share the machine
@given(text=st.text(alphabet="ab💧", max_size=40), limit=st.integers(min_value=1, max_value=40))
def test_cut_keeps_the_beginning(text: str, limit: int) -> None:
    short = cut(text, limit)

    assert len(short.encode("utf-16-le")) // 2 <= limit
    assert text.startswith(short.removesuffix("…"))
    assert (short == text) == (len(text.encode("utf-16-le")) // 2 <= limit)


def test_plain_text_keeps_line_breaks_only() -> None:
    assert plain("a\r\nb\tc\u202e\x07\ud800 ") == "a\nb c"


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "document", "kind", "wait_s"),
    [
        (429, {"policyName": "SECONDLY"}, Throttled, 1.0),
        (429, {"policyName": "TEN_SECONDLY_ROLLING"}, Throttled, 10.0),
        (429, None, Throttled, 1.0),
        (423, {}, TransientFailure, 2.0),
        (500, "text", TransientFailure, None),
        (302, None, TransientFailure, None),
    ],
)
def test_waits(status: int, document: object, kind: type[TransientFailure], wait_s: float | None) -> None:
    error = failure(status, document, action="search contacts", now=NOW)

    assert type(error) is kind
    assert isinstance(error, TransientFailure)
    assert error.retry_after_s == wait_s


def test_the_vendors_hint_beats_our_table_but_not_the_least_wait_of_a_lock() -> None:
    throttled = failure(429, {"policyName": "SECONDLY"}, action="x", now=NOW, retry_after_s=7)
    locked = failure(423, {}, action="x", now=NOW, retry_after_s=0.5)

    assert isinstance(throttled, TransientFailure)
    assert isinstance(locked, TransientFailure)
    assert (throttled.retry_after_s, locked.retry_after_s) == (7, 2.0)


@settings(deadline=None)  # other processes share the machine
@given(now=st.datetimes(min_value=datetime(2026, 1, 1), max_value=datetime(2030, 1, 1)))  # noqa: DTZ001  # hypothesis wants naive bounds
def test_after_the_daily_quota_we_look_within_hours_and_soon_after_any_midnight(now: datetime) -> None:
    now = now.replace(tzinfo=UTC)
    until = next_daily_look(now)

    assert timedelta(minutes=10) < until - now <= timedelta(hours=4, minutes=10)
    assert (until.hour % 4, until.minute) == (0, 10)


def test_daily_quota_parks_the_call() -> None:
    error = failure(429, {"policyName": "DAILY"}, action="x", now=datetime(2026, 11, 23, 22, 0, tzinfo=UTC))

    assert isinstance(error, Deferred)
    assert error.until == datetime(2026, 11, 24, 0, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        ({"category": "VALIDATION_ERROR"}, PermanentFailure),
        ({"category": "CONFLICT"}, RecordConflict),
        ({"category": "VALIDATION_ERROR", "errors": [{"code": "CONFLICTING_UNIQUE_VALUE"}]}, RecordConflict),
        ({"category": "VALIDATION_ERROR", "errors": [{"code": "PROPERTY_DOESNT_EXIST"}]}, TenantBlocked),
        ({"category": "VALIDATION_ERROR", "message": "ext_call_id is not a unique property"}, TenantBlocked),
        ({"category": "OBJECT_NOT_FOUND"}, RecordMissing),
        ({"category": "MISSING_SCOPES"}, TenantBlocked),
        ({"category": "RATE_LIMITS"}, Throttled),
        ({"category": "SOMETHING_NEW"}, TransientFailure),
        ("not an object", TransientFailure),
    ],
)
def test_items_of_a_batch_are_judged_by_their_category(item: object, kind: type[Exception]) -> None:
    assert type(item_failure(item, action="upsert calls", now=NOW, unique="ext_call_id")) is kind


def test_details_hold_fixed_words_only() -> None:
    document = {
        "message": "Dana Example +12025550143 is not allowed",
        "category": "VALIDATION_ERROR",
        "subCategory": "Dana Example",
        "correlationId": "11aa-22bb",
        "errors": [{"code": "INVALID_OPTION", "context": {"propertyName": ["state"]}, "message": "Dana"}, "Dana", {}],
    }

    detail = failure(400, document, action="update contacts", now=STARTED_AT).detail

    assert detail == (
        "HubSpot answered 400 to update contacts, category VALIDATION_ERROR, correlationId 11aa-22bb, "
        "state INVALID_OPTION"
    )
