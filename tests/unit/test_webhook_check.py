"""The receiver's quick look at a call refuses exactly what the workers would: nothing more, nothing less.

`check_webhook` exists because it is cheap. Were it stricter than `parse_webhook`, a good call would be answered 422;
were it laxer, a call would be accepted and become a dead letter.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from handlers.webhook_body import FORM_TYPE, JSON_TYPE, UnreadableBody, read_body
from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.recordings.catalogue import load_catalogue
from schemas.events import CallReceived
from schemas.webhooks import WebhookShapeError, check_webhook, details_of, parse_webhook
from tests.support.ports import NOON
from tests.support.webhooks import (
    CALL_MODIFIED,
    FORM_SUBMISSION,
    GUIDES_TEST,
    LEGACY_POST_CALL,
    MISSED_CALL,
    POST_CALL,
    PRE_CALL,
    ROUTING_COMPLETE,
    TEXT_MESSAGE,
    VOICE_ASSIST,
    as_form,
    as_json,
)

Body = dict[str, Any]

SAMPLES: dict[str, Body] = {
    "post-call": POST_CALL,
    "missed": MISSED_CALL,
    "pre-call": PRE_CALL,
    "routing complete": ROUTING_COMPLETE,
    "call modified": CALL_MODIFIED,
    "legacy": LEGACY_POST_CALL,
    "guide": GUIDES_TEST,
    "text": TEXT_MESSAGE,
    "form": FORM_SUBMISSION,
    "voice assist": VOICE_ASSIST,
    "empty": {},
} | {
    f"demo {sample.script.id}": dict(
        sample.webhook_payload(
            call_id="CAL1", company_id=DEMO_COMPANY_ID, started_at=NOON, recording_url="https://example.com/a.mp3"
        )
    )
    for sample in load_catalogue()
}
NAMES = sorted({name for sample in SAMPLES.values() for name in sample})
TELLING = ["resource_id", "id", "call_id", "duration", "recording_duration", "start_time", "timestamp", "datetime"]
"""What the receiver looks at; spoilt as often as all the rest together."""
TRICKY = [
    *("", " ", "0", "-1", "-0.4", "13.5", "1_000", "1e3", "1e999", "nan", "inf", "three", "٣", "0x10"),
    *("CAL 1", "C" * 64, "C" * 65, "CAL1\n", "CAL:1.2_3-4", "Ünicode", "body-1"),
    *("2026-11-18 16:14:05", "2026-11-18T09:14:05-07:00", "2026-11-18", "20261118T161405Z", "2026-W47-3", "yesterday"),
    *("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-02-30T00:00:00Z", "24:00"),
    *("+13035550142", "anonymous", "true", '["a"]', '{"name": "a"}'),
    *(None, True, False, 0, -5, 13.4, 1e308, 10**30, [], ["a"], [{"name": "a"}], {"name": "a"}),
]
VALUES = st.sampled_from(TRICKY) | st.text() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
BODIES = st.builds(
    lambda sample, changes, without: {
        name: value for name, value in {**sample, **changes}.items() if name not in without
    },
    st.sampled_from(list(SAMPLES.values())),
    st.dictionaries(st.sampled_from(TELLING) | st.sampled_from(NAMES), VALUES, max_size=6),
    st.sets(st.sampled_from(TELLING) | st.sampled_from(NAMES), max_size=3),
)
READERS = {
    "JSON": lambda body: read_body(as_json(body), JSON_TYPE),
    "form": lambda body: read_body(as_form(body), FORM_TYPE),
}


def refusal(look: Callable[[Body], object], body: Body) -> str | None:
    """What is said of the body; None when it is taken. Any other error fails the test."""
    try:
        look(body)
    except WebhookShapeError as error:
        return str(error)
    return None


def workers_refusal(body: Body) -> str | None:
    """What a worker says, which sees the body after its way through the event."""
    event = CallReceived(
        tenant_id="acme-plumbing",
        request_id="r-0123456789abcdef",
        call_id="CAL1",
        kind="post_call",
        received_at=NOON,
        payload=body,
    )
    received = CallReceived.model_validate_json(event.model_dump_json())
    return refusal(lambda _body: details_of(received), body)


@pytest.mark.parametrize("form", READERS)
@pytest.mark.parametrize("name", SAMPLES)
def test_a_sample_body_is_taken_or_refused_by_both(name: str, form: str) -> None:
    body = READERS[form](SAMPLES[name])
    assert refusal(check_webhook, body) == refusal(parse_webhook, body) == workers_refusal(body)


def test_every_sample_of_a_call_is_taken() -> None:
    no_calls = {"form", "empty"}
    taken = {name for name, body in SAMPLES.items() if refusal(check_webhook, body) is None}
    assert taken >= SAMPLES.keys() - no_calls - {"text", "voice assist"}
    assert "empty" not in taken


@settings(suppress_health_check=[HealthCheck.too_slow])  # the machine's other tests are no fault of the strategy
@given(BODIES, st.sampled_from(sorted(READERS)))
def test_any_body_is_taken_or_refused_by_both_with_the_same_words(sample: Body, form: str) -> None:
    body = READERS[form](sample)
    assert refusal(check_webhook, body) == refusal(parse_webhook, body)
    assert refusal(check_webhook, body) == workers_refusal(body)


NUMBERS = st.from_regex(r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,20})?([eE][+-]?[0-9]{1,4})?", fullmatch=True)


@given(st.sampled_from(["resource_id", "id", "duration", "recording_duration", "start_time"]), NUMBERS)
@example("id", "1e999")
@example("duration", "-1e999")
def test_a_number_however_it_is_written_means_the_same_to_both(name: str, number: str) -> None:
    """JSON may write numbers that no float holds: they must not turn into something else on the way."""
    text = json.dumps(LEGACY_POST_CALL | {name: 0}).replace(f'"{name}": 0', f'"{name}": {number}')
    try:
        body = read_body(text.encode(), JSON_TYPE)
    except UnreadableBody:
        return
    assert refusal(check_webhook, body) == refusal(parse_webhook, body) == workers_refusal(body)
