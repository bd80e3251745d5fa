"""The transcribe stage on real parts pays once where it can: a worker died, Speech lost, forgot or spoiled its work."""

from __future__ import annotations

from datetime import timedelta

import pytest

from infra.local.standins.faults import FaultRule
from shared.errors import PermanentFailure, TransientFailure
from shared.names import transcript_prefix
from tests.support.transcribe_runs import NOW, Run, objects, run, running, speakers, speech, standin, storage_url

__all__ = ["objects", "run", "running", "speech", "standin", "storage_url"]


def put(run: Run, name: str, data: bytes) -> str:
    """An object under the run's prefix that Speech did not write."""
    full = transcript_prefix("acme", run.request_id) + name
    run.deps.objects.create(full, iter([data]), content_type="application/octet-stream")
    return full


# --- attempts that find a checkpoint ------------------------------------------------------------------


def test_running_operation_is_never_submitted_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    first = run.wait()
    run.now = NOW + timedelta(hours=1)

    again = run.wait()

    assert again.checkpoint == first.checkpoint
    assert again.until == run.now + timedelta(minutes=15, seconds=4)
    assert run.times_paid() == 1


def test_sweeper_finishes_a_run_whose_notice_was_lost(run: Run) -> None:
    run.wait()
    run.output()

    completed = run.submit()

    assert speakers(completed) == ["agent", "caller"]
    assert completed.usage.audio_s == 8.0
    assert run.times_paid() == 1


def test_operation_that_speech_forgot_is_looked_up_in_storage(run: Run) -> None:
    run.wait()
    run.output()
    run.standin.book.forget()
    assert speakers(run.submit()) == ["agent", "caller"]
    assert run.times_paid() == 0


def test_operation_forgotten_without_output_is_submitted_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="drop"))
    run.wait()
    run.standin.book.wait_until_done(run.checkpoint["operation"])
    run.standin.book.forget()

    run.wait()

    assert speakers(run.collect(run.output())) == ["agent", "caller"]


def test_operation_that_never_ends_is_replaced_after_two_days(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    first = run.wait().checkpoint["operation"]
    run.now = NOW + timedelta(hours=49)
    assert run.wait().checkpoint["operation"] != first
    assert run.times_paid() == 2


def test_crash_between_speechs_answer_and_the_commit_uses_the_output_that_came(run: Run) -> None:
    run.wait()
    run.output()
    run.checkpoint, run.attempt = {}, 2  # the commit never happened

    completed = run.submit()

    assert speakers(completed) == ["agent", "caller"]
    assert run.times_paid() == 1


def test_an_operation_still_running_after_a_crash_is_adopted_and_paid_once(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    first = run.wait().checkpoint["operation"]
    paid = run.times_paid()
    run.checkpoint, run.attempt = {}, 2  # the commit never happened

    assert run.wait().checkpoint["operation"] == first
    assert run.times_paid() == paid
    assert run.collect(run.output()).next_event is not None


def test_a_second_submission_whose_name_was_lost_is_adopted_while_it_runs(run: Run) -> None:
    """The first operation failed; who submitted again died between Speech's answer and its commit."""
    run.standin.plan.add(FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"))
    first = run.wait().checkpoint
    run.standin.book.wait_until_done(first["operation"])
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    second = run.wait().checkpoint["operation"]
    run.checkpoint, run.attempt = first, 2  # the second commit never happened

    adopted = run.wait().checkpoint

    assert adopted["operation"] == second
    assert adopted["submissions"] == 2
    assert run.times_paid() == 2
    assert run.collect(run.output()).next_event is not None


def test_a_second_attempt_that_cannot_ask_does_not_pay_again(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="recognition", kind="stall", delay_s=1.0))
    run.wait()
    paid = run.times_paid()
    run.checkpoint, run.attempt = {}, 2
    run.standin.plan.add(FaultRule(operation="list_operations", kind="status", grpc_code="PERMISSION_DENIED"))

    with pytest.raises(PermanentFailure):
        run.submit()

    assert run.times_paid() == paid


def test_second_attempt_without_output_submits(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="batch_recognize", kind="status", grpc_code="UNAVAILABLE"))
    with pytest.raises(TransientFailure):
        run.submit()
    run.attempt = 2
    run.wait()
    assert run.times_paid() == 1


# --- work that Speech lost or spoiled -------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"),
        FaultRule(operation="output", kind="status", grpc_code="UNAVAILABLE"),
        FaultRule(operation="output", kind="drop"),
    ],
    ids=["operation failed", "file failed", "output lost"],
)
def test_lost_work_is_submitted_once_more(run: Run, fault: FaultRule) -> None:
    run.standin.plan.add(fault)
    run.wait()
    run.standin.book.wait_until_done(run.checkpoint["operation"])

    run.wait()

    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 2


def test_spoiled_output_is_submitted_once_more_and_its_late_notice_ignored(run: Run) -> None:
    run.standin.plan.add(FaultRule(operation="output", kind="rubbish"))
    run.wait()
    spoiled = run.output()

    resubmitted = run.wait(after=spoiled)
    repeated = run.wait(after=spoiled)

    assert repeated.checkpoint == resubmitted.checkpoint
    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 2


def test_unreadable_object_of_a_lost_attempt_does_not_stop_the_next(run: Run) -> None:
    put(run, "call_transcript_0.json", b"not a transcript")
    run.attempt = 2
    run.wait()
    assert speakers(run.collect(run.output())) == ["agent", "caller"]
    assert run.times_paid() == 1


def test_polling_without_permission_pays_nothing(run: Run) -> None:
    run.wait()
    run.standin.plan.add(FaultRule(operation="get_operation", kind="status", grpc_code="PERMISSION_DENIED"))
    with pytest.raises(PermanentFailure, match="speech_forbidden"):
        run.submit()
    assert run.times_paid() == 1
