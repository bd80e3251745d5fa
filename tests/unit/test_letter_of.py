"""What the dead-letter recorder keeps of a message: the runner's own, Pub/Sub's, and those nobody can read."""

from __future__ import annotations

from dataclasses import replace

import pytest

from schemas.events import CallReceived, RecordingStored
from shared.dead_letters import UNASSIGNED_TENANT, GivenUp, dead_letter_attributes, source_of
from shared.deliveries import Delivery
from shared.desk_letters import letter_of
from shared.errors import TenantBlocked
from shared.pipeline import load_pipeline
from tests.support.ports import NOON

PIPELINE = load_pipeline()
SUBSCRIPTION = "projects/test/subscriptions/transcribe-recording-stored"
EVENT = RecordingStored(tenant_id="acme-plumbing", request_id="r-0123456789abcdef", call_id="CAL1")
DATA = EVENT.model_dump_json().encode()
ORIGINAL = Delivery("m-1", DATA, {**EVENT.attributes(), "traceparent": "00-1-2-01"}, SUBSCRIPTION, attempt=1)
BLOCKED = GivenUp.because(
    TenantBlocked("token_refused", "HubSpot said 401", fix="give a new token"), stage="transcribe", attempts=3
)


def from_the_runner(given_up: GivenUp = BLOCKED, original: Delivery = ORIGINAL) -> Delivery:
    return Delivery("m-2", original.data, dead_letter_attributes(original, given_up), "dead-letter-dead-letters")


def from_pubsub(data: bytes = DATA, **changes: str) -> Delivery:
    """As the subscription's own dead-letter policy forwards it (attributes measured on the emulator)."""
    attributes = {
        **ORIGINAL.attributes,
        "CloudPubSubDeadLetterSourceDeliveryCount": "20",
        "CloudPubSubDeadLetterSourceSubscription": "transcribe-recording-stored",
        "CloudPubSubDeadLetterSourceSubscriptionProject": "test",
        "CloudPubSubDeadLetterSourceTopicPublishTime": "2026-11-23T12:00:00.000+00:00",
        **changes,
    }
    return Delivery("m-3", data, attributes, "dead-letter-dead-letters")


def test_the_runners_letter_says_what_happened_and_what_to_do() -> None:
    letter = letter_of(from_the_runner(), PIPELINE)
    assert (letter.tenant_id, letter.request_id, letter.call_id) == ("acme-plumbing", EVENT.request_id, "CAL1")
    assert (letter.stage, letter.attempts, letter.topic) == ("transcribe", 3, "recording-stored")
    assert (letter.reason, letter.detail, letter.fix) == ("token_refused", "HubSpot said 401", "give a new token")
    assert letter.event.encode() == DATA
    assert letter.attributes["traceparent"] == "00-1-2-01"


def test_pubsubs_letter_says_which_stage_ran_out_of_attempts() -> None:
    letter = letter_of(from_pubsub(), PIPELINE)
    assert (letter.tenant_id, letter.stage, letter.attempts) == ("acme-plumbing", "transcribe", 20)
    assert (letter.reason, letter.topic) == ("attempts_exhausted", "recording-stored")


def test_who_gave_up_can_be_told() -> None:
    assert source_of(from_the_runner().attributes) == "runner"
    assert source_of(from_pubsub().attributes) == "pubsub"


def test_the_same_failure_is_one_letter_and_another_stage_or_request_is_another() -> None:
    one = letter_of(from_the_runner(), PIPELINE).dead_letter_id
    assert letter_of(from_pubsub(), PIPELINE).dead_letter_id == one
    assert letter_of(from_the_runner(replace(BLOCKED, reason="other", attempts=9)), PIPELINE).dead_letter_id == one
    other_event = EVENT.model_copy(update={"request_id": "r-fedcba9876543210"})
    other = replace(ORIGINAL, data=other_event.model_dump_json().encode(), attributes=other_event.attributes())
    ids = {
        one,
        letter_of(from_the_runner(replace(BLOCKED, stage="analyze")), PIPELINE).dead_letter_id,
        letter_of(from_the_runner(original=other), PIPELINE).dead_letter_id,
    }
    assert len(ids) == 3


@pytest.mark.parametrize(
    "delivery",
    [
        from_pubsub(b"not json"),
        from_pubsub(b"\xff\x00"),
        from_pubsub(b"[" * 100_000),
        from_pubsub(tenant_id="other-dental"),
        from_pubsub(request_id="r-fedcba9876543210"),
        from_pubsub(EVENT.model_copy(update={"version": 2}).model_dump_json().encode()),
    ],
    ids=["no json", "no text", "too deep", "another tenant claimed", "another request claimed", "newer version"],
)
def test_a_message_that_is_not_clearly_somebodys_is_kept_as_nobodys(delivery: Delivery) -> None:
    """What its attributes or its body claim is not believed: a tenant would be shown another's data."""
    letter = letter_of(delivery, PIPELINE)
    assert letter.tenant_id == UNASSIGNED_TENANT
    assert (letter.request_id, letter.call_id) == ("", "")
    assert (letter.stage, letter.topic) == ("transcribe", "recording-stored"), "the subscription tells where it was"
    assert letter.event == delivery.data.decode(errors="replace")


def test_two_unreadable_messages_are_two_letters() -> None:
    first, second = (letter_of(from_pubsub(data), PIPELINE) for data in (b"one", b"two"))
    assert first.dead_letter_id != second.dead_letter_id


def test_a_message_from_nowhere_is_kept_without_a_topic() -> None:
    letter = letter_of(Delivery("m-4", b"hello", {}, "dead-letter-dead-letters"), PIPELINE)
    assert (letter.tenant_id, letter.stage, letter.topic, letter.attempts) == (UNASSIGNED_TENANT, "unknown", "", 1)


@pytest.mark.parametrize("count", ["", "many", "\u00b2", "-3", "9" * 30])
def test_a_count_that_is_none_is_one(count: str) -> None:
    assert letter_of(from_pubsub(CloudPubSubDeadLetterSourceDeliveryCount=count), PIPELINE).attempts == 1


def test_words_longer_than_their_columns_are_cut_and_not_a_reason_to_lose_the_letter() -> None:
    wordy = GivenUp(stage="s" * 40, reason="r" * 2000, detail="d" * 2000, fix="ü" * 2000, attempts=1)
    letter = letter_of(from_the_runner(wordy), PIPELINE)
    assert (len(letter.stage), len(letter.reason), len(letter.detail)) == (16, 64, 1000)
    assert letter.fix.strip("ü") == ""
    assert 0 < len(letter.fix) <= 1000


def test_a_letter_about_a_letter_keeps_only_the_last_reason() -> None:
    again = GivenUp(stage="transcribe", reason="not_audio", detail="HTML", fix="", attempts=5)
    attributes = dead_letter_attributes(from_the_runner(), again)
    assert attributes["dl_reason"] == "not_audio"
    assert attributes["dl_fix"] == ""


def test_a_letter_of_the_first_stage_holds_the_webhook_for_its_replay() -> None:
    received = CallReceived(
        **EVENT.model_dump(include={"tenant_id", "request_id", "call_id"}),
        kind="post_call",
        received_at=NOON,
        payload={"resource_id": "CAL1"},
    )
    original = replace(ORIGINAL, data=received.model_dump_json().encode(), attributes=received.attributes())
    letter = letter_of(from_the_runner(replace(BLOCKED, stage="download"), original), PIPELINE)
    assert letter.topic == "call-received"
    assert CallReceived.model_validate_json(letter.event) == received
