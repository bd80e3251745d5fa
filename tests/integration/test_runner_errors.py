"""The runner's answer to every kind of error: again, later, blocked for a person, or given up with a letter."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from schemas.tenant import Tenant
from shared.answers import BLOCKED_PAUSE
from shared.deliveries import parse_event
from shared.errors import Deferred, InvalidEvent, NotReady, PermanentFailure, TenantBlocked, TransientFailure
from shared.runner import Runner
from shared.stage import Completed
from tests.support.pipeline_database import OUR_TENANT
from tests.support.ports import NOON, MemoryTenants
from tests.support.runner_bench import RECEIVED, STORED, Bench, bench, delivery_of, raising

__all__ = ["bench"]

pytestmark = pytest.mark.emulators


@dataclass(frozen=True)
class UnreadableTenants(MemoryTenants):
    """A directory whose every document is beyond this release."""

    tenants: tuple[Tenant, ...] = ()
    why: TenantBlocked = field(kw_only=True)

    def by_id(self, tenant_id: str) -> Tenant | None:
        raise self.why


@pytest.mark.parametrize(
    ("error", "status", "state"),
    [
        (TransientFailure("speech_unavailable", "503"), 503, "retrying"),
        (NotReady("recording_not_ready", "not yet"), 503, "retrying"),
        (Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)), 204, "deferred"),
        (TenantBlocked("token_refused", "401", fix="give a new token"), 204, "blocked"),
        (PermanentFailure("not_audio", "HTML"), 204, "failed"),
        (InvalidEvent("webhook_shape", "no id"), 204, "failed"),
        (ValueError("a bug"), 500, "retrying"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else None,
)
def test_the_error_table(bench: Bench, error: Exception, status: int, state: str) -> None:
    bench.behave = raising(error)
    assert bench.deliver() == status
    assert bench.run_row()["state"] == state
    gives_up = isinstance(error, (PermanentFailure, InvalidEvent))
    assert bench.publisher.topics() == (["dead-letters"] if gives_up else [])


def test_a_dead_letter_says_why_and_holds_the_event(bench: Bench) -> None:
    bench.behave = raising(PermanentFailure("model_not_found", "no such model", fix="set another model"))
    bench.deliver()
    letter = bench.publisher.messages[0]
    assert parse_event(letter.data) == RECEIVED
    assert letter.attributes["dl_reason"] == "model_not_found"
    assert letter.attributes["dl_fix"] == "set another model"
    assert letter.attributes["dl_stage"] == "download"
    assert bench.request_state() == "failed"


def test_a_tenants_mistake_waits_in_the_blocked_lane_and_makes_no_dead_letter(bench: Bench) -> None:
    bench.behave = raising(TenantBlocked("token_refused", "HubSpot said 401", fix="give a new token", vendor="hubspot"))
    assert bench.deliver() == 204
    assert bench.publisher.topics() == []
    assert bench.request_state() == "blocked"
    assert bench.run_row()["due_at"] == NOON + BLOCKED_PAUSE
    assert bench.deliver() == 204, "not due yet"
    assert len(bench.contexts) == 1

    bench.behave = lambda _context: Completed(next_event=STORED)
    bench.clock.advance(BLOCKED_PAUSE.total_seconds())
    assert bench.deliver() == 204
    assert bench.contexts[-1].attempt == 1, "waiting for a person is no failed attempt"
    assert bench.run_row()["state"] == "done"
    assert bench.request_state() == "active"


def test_a_vendors_long_pause_is_a_deferral_and_not_a_redelivery(bench: Bench) -> None:
    bench.behave = raising(TransientFailure("throttled", "429", retry_after_s=600))
    assert bench.deliver() == 204
    assert bench.run_row()["state"] == "deferred"
    assert bench.run_row()["due_at"] == NOON + timedelta(seconds=600)


def test_a_swept_event_wakes_a_run_that_sleeps(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)))
    bench.deliver()
    bench.behave = lambda _context: Completed(next_event=STORED)
    assert bench.deliver(swept="true") == 204
    assert bench.run_row()["state"] == "done"


def test_a_redelivery_of_a_failed_stage_is_a_dead_letter_again_and_not_another_attempt(bench: Bench) -> None:
    bench.behave = raising(PermanentFailure("not_audio", "HTML"))
    bench.deliver()
    assert bench.deliver() == 204
    assert len(bench.contexts) == 1
    assert bench.publisher.topics() == ["dead-letters", "dead-letters"]


def test_nothing_is_acknowledged_when_the_dead_letter_cannot_be_published(bench: Bench) -> None:
    bench.behave = raising(PermanentFailure("not_audio", "HTML"))
    bench.publisher.failing = 1
    assert bench.deliver() == 503
    assert bench.deliver() == 204
    assert bench.publisher.topics() == ["dead-letters"]


def test_attempts_are_counted_in_the_row_and_end_in_a_dead_letter(bench: Bench) -> None:
    bench.behave = raising(TransientFailure("speech_unavailable", "Speech answered 503"))
    assert [bench.deliver() for _ in range(4)] == [503, 503, 503, 204]
    assert [context.attempt for context in bench.contexts] == [1, 2, 3]
    assert bench.run_row()["state"] == "failed"
    assert bench.publisher.messages[0].attributes["dl_reason"] == "speech_unavailable"
    assert "3 attempts" in bench.publisher.messages[0].attributes["dl_detail"]


def test_a_deferred_stage_sleeps_until_it_is_due(bench: Bench) -> None:
    bench.behave = raising(Deferred("crm_quota", "tomorrow", until=NOON + timedelta(hours=3)))
    bench.deliver()
    bench.behave = lambda _context: Completed(next_event=STORED)
    assert bench.deliver() == 204
    assert len(bench.contexts) == 1
    bench.clock.advance(3 * 3600)
    assert bench.deliver() == 204
    assert len(bench.contexts) == 2
    assert bench.run_row()["state"] == "done"


def test_an_event_for_an_unknown_tenant_is_a_dead_letter(bench: Bench) -> None:
    stranger = RECEIVED.model_copy(update={"tenant_id": "nobody-known"})
    assert bench.deliver(stranger) == 204
    assert bench.publisher.messages[0].attributes["dl_reason"] == "unknown_tenant"
    assert bench.database.rows("SELECT * FROM stage_runs") == []


def test_an_event_for_a_request_that_does_not_exist_is_a_dead_letter(bench: Bench) -> None:
    assert bench.deliver(STORED, stage="transcribe") == 204
    assert bench.publisher.messages[0].attributes["dl_reason"] == "row_missing"


def test_an_event_of_another_stage_is_a_dead_letter(bench: Bench) -> None:
    assert bench.deliver(STORED, stage="download") == 204
    assert bench.publisher.messages[0].attributes["dl_reason"] == "wrong_topic"


def test_a_suspended_tenants_call_is_blocked_with_what_to_do(bench: Bench) -> None:
    suspended = OUR_TENANT.model_copy(update={"status": "suspended"})
    runner = bench.runner()
    held = Runner(runner.stage, runner.store, MemoryTenants((suspended,)), bench.publisher, bench.clock, worker="test")
    assert held.handle(delivery_of(RECEIVED), RECEIVED).status == 204
    assert bench.run_row()["state"] == "blocked"
    fix = bench.database.value("SELECT error_fix FROM stage_runs")
    assert "resume" in fix
    assert bench.contexts == []


def test_a_tenant_document_that_cannot_be_read_is_kept_in_the_blocked_lane(bench: Bench) -> None:
    runner, why = bench.runner(), TenantBlocked("tenant_config_unreadable", "wrong: crm_config", fix="write it anew")
    unread = replace(runner, tenants=UnreadableTenants(why=why))
    assert unread.handle(delivery_of(RECEIVED), RECEIVED).status == 204
    assert (bench.run_row()["state"], bench.run_row()["error_code"]) == ("blocked", "tenant_config_unreadable")
    assert bench.publisher.topics() == []
    assert bench.contexts == []

    bench.clock.advance(BLOCKED_PAUSE.total_seconds())
    assert bench.deliver() == 204
    assert (bench.run_row()["state"], bench.run_row()["attempt"]) == ("done", 1)
