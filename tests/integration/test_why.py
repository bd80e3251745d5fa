"""For each fault of our own on the reliability work's list, `pipeline why` names the cause from the rows it leaves.

The rows are real: the runner ran (with a scripted stage), the letters come from the recorder, all in the Spanner
emulator. Vendors' faults are in test_why_vendors.py.
"""

from __future__ import annotations

import pytest

from schemas.events import Event, RecordingStored
from shared.crash_points import crashing
from shared.deliveries import Delivery, parse_event
from shared.errors import Deferred, PermanentFailure, TransientFailure, Waiting
from shared.gateways.story import SpannerStories
from shared.names import late_audio_request_id
from shared.stage import CallChanges, Completed, StageContext
from shared.story import SchemaGap
from shared.whereabouts.situations import Situation
from stages.transcribe.logic import look_again_at
from tests.support.crashing import CrashNow, Doom
from tests.support.pipeline_database import OTHER_TENANT, OUR_TENANT
from tests.support.trouble import CALL, WORKER, Killed, Trouble, finishing, following, raising
from tests.support.why_faults import Fault, assert_named, stops, trouble

__all__ = ["trouble"]

pytestmark = pytest.mark.emulators

OPERATION = "projects/p/locations/us/operations/op-7"
NO_AUDIO = "missed_call"


def waits_for_speech(trouble: Trouble) -> None:
    until = look_again_at(trouble.clock(), duration_s=30)
    trouble.reach("transcribe", raising(Waiting(checkpoint={"operation": OPERATION}, until=until)))


def loses_speechs_notice(trouble: Trouble) -> None:
    waits_for_speech(trouble)
    trouble.clock.advance(7200)


def dies(trouble: Trouble) -> None:
    with pytest.raises(Killed):
        trouble.reach("analyze", raising(Killed()))


def dies_for_long(trouble: Trouble) -> None:
    dies(trouble)
    trouble.clock.advance(3600)


def is_being_done(trouble: Trouble) -> None:
    with pytest.raises(Killed):
        trouble.reach("download", raising(Killed()))


def is_shut_down(trouble: Trouble) -> None:
    def stopped(_context: StageContext) -> Completed:
        assert runner.give_back_claims() == 1
        raise Killed

    runner = trouble.runner("download", stopped)
    event = trouble.webhook()
    with pytest.raises(Killed):
        runner.handle(_delivery(event), event)


def uses_up_its_attempts(trouble: Trouble) -> None:
    failing = raising(TransientFailure("hubspot_unreachable", "hubspot gave no answer to a POST"))
    for _ in range(21):
        trouble.reach("crm_sync", failing)
    trouble.record_letters()


def is_given_up_by_pubsub(trouble: Trouble) -> None:
    trouble.reach("download", raising(TransientFailure("storage_unavailable", "could not create x: status 503")))
    trouble.give_up_in_pubsub(trouble.webhook(), stage="download")
    trouble.record_letters()


def is_given_up_with_the_recorder_down(trouble: Trouble) -> None:
    trouble.reach("download", raising(PermanentFailure("recording_not_audio", "the recording is JSON, not audio")))


def is_replayed(trouble: Trouble) -> None:
    stops("download", PermanentFailure("recording_too_large", "the recording has more than 5 bytes"))(trouble)
    trouble.replay("download")


def is_replayed_in_vain(trouble: Trouble) -> None:
    is_replayed(trouble)
    trouble.publisher.messages.clear()
    trouble.reach("download", raising(PermanentFailure("recording_too_large", "the recording has more than 5 bytes")))
    trouble.change("UPDATE dead_letters SET state = 'open', occurrences = 2 WHERE TRUE")


def is_discarded(trouble: Trouble) -> None:
    stops("download", PermanentFailure("recording_unreadable", "x.mp3 begins like mp3"))(trouble)
    trouble.change("UPDATE dead_letters SET state = 'discarded', discard_reason = 'a test call' WHERE TRUE")


