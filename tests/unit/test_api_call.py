"""CallRail's API object of a call says the same as its post-call webhook, under other names and types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from infra.local.standins.callrail_calls import api_call
from schemas.webhooks import kind_of, parse_webhook
from shared.gateways.callrail_api import CALL_FIELDS
from tests.support.webhooks import CALL, MISSED_CALL, POST_CALL

ACCOUNT = "ACC019a1111222273338444555566667777"
API_LINK = f"https://api.callrail.com/v3/a/{ACCOUNT}/calls/{CALL}/recording.json"


DOCUMENTED_DEFAULTS = {
    *("id", "answered", "agent_email", "business_phone_number", "customer_city", "customer_country", "customer_name"),
    *("customer_phone_number", "customer_state", "direction", "duration", "recording", "recording_duration"),
    *("recording_player", "start_time", "tracking_phone_number", "voicemail"),
}
DOCUMENTED_OPTIONS = {
    *("company_id", "company_name", "person_id", "tracker_id", "call_type", "lead_status", "tags", "note", "value"),
    *("source", "source_name", "medium", "campaign", "keywords", "utm_source", "utm_medium", "utm_campaign"),
    *("utm_term", "utm_content", "gclid", "fbclid", "msclkid", "landing_page_url", "referring_url", "milestones"),
    *("timeline_url", "first_call", "prior_calls", "total_calls", "transcription", "conversational_transcript"),
    *("call_summary", "sentiment", "call_highlights", "keywords_spotted", "speaker_percent", "lead_score"),
    "lead_explanation",
}
"""CallRail's documentation (callrail.md §4.2)."""


@pytest.mark.parametrize("webhook", [POST_CALL, MISSED_CALL], ids=["answered", "missed"])
def test_the_api_object_and_the_webhook_are_the_same_call(webhook: dict[str, Any]) -> None:
    by_api = parse_webhook(api_call(webhook, account_id=ACCOUNT))
    by_webhook = parse_webhook(webhook)

    assert by_api.model_copy(update={"recording_url": ""}) == by_webhook.model_copy(update={"recording_url": ""})
    assert bool(by_api.recording_url) == bool(by_webhook.recording_url)


def test_the_api_objects_recording_is_an_address_of_the_api() -> None:
    assert parse_webhook(api_call(POST_CALL, account_id=ACCOUNT)).recording_url == API_LINK


@pytest.mark.parametrize("webhook", [POST_CALL, MISSED_CALL], ids=["answered", "missed"])
def test_the_api_object_is_taken_for_the_end_of_a_call(webhook: dict[str, Any]) -> None:
    assert kind_of(api_call(webhook, account_id=ACCOUNT), None) == "post_call"


@pytest.mark.parametrize("tags", [["new customer"], [{"id": 1, "name": "new customer", "color": "gray1"}]])
def test_tags_are_read_as_names_or_as_objects(tags: list[Any]) -> None:
    assert parse_webhook({"id": CALL, "tags": tags}).marks.tags == ("new customer",)


def test_every_field_asked_for_is_documented_and_not_a_default() -> None:
    """One name that CallRail does not know makes the whole request fail."""
    assert set(CALL_FIELDS) <= DOCUMENTED_OPTIONS
    assert len(CALL_FIELDS) == len(set(CALL_FIELDS))


class Watched(Mapping[str, Any]):
    """A body that notes which names are looked up."""

    def __init__(self, body: dict[str, Any]) -> None:
        self._body = body
        self.asked: set[str] = set()

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._body[name]

    def get(self, name: str, default: Any = None) -> Any:
        self.asked.add(name)
        return self._body.get(name, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._body)

    def __len__(self) -> int:
        return len(self._body)


def test_whatever_is_read_of_a_call_is_asked_for_where_the_api_has_it() -> None:
    body = Watched({"resource_id": CALL})
    parse_webhook(body)

    assert (body.asked & DOCUMENTED_OPTIONS) <= set(CALL_FIELDS)
    assert body.asked & DOCUMENTED_DEFAULTS, "the body was looked into"
