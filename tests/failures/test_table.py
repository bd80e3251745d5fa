"""The twenty-two failures seen in other systems, each with the tests that would show it here."""

from __future__ import annotations

import re

import pytest

from infra.local.plan import PROJECT_ROOT

TABLE: dict[str, tuple[str, ...]] = {
    "2xx before the publish is known": ("failures/test_receiving.py::test_2xx_before_the_publish_is_known",),
    "4xx when the fault is ours": ("failures/test_receiving.py::test_4xx_when_the_fault_is_ours",),
    "unknown tenant or scheme accepted": ("failures/test_receiving.py::test_unknown_tenant_or_scheme_accepted",),
    "second store forgotten on scale-down": ("failures/test_receiving.py::test_second_store_forgotten_on_scale_down",),
    "poison item blocks the spill": ("failures/test_receiving.py::test_poison_item_blocks_the_spill",),
    "taken, not acknowledged, crashed": (
        "failures/test_moving.py::test_taken_not_acknowledged_crashed",
        "integration/test_claim_protocol.py::test_the_claim_protocol_keeps_its_promises_in_any_order_of_events",
    ),
    "recovery lives in what failed": ("failures/test_moving.py::test_recovery_lives_in_what_failed",),
    "completion overtakes the record of the wait": (
        "failures/test_moving.py::test_completion_overtakes_the_record_of_the_wait",
    ),
    "worker alive, takes nothing": ("failures/test_moving.py::test_worker_alive_takes_nothing",),
    "error text stored as content": ("failures/test_content.py::test_error_text_stored_as_content",),
    "push without dead letter, short retention": (
        "failures/test_moving.py::test_push_without_dead_letter_short_retention",
    ),
    "600 s push limit doubles paid work": ("failures/test_moving.py::test_600_s_push_limit_doubles_paid_work",),
    "tenant's mistake fills the dead letters": (
        "failures/test_tenants.py::test_tenants_mistake_fills_the_dead_letters",
    ),
    "switched-off destination swallows events": (
        "failures/test_tenants.py::test_switched_off_destination_swallows_events",
    ),
    "replay repeats what worked": (
        "failures/test_replaying.py::test_replay_repeats_what_worked",
        "integration/test_replay.py::test_two_letters_of_one_call_replayed_together_have_one_effect",
    ),
    "replay loops": ("failures/test_replaying.py::test_replay_loops",),
    "replay starves live calls": ("integration/test_replay_jobs.py::test_a_hundred_letters_at_a_capped_rate",),
    "dead-letter limit stops intake": ("failures/test_receiving.py::test_dead_letter_limit_stops_intake",),
    "transient fault sent straight to dead letters": (
        "failures/test_moving.py::test_transient_fault_sent_straight_to_dead_letters",
    ),
    "audio format or channels refused": ("failures/test_content.py::test_audio_format_or_channels_refused",),
    "languages fall off a cliff": ("failures/test_content.py::test_languages_fall_off_a_cliff",),
    "cross-tenant read in a look-up by id": (
        "failures/test_tenants.py::test_cross_tenant_read_in_a_look_up_by_id",
        "integration/test_replay.py::test_a_tenant_cannot_be_reached_through_anothers_letter",
    ),
}


def test_there_are_twenty_two() -> None:
    assert len(TABLE) == 22


@pytest.mark.parametrize("failure", TABLE)
def test_each_has_its_tests(failure: str) -> None:
    for place in TABLE[failure]:
        path, _, name = place.partition("::")
        text = (PROJECT_ROOT / "tests" / path).read_text(encoding="utf-8")
        assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{place} is gone"
