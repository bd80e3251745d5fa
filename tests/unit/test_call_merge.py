"""Merging what several webhooks say of one call: every order and every repetition gives the same record."""

from __future__ import annotations

from datetime import timedelta
from functools import reduce
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.calls import CallDetails, Marketing, Marks
from schemas.events import CallReceived, WebhookKind
from schemas.webhooks import parse_webhook
from shared.call_merge import Merged, merge, said
from tests.support.ports import NOON
from tests.support.webhooks import CALL, POST_CALL, PRE_CALL, ROUTING_COMPLETE


def words(payload: dict[str, Any], kind: WebhookKind = "post_call", *, after_s: float = 0) -> Merged:
    event = CallReceived(
        tenant_id="acme-plumbing",
        request_id="r-0123456789abcdef",
        call_id=CALL,
        kind=kind,
        received_at=NOON + timedelta(seconds=after_s),
        payload={**payload, "resource_id": CALL},
    )
    return said(event, parse_webhook(event.payload))


def merged(*parts: Merged) -> CallDetails:
    return reduce(merge, parts).details


WITHOUT_AUDIO = {**POST_CALL, "recording": "", "recording_duration": "", "recording_redirect": ""}
FIVE = (
    words(PRE_CALL, "pre_call", after_s=0),
    words(ROUTING_COMPLETE, "routing_complete", after_s=5),
    words(WITHOUT_AUDIO, "post_call", after_s=300),
    words({**POST_CALL, "changes": ["recording_duration"]}, "call_modified", after_s=900),
    words(
        {**POST_CALL, "tags": ["hot"], "note": "call back", "changes": ["tags", "note"]}, "call_modified", after_s=999
    ),
)


def test_every_order_of_five_triggers_gives_the_same_record() -> None:
    results = {merged(*order).model_dump_json() for order in permutations(FIVE)}
    assert len(results) == 1
    final = CallDetails.model_validate_json(results.pop())
    assert final.recording_url == POST_CALL["recording"]
    assert (final.answered, final.duration_s) == (True, 214)
    assert (final.marks.tags, final.marks.note) == (("hot",), "call back")


@given(st.lists(st.sampled_from(FIVE), min_size=5, max_size=12))
def test_repetition_changes_nothing(parts: list[Merged]) -> None:
    assert merged(*FIVE, *parts) == merged(*FIVE)


@given(st.permutations(FIVE), st.integers(1, 4))
def test_merging_in_groups_gives_the_same(order: list[Merged], cut: int) -> None:
    left, right = reduce(merge, order[:cut]), reduce(merge, order[cut:])
    assert merge(left, right).details == merge(right, left).details == merged(*FIVE)


def test_placeholders_of_a_late_pre_call_take_nothing_from_a_finished_call() -> None:
    finished = words(POST_CALL, after_s=300)
    late = words({**PRE_CALL, "answered": False, "call_type": "missed"}, "pre_call", after_s=400)
    assert merged(finished, late) == finished.details


def test_a_silent_webhook_takes_nothing_away() -> None:
    silent = words({"duration": "", "recording": ""}, "call_modified", after_s=900)
    assert merged(words(POST_CALL), silent).recording_url == POST_CALL["recording"]


def test_an_emptied_note_and_a_removed_tag_are_changes() -> None:
    marked = words({**POST_CALL, "tags": ["a", "b"], "note": "call back"})
    cleared = words({**POST_CALL, "tags": ["a"], "note": "", "changes": ["tags", "note"]}, "call_modified", after_s=60)
    assert merged(marked, cleared).marks == Marks(tags=("a",))


@pytest.mark.parametrize("changes", [None, [], "tags,note"])
def test_marks_count_as_changed_where_the_body_does_not_say_otherwise(changes: Any) -> None:
    marked = words({**POST_CALL, "note": "call back"})
    body = {**POST_CALL, "note": "", **({} if changes is None else {"changes": changes})}
    assert merged(marked, words(body, "call_modified", after_s=60)).marks.note == ""


def test_of_two_changes_of_one_field_the_later_webhook_wins_whichever_is_processed_first() -> None:
    first = words({**POST_CALL, "note": "first", "changes": ["note"]}, "call_modified", after_s=60)
    second = words({**POST_CALL, "note": "second", "changes": ["note"]}, "call_modified", after_s=120)
    assert merged(first, second).marks.note == merged(second, first).marks.note == "second"


def test_marketing_is_completed_field_by_field() -> None:
    sparse = words({"campaign": "spring", "duration": "1"}, after_s=1)
    result = merged(words(PRE_CALL, "pre_call"), sparse)
    assert isinstance(result.marketing, Marketing)
    assert result.marketing.campaign == "spring"
    assert result.marketing.source == parse_webhook({**PRE_CALL}).marketing.source