def is_rerun(trouble: Trouble) -> None:
    stops("download", PermanentFailure("recording_unreadable", "x.mp3 begins like mp3"))(trouble)
    trouble.change("UPDATE dead_letters SET state = 'replaying', current_request_id = 'x-again' WHERE TRUE")


def loses_the_next_event(trouble: Trouble) -> None:
    trouble.reach("download", finishing)
    trouble.clock.advance(600)


def dies_before_the_last_publish(trouble: Trouble) -> None:
    trouble.reach("crm_sync", raising(Deferred("crm_quota", "tomorrow", until=trouble.clock())))
    with crashing(Doom("recorded")), pytest.raises(CrashNow):
        trouble.reach("crm_sync", finishing)
    trouble.clock.advance(3600)


def meets_a_newer_event(trouble: Trouble) -> None:
    def of_tomorrow(context: StageContext) -> Completed:
        assert isinstance(context.event, Event)
        return Completed(following("download", context.event).model_copy(update={"version": 2}))

    trouble.reach("download", of_tomorrow)


def meets_an_older_schema(trouble: Trouble) -> None:
    trouble.schema = SchemaGap(missing=("006_reconciliation.sql",))
    loses_the_next_event(trouble)


def meets_a_newer_schema(trouble: Trouble) -> None:
    trouble.schema = SchemaGap(unknown=("099_tomorrow.sql",))
    trouble.reach("download", finishing)


def has_a_fast_clock(trouble: Trouble) -> None:
    trouble.clock.advance(900)
    is_being_done(trouble)


def went_on_without_analysis(trouble: Trouble) -> None:
    stops("analyze", PermanentFailure("model_refused", "gemini stopped writing: SAFETY"))(trouble)
    left = next(message for message in trouble.publisher.messages if message.topic == "call-analyzed")

    def done(context: StageContext) -> Completed:
        completed = finishing(context)
        return Completed(None, CallChanges(crm=completed.changes.crm, analysis_failed=True), request_state="done")

    assert trouble.deliver(parse_event(left.data), done, stage="crm_sync") == 204


def has_late_audio(trouble: Trouble) -> None:
    def without_audio(context: StageContext) -> Completed:
        return Completed(following("download", context.event), CallChanges(no_audio_reason=NO_AUDIO))  # type: ignore[arg-type] # an Event here

    trouble.reach("download", without_audio)
    for stage in ("transcribe", "analyze", "crm_sync"):
        trouble.reach(stage, finishing)
    late = late_audio_request_id(trouble.tenant.tenant_id, CALL)
    event: Event = trouble.webhook().model_copy(update={"request_id": late})
    for stage in ("download", "transcribe", "analyze", "crm_sync"):
        trouble.deliver(event, finishing, stage=stage)
        event = following(stage, event)


def only_rang_so_far(trouble: Trouble) -> None:
    trouble.side_webhook(trouble.webhook("pre_call"))


def lost_its_post_call_webhook(trouble: Trouble) -> None:
    only_rang_so_far(trouble)
    trouble.clock.advance(3600)


def is_a_text_message(trouble: Trouble) -> None:
    trouble.side_webhook(trouble.webhook("text_message"))


def was_parked(trouble: Trouble) -> None:
    trouble.side_webhook(trouble.webhook("unknown", duration="soon"))


def is_kept_in_the_inbox(trouble: Trouble) -> None:
    trouble.inbox = (f"inbox/{trouble.tenant.tenant_id}/{trouble.request_id}-00.json",)


def is_for_a_request_that_is_gone(trouble: Trouble) -> None:
    stored = RecordingStored(tenant_id=trouble.tenant.tenant_id, request_id=trouble.request_id, call_id=CALL)
    trouble.deliver(stored, finishing, stage="transcribe")
    trouble.record_letters()


def nothing(_trouble: Trouble) -> None:
    """Nobody ever heard of the call."""


def done(trouble: Trouble) -> None:
    trouble.reach("crm_sync", finishing)


