"""Every fault that fuzzing has found, as the input that showed it: none of them comes back."""

from __future__ import annotations

import base64
import json

import httpx
import pytest

from handlers.cli.tenant_document import read_document
from handlers.push import BadEnvelope, read_envelope
from schemas.events import CallReceived
from schemas.webhooks import WebhookShapeError, parse_webhook
from shared.answers import LONGEST_PAUSE, consequence_of
from shared.deliveries import parse_event
from shared.errors import ConfigurationError, InvalidEvent, PermanentFailure, TransientFailure
from shared.gateways.http import LONGEST_HINT_S, json_body, retry_after_s
from shared.gateways.push_tokens import PlatformVerifier, PushRejected
from shared.gateways.salesforce_errors import read_problem
from shared.gateways.speech_output import parse_results
from shared.names import owner_of_transcript
from tests.fuzz.incoming import EVENTS
from tests.fuzz.material import NAME
from tests.fuzz.run import TARGETS
from tests.fuzz.target import production_log
from tests.support.ports import NOON

DEEP = b"[" * 5_000 + b"]" * 5_000


def _hint(value: bytes) -> float | None:
    return retry_after_s(httpx.Response(429, headers=[(b"Retry-After", value)]), now=NOON)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"\xb2", None),  # a digit to Python, no number
        (b"9" * 400, LONGEST_HINT_S),
        (b"99999999999999", LONGEST_HINT_S),
        (b"Mon, 23 Nov 2026 12:00:30 -0000", 30.0),  # read without a zone
        (b"Fri, 31 Dec 9999 23:59:59 GMT", LONGEST_HINT_S),
        (b"Mon, 99 Foo 99999", None),
    ],
)
def test_any_retry_after_is_a_time_that_can_be_waited_or_none(value: bytes, seconds: float | None) -> None:
    assert _hint(value) == seconds


@pytest.mark.parametrize("seconds", [float("inf"), 1e30, 315_576_000_000.0])
def test_a_pause_that_leaves_the_calendar_is_a_day(seconds: float) -> None:
    consequence = consequence_of(TransientFailure("throttled", "wait", retry_after_s=seconds), now=NOON)
    assert consequence.row.due_at == NOON + LONGEST_PAUSE


def test_an_answer_nested_beyond_reading_is_no_json() -> None:
    assert json_body(httpx.Response(200, content=DEEP)) is None
    with pytest.raises(PermanentFailure, match="speech_output_unreadable"):
        parse_results(DEEP)
    with pytest.raises(ConfigurationError, match="nested too deeply"):
        read_document(DEEP.decode(), source="file")


def test_a_number_of_thousands_of_digits_is_a_mistake_in_a_tenants_file() -> None:
    with pytest.raises(ConfigurationError, match="thousands of digits"):
        read_document('{"name": ' + "9" * 5_000 + "}", source="file")


@pytest.mark.parametrize("attempt", [[], "2", True, -1, 1.5, 10**40])
def test_an_attempt_that_is_no_count_is_not_known(attempt: object) -> None:
    body = json.dumps({"message": {}, "deliveryAttempt": attempt})
    assert read_envelope(body.encode()).attempt is None


@pytest.mark.parametrize("part", ["attributes", "messageId", "subscription"])
def test_half_a_character_in_an_envelope_is_no_envelope(part: str) -> None:
    """It could neither be stored nor sent on to the dead letters, so it would have come again for ever."""
    message = {"data": "", "attributes": {"a": "\ud800"} if part == "attributes" else {}}
    document = {"message": message, "subscription": "\ud800" if part == "subscription" else "s"}
    if part == "messageId":
        message["messageId"] = "\ud800"
    with pytest.raises(BadEnvelope):
        read_envelope(json.dumps(document).encode())


@pytest.mark.parametrize("value", ['"\\ud800"', "NaN", "-Infinity", "1e999"])
def test_an_event_that_could_not_be_written_again_is_a_dead_letter(value: str) -> None:
    document = EVENTS[0].model_dump_json().encode().replace(b'"214"', value.encode())
    with pytest.raises(InvalidEvent, match="event_not_json"):
        parse_event(document)


def test_an_unknown_fields_name_is_not_repeated() -> None:
    document = json.loads(EVENTS[1].model_dump_json()) | {NAME: 1}
    with pytest.raises(InvalidEvent, match="an unknown field") as refused:
        parse_event(json.dumps(document).encode())
    assert NAME not in str(refused.value)


def test_names_of_a_payload_stay_as_they_were_signed() -> None:
    """Stripped, ` tenant_id` became a second `tenant_id` behind the receiver's back."""
    payload = {"tenant_id": "acme-plumbing", " tenant_id": "other-dental", "a\n": 1}
    event = CallReceived.model_validate({**EVENTS[0].model_dump(), "payload": payload})
    assert event.payload == payload
    assert parse_event(event.model_dump_json().encode()) == event


@pytest.mark.parametrize("claims", [[], "text", {"iss": []}, {"iss": {}}, 7])
def test_claims_of_any_form_are_refused_and_not_a_fault(claims: object) -> None:
    header, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "RS256"}, claims))
    with pytest.raises(PushRejected):
        PlatformVerifier(audience="a", service_account="b").check(f"Bearer {header}.{body}.")


def test_a_token_that_never_ends_is_refused() -> None:
    claims = {
        "iss": "https://accounts.google.com",
        "aud": "a",
        "email": "b",
        "email_verified": True,
        "exp": float("nan"),
    }
    header, body = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "RS256"}, claims))
    with pytest.raises(PushRejected, match="push_token_expired"):
        PlatformVerifier(audience="a", service_account="b").check(f"Bearer {header}.{body}.")


def test_a_folder_that_is_no_tenants_is_nobodys() -> None:
    with pytest.raises(InvalidEvent):
        owner_of_transcript("transcripts/---/r-0123456789abcdef/output.json")


@pytest.mark.parametrize("fields", [5, True, "Rating", {"a": 1}])
def test_salesforces_fields_may_be_anything(fields: object) -> None:
    problem = read_problem([{"errorCode": "INVALID_FIELD", "fields": fields}], {"Rating"})
    assert problem is not None
    assert problem.fields == ()


def test_an_error_code_that_is_none_is_not_repeated() -> None:
    problem = read_problem([{"errorCode": f"{NAME} called"}], ())
    assert problem is not None
    assert problem.code == ""


@pytest.mark.parametrize(
    "values",
    [{"duration": "1e300"}, {"duration": 10**12}, {"start_time": "9999-12-31T23:59:59Z"}, {"start_time": "0001-01-02"}],
)
def test_times_that_no_call_has_are_of_the_wrong_shape(values: dict[str, object]) -> None:
    """A backfill added a duration of 10^12 s to a date, and ended for all calls of the company."""
    with pytest.raises(WebhookShapeError):
        parse_webhook({"resource_id": "CAL1", **values})


def test_properties_that_are_no_objects_do_not_stop_hubspots_onboarding() -> None:
    reply = ("/crm/properties/", 200, ((b"Content-Type", b"application/json"),), b'{"results": [[], 5]}')
    target = next(target for target in TARGETS if target.name == "hubspot_reply")
    with production_log():
        target.try_one((reply,))


def test_describe_may_hold_anything() -> None:
    fields = b'{"name": "Rating", "picklistValues": 5, "length": "x"}, {"picklistValues": [3], "length": 1e999}'
    body = b'{"fields": [' + fields + b"]}"
    target = next(target for target in TARGETS if target.name == "salesforce_reply")
    with production_log():
        target.try_one((("/describe", 200, ((b"Content-Type", b"application/json"),), body),))
