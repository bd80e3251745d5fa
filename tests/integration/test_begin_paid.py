"""What is paid for each time it is sent is not begun where another worker may take the claim over before its answer."""

from __future__ import annotations

import json

import pytest

from shared.errors import Waiting
from shared.runner import Runner
from shared.stage import Completed, StageContext
from tests.support.ports import NOON
from tests.support.runner_bench import STORED, Bench, bench, delivery_of, raising

__all__ = ["bench"]

pytestmark = pytest.mark.emulators

LEASE_S = 60
STAGE = "transcribe"


class PaidVendor:
    """Speech, as far as a bill goes."""

    def __init__(self) -> None:
        self.submitted = 0

    def run(self, context: StageContext) -> Completed:
        if not context.checkpoint:
            context.begin_paid()
            self.submitted += 1
        raise Waiting(checkpoint={"operation": "op-1"}, until=NOON)


@pytest.fixture
def vendor(bench: Bench) -> PaidVendor:
    bench.deliver()  # admits the request
    made = PaidVendor()
    bench.behave = made.run
    return made


def saved(bench: Bench) -> object:
    return json.loads(str(bench.run_row(STAGE)["checkpoint"]))


def handle(runner: Runner) -> int:
    return runner.handle(delivery_of(STORED), STORED).status


def test_a_worker_that_stood_still_past_its_lease_pays_nothing(bench: Bench, vendor: PaidVendor) -> None:
    """SIGSTOP, or a machine that was suspended: it wakes up in the middle of its attempt."""

    def stand_still(context: StageContext) -> Completed:
        bench.clock.advance(LEASE_S + 1)
        bench.behave = vendor.run
        assert handle(bench.runner(STAGE)) == 204, "another worker"
        return vendor.run(context)

    bench.behave = stand_still
    assert handle(bench.runner(STAGE)) == 503

    assert vendor.submitted == 1
    assert (bench.run_row(STAGE)["state"], bench.run_row(STAGE)["attempt"]) == ("waiting", 2)
    assert saved(bench) == {"operation": "op-1"}


@pytest.mark.parametrize(("waited_s", "submitted"), [(19, 1), (20, 0)])
def test_two_thirds_of_the_lease_are_left_for_the_answer(
    bench: Bench, vendor: PaidVendor, waited_s: int, submitted: int
) -> None:
    def slowly(context: StageContext) -> Completed:
        bench.clock.advance(waited_s)
        return vendor.run(context)

    bench.behave = slowly
    handle(bench.runner(STAGE))

    assert vendor.submitted == submitted
    if not submitted:
        assert bench.run_row(STAGE)["error_code"] == "claim_too_old"
        bench.behave = vendor.run
        assert bench.deliver(STORED, stage=STAGE) == 204, "the redelivery's claim is fresh"
        assert vendor.submitted == 1


def test_a_takeover_counts_from_its_own_beginning(bench: Bench, vendor: PaidVendor) -> None:
    bench.behave = raising(ZeroDivisionError())
    assert bench.deliver(STORED, stage=STAGE) == 500
    bench.clock.advance(LEASE_S)
    bench.behave = vendor.run

    assert bench.deliver(STORED, stage=STAGE) == 204
    assert vendor.submitted == 1


def test_a_claim_that_was_given_back_begins_nothing(bench: Bench, vendor: PaidVendor) -> None:
    """The worker was told to stop while it read the call."""
    stopping = bench.runner(STAGE)

    def told_to_stop(context: StageContext) -> Completed:
        assert stopping.give_back_claims() == 1
        bench.behave = vendor.run
        assert bench.deliver(STORED, stage=STAGE) == 204, "another worker, at once"
        return vendor.run(context)

    bench.behave = told_to_stop
    assert handle(stopping) == 503

    assert vendor.submitted == 1
    assert bench.run_row(STAGE)["state"] == "waiting"


def test_what_has_begun_keeps_its_claim_through_a_shutdown_and_stores_its_answer(
    bench: Bench, vendor: PaidVendor
) -> None:
    stopping = bench.runner(STAGE)

    def told_to_stop(context: StageContext) -> Completed:
        context.begin_paid()
        assert stopping.give_back_claims() == 0
        assert bench.deliver(STORED, stage=STAGE) == 503, "somebody is on it"
        raise Waiting(checkpoint={"operation": "op-1"}, until=NOON)

    bench.behave = told_to_stop
    assert handle(stopping) == 204

    assert saved(bench) == {"operation": "op-1"}
    assert vendor.submitted == 0