def was_modified_afterwards(trouble: Trouble) -> None:
    done(trouble)
    trouble.side_webhook(trouble.webhook("call_modified", note="called back"))


def _delivery(event: Event) -> Delivery:
    return Delivery("m-1", event.model_dump_json().encode(), event.attributes(), "projects/p/s/x")


S = Situation
FAULTS = [
    # The receiver, and what never comes.
    Fault("Pub/Sub was away when the webhook came", is_kept_in_the_inbox, S.IN_INBOX,
          says=("Pub/Sub did not take the webhook",), command="pipeline sweep --once"),
    Fault("the webhook was lost, refused, too large, or nothing could be kept", nothing, S.NEVER_ARRIVED,
          says=("never sent", "webhook_refused", "413", "503", "webhook_parked", "download-call-received"),
          command="pipeline backfill --tenant acme-plumbing --since 2d"),
    Fault("the webhook had a wrong shape", was_parked, S.NOT_PROCESSED, "download", says=("not understood", "422"),
          helps="webhook_parked", command="pipeline backfill --tenant acme-plumbing --since 20"),
    Fault("it is a text message", is_a_text_message, S.NOT_PROCESSED, "download", says=("text message",)),
    Fault("the call is still going on", only_rang_so_far, S.AWAITING_POST_CALL, says=("may still be going on",)),
    Fault("the post-call webhook was lost", lost_its_post_call_webhook, S.AWAITING_POST_CALL,
          says=("may be lost",), command="pipeline backfill --tenant acme-plumbing --since 20"),
    # Workers that stop, die, hang.
    Fault("a worker is at it", is_being_done, S.RUNNING, "download", says=(WORKER,)),
    Fault("SIGTERM: the claim was given back", is_shut_down, S.RETRYING, "download", "worker_stopped"),
    Fault("SIGKILL or SIGSTOP: the lease ran out", dies_for_long, S.LEASE_OVER, "analyze",
          says=(WORKER, "died or hangs", "lease ran out"), next_try="is it running?", command="pipeline sweep --once"),
    Fault("a bug", stops("analyze", ValueError("x")), S.RETRYING, "analyze", "internal_error",
          says=("ValueError, traceback digest",)),
    Fault("a worker's clock runs ahead", has_a_fast_clock, S.RUNNING, "download", note="clock runs"),
    # Versions.
    Fault("a rolling deployment: an old worker meets a new event", meets_a_newer_event, S.BETWEEN_STAGES, "download",
          says=("event_version_unknown: version 2",)),
    Fault("the schema is one migration behind", meets_an_older_schema, S.BETWEEN_STAGES, "download",
          says=("006_reconciliation.sql",), command="pipeline migrate", note="run `pipeline migrate`"),
    Fault("the schema is one migration ahead", meets_a_newer_schema, S.BETWEEN_STAGES, "download",
          says=("on its way",), note="099_tomorrow.sql"),
    # Outside jobs and lost messages.
    Fault("Speech is at work", waits_for_speech, S.WAITING, "transcribe", says=(OPERATION,), next_try="in 15 min"),
    Fault("Speech's notification was lost", loses_speechs_notice, S.WAITING,
          "transcribe", says=(OPERATION,), next_try="is it running?", command="pipeline sweep --once"),
    Fault("the next event was lost", loses_the_next_event, S.BETWEEN_STAGES, "download",
          says=("nobody has claimed it", "transcribe is down"), command="pipeline sweep --once",
          helps="transcribe-recording-stored"),
    Fault("the worker died before it published that the call is done", dies_before_the_last_publish, S.BETWEEN_STAGES,
          "crm_sync", says=("died", "call_synced"), command="pipeline sweep --once", helps="the call itself is done"),
    Fault("Speech took the audio and gave no answer",
          stops("transcribe", TransientFailure("speech_submit_unanswered", "no answer")), S.RETRYING, "transcribe",
          "speech_submit_unanswered", helps="paid for twice"),
    # A failed model is a state.
    Fault("the call reached the CRM without an analysis", went_on_without_analysis, S.FAILED, "analyze",
          "model_refused", note="the model gave no analysis"),
    # Dead letters.
    Fault("attempts are used up", uses_up_its_attempts, S.FAILED, "crm_sync", "hubspot_unreachable",
          says=("gave up after 20 attempts",), helps="then replay"),
    Fault("Pub/Sub gave the message up", is_given_up_by_pubsub, S.RETRYING, "download", "storage_unavailable",
          note="Pub/Sub gave the message up, and the sweeper sends the stage's event again"),
    Fault("the recorder of dead letters is down", is_given_up_with_the_recorder_down, S.FAILED_UNRECORDED, "download",
          "recording_not_audio", says=("waits in its subscription",), helps="dead-letter-dead-letters"),
    Fault("a replay is on its way", is_replayed, S.REPLAYING, "download", "recording_too_large"),
    Fault("a replay failed again", is_replayed_in_vain, S.FAILED, "download", "recording_too_large",
          says=("Given up 2 times, replayed once without success",)),
    Fault("the letter was discarded", is_discarded, S.DISCARDED, "download", "recording_unreadable",
          says=("a test call",), command="pipeline dead-letters restore d-"),
    Fault("the letter was re-run from an earlier stage", is_rerun, S.SUPERSEDED, "download",
          command="pipeline why x-again"),
    Fault("the request's row is gone", is_for_a_request_that_is_gone, S.GIVEN_UP_UNCLAIMED, code="row_missing",
          command="pipeline dead-letters show d-"),
    # Arrived.
    Fault("nothing is wrong", done, S.DONE, "crm_sync", says=("hubspot: call 202, contact 101",)),
    Fault("the call was modified afterwards", was_modified_afterwards, S.DONE, "crm_sync", note="call_modified"),
    Fault("audio came late", has_late_audio, S.DONE, "crm_sync", note="request r-"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_why_names_the_cause(trouble: Trouble, fault: Fault) -> None:
    fault.happen(trouble)

    assert_named(trouble.why(), fault)


# --- more than one request, more than one tenant -----------------------------------------------------------


def test_a_request_can_be_asked_about_by_its_own_id(trouble: Trouble) -> None:
    done(trouble)
    said = trouble.webhook("call_modified", note="called back")
    trouble.side_webhook(said)

    merged = trouble.why(request_id=said.request_id)
    first = trouble.why(request_id=trouble.request_id)

    assert (merged.situation, merged.request_id) == (Situation.MERGED, said.request_id)
    assert (first.situation, first.request_id) == (Situation.DONE, trouble.request_id)


def test_of_two_requests_the_one_in_trouble_is_told_and_the_other_noted(trouble: Trouble) -> None:
    went_on_without_analysis(trouble)

    answer = trouble.why()

    assert answer.situation is Situation.FAILED
    assert any("takes the call to the CRM as far as it is known" in note for note in answer.notes)
    assert any("hubspot holds the call as call 202" in note for note in answer.notes)


def test_one_tenant_is_never_told_of_anothers_call(trouble: Trouble) -> None:
    done(trouble)
    stories = SpannerStories(trouble.database.open)

    assert stories.tell(OTHER_TENANT.tenant_id, CALL).requests == ()
    assert stories.call_of_request(OTHER_TENANT.tenant_id, trouble.request_id) == ""
    assert stories.recent(OTHER_TENANT.tenant_id, limit=10) == []


def test_a_call_that_two_tenants_have_is_found_for_both(trouble: Trouble) -> None:
    done(trouble)
    ours, trouble.tenant = trouble.tenant, OTHER_TENANT
    done(trouble)
    trouble.tenant = ours
    stories = SpannerStories(trouble.database.open)

    assert stories.tenants_of(CALL) == [(OUR_TENANT.tenant_id, CALL), (OTHER_TENANT.tenant_id, CALL)]
    assert stories.tenants_of(trouble.request_id) == [(OUR_TENANT.tenant_id, CALL)]
