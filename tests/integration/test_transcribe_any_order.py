"""Whatever becomes of operations, and whoever dies before a commit: a readable transcript is paid for once."""

from __future__ import annotations

from typing import Literal, get_args

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from infra.local.standins.faults import FaultRule
from infra.local.standins.speech import RunningSpeech
from shared.errors import NotReady, PermanentFailure, TransientFailure, Waiting
from shared.gateways.objects import GcsObjectStore
from shared.gateways.speech import SpeechV2Recognizer
from shared.names import transcript_prefix
from shared.stage import Completed
from tests.support.transcribe_runs import (
    CONVERSATION,
    Run,
    new_run,
    objects,
    running,
    speakers,
    speech,
    standin,
    storage_url,
)

__all__ = ["objects", "running", "speech", "standin", "storage_url"]

Fate = Literal["works", "is slow", "fails", "output lost", "output spoiled", "fails after its output"]
"""What becomes of an operation."""
Attempt = tuple[Literal["event", "notice"], Literal["commits", "dies"]]
"""What wakes the worker, and whether it lives to commit what it came to."""

_RECOGNITION = {
    "is slow": FaultRule(operation="recognition", kind="stall", delay_s=0.2),
    "fails": FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"),
}
_OUTPUT = {
    "output lost": FaultRule(operation="output", kind="drop"),
    "output spoiled": FaultRule(operation="output", kind="rubbish"),
    "fails after its output": FaultRule(operation="output", kind="drop_after"),
}
_AS_USUAL = "stall"  # for no time at all: a rule that leaves things as they are
_MOST_ATTEMPTS_TO_THE_END = 12


def rules_of(fates: list[Fate]) -> list[FaultRule]:
    """One rule for each operation that gets to this point, in the order in which they begin."""
    heard = [fate for fate in fates if fate != "fails"]
    return [
        *(_RECOGNITION.get(fate, FaultRule(operation="recognition", kind=_AS_USUAL)) for fate in fates),
        *(_OUTPUT.get(fate, FaultRule(operation="output", kind=_AS_USUAL)) for fate in heard),
    ]


def attempted(run: Run, wakes: str, ends: str) -> Completed | None:
    """One attempt as the runner makes it; its result if it was recorded."""
    names = run.deps.objects.list_names(transcript_prefix("acme", run.request_id))
    before = run.attempt
    run.attempt += 1  # unless what it came to says otherwise
    try:
        completed = run.collect(names[-1]) if wakes == "notice" and names else run.submit()
    except Waiting as waiting:
        if ends == "commits":
            run.checkpoint, run.attempt = waiting.checkpoint, before
    except (NotReady, TransientFailure, PermanentFailure):
        pass  # put back, or given up and replayed: the next attempt goes on from the checkpoint
    else:
        return completed if ends == "commits" else None
    return None


@settings(
    max_examples=30,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    fates=st.lists(st.sampled_from(get_args(Fate)), max_size=4),
    attempts=st.lists(
        st.tuples(st.sampled_from(["event", "notice"]), st.sampled_from(["commits", "dies"])), max_size=6
    ),
)
@example(  # seen in a chaos run: nobody looked for the second operation
    fates=["fails", "is slow"], attempts=[("event", "commits"), ("event", "dies")]
)
def test_a_readable_transcript_is_paid_for_once(
    standin: RunningSpeech,
    objects: GcsObjectStore,
    speech: SpeechV2Recognizer,
    fates: list[Fate],
    attempts: list[Attempt],
) -> None:
    standin.plan.add(*rules_of(fates))
    run = new_run(standin, objects, speech, audio=b"never decoded", sidecar=CONVERSATION, duration_s=4.0)
    run.attempt = 0
    completed = None
    for wakes, ends in attempts:
        completed = completed or attempted(run, wakes, ends)
    for _ in range(_MOST_ATTEMPTS_TO_THE_END):
        standin.book.wait_until_idle()
        completed = completed or attempted(run, "event", "commits")
    standin.plan.clear()

    assert completed is not None, "a call that everybody has given up"
    assert speakers(completed) == ["agent", "caller"]
    assert [one["name"] for one in operations_of(run) if one["readable_uris"]] != []
    assert len([one for one in operations_of(run) if one["readable_uris"]]) == 1


def operations_of(run: Run) -> list[dict[str, object]]:
    prefix = transcript_prefix("acme", run.request_id)
    return [one for one in run.standin.book.state()["operations"] if prefix in str(one["output_prefix"])]
