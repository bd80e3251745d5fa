"""Codes of the pipeline itself: events, claims, attempts, tenants."""

from __future__ import annotations

from shared.meanings.chapter import Chapter, Meaning

_FOREIGN = "somebody published to our topics by hand, or a subscription points to the wrong service"
_CHECK_PUBLISHER = "find who published it (the message's attributes are in the letter), then discard the letter"

EVENTS = Chapter(
    title="Events",
    look="`pipeline dead-letters show LETTER --tenant TENANT`; a letter that names no tenant lies under `unassigned`.",
    avoid="Do not replay an event that cannot be read: it will be given up again, for the same reason.",
    meanings={
        "event_not_json": Meaning(f"the message is not JSON: {_FOREIGN}", _CHECK_PUBLISHER),
        "unknown_event_type": Meaning(f"the message names an event that we do not have: {_FOREIGN}", _CHECK_PUBLISHER),
        "event_against_schema": Meaning(
            "an event of ours lacks a field or has a wrong one: a publisher and a worker disagree about the contract",
            "compare the fields named with docs/api/events.md; deploy the mended side, then replay",
        ),
        "event_version_unknown": Meaning(
            "an older worker met an event of a newer version, as happens in the middle of a deployment",
            "nothing while a deployment runs: the message comes again until a newer worker takes it. "
            "After a rollback deploy the newer release again",
        ),
        "attributes_disagree": Meaning(
            f"the message's attributes and its body name different ids, so neither is believed: {_FOREIGN}",
            _CHECK_PUBLISHER,
        ),
        "wrong_topic": Meaning(f"the event does not start this stage: {_FOREIGN}", _CHECK_PUBLISHER),
        "wrong_event": Meaning("the stage was started by an event that is not its own: a bug", "tell the engineers"),
        "unexpected_event": Meaning(
            "the stage was started by an event that is not its own: a bug", "tell the engineers"
        ),
        "webhook_shape": Meaning(
            "a field of the webhook cannot be read (a time, a duration, an id)",
            "see which field is named; CallRail may have changed its bodies. "
            "After a mended release is deployed, replay",
        ),
        "foreign_output": Meaning(
            "a notification named an object of another request, so it was not believed",
            "nothing for this call; find out who writes under transcripts/ in the audio bucket",
        ),
        "not_a_transcript_object": Meaning(
            "a notification named an object that is no request's transcript; it was ignored", "nothing"
        ),
        "foreign_object": Meaning(
            "an object in the inbox lies under another tenant's name than the event in it",
            "see who wrote it: only the receiver may write there; the dead letter has the event",
        ),
        "inbox_unreadable": Meaning(
            "an object in the inbox holds no event of ours, so it could not be published",
            "look at the letter under `unassigned`; find out who writes under inbox/ in the audio bucket",
        ),
    },
)

PROGRESS = Chapter(
    title="Claims and attempts",
    look="`pipeline why CALL`; the log of the worker by `request_id`.",
    avoid="Do not edit `stage_runs` by hand: the claim token decides who may write.",
    meanings={
        "attempts_exhausted": Meaning(
            "every attempt ended without a word (the worker died or was killed), or Pub/Sub reached the subscription's "
            "limit of deliveries",
            "look in the worker's log for the request: out of memory, time-outs, restarts. Mend that, then replay",
        ),
        "internal_error": Meaning(
            "a bug of ours: something that no error class foresees",
            "find `stage_failed_unexpectedly` with the digest in the log and give it to the engineers; "
            "after the mended release is deployed the next attempt, or a replay, completes the call",
        ),
        "worker_stopped": Meaning(
            "the worker was shut down (deployment, scale-in) and gave its claim back", "nothing: the redelivery goes on"
        ),
        "claim_too_old": Meaning(
            "the worker was so slow, or stood still so long, that another one could have taken the call over while "
            "Speech was asked: the audio would have been paid for twice",
            "nothing: the redelivery goes on. When it comes often, look at the worker's CPU and at Spanner's latency",
        ),
        "run_not_recorded": Meaning(
            "a message arrived before the row it belongs to, or after that row was deleted", "nothing: it comes again"
        ),
        "call_changed": Meaning(
            "the call changed (a recording, a tag, a note, an analysis) while a stage worked on it: what was concluded "
            "no longer holds, or a CRM holds what was known before",
            "nothing: the next attempt looks at the call anew and tells the CRM again",
        ),
        "submission_not_recorded": Meaning(
            "Speech's output overtook the commit that names its operation",
            "nothing: the notification comes again, and the sweeper looks after the operation",
        ),
        "row_missing": Meaning(
            "the event speaks of a tenant, request or call that the database does not have: deleted, past its "
            "retention, or made up",
            "start the call anew with `pipeline backfill --tenant TENANT --since 7d`, and discard the letter",
        ),
        "call_not_found": Meaning(
            "the call's record is gone: past its retention (760 days), or deleted on request", "discard the letter"
        ),
        "transcript_missing": Meaning(
            "analysis was started for a call without a transcript: the chain was begun in its middle",
            "replay the letter of the transcribe stage, if there is one; otherwise tell the engineers",
        ),
        "analysis_missing": Meaning(
            "the CRM stage was started for a call without an analysis: the chain was begun in its middle",
            "replay the letter of the analyze stage, if there is one; otherwise tell the engineers",
        ),
        "no_recording": Meaning(
            "transcription was started for a call whose recording was never stored",
            "replay the letter of the download stage, if there is one; otherwise tell the engineers",
        ),
    },
)

TENANTS = Chapter(
    title="Tenants",
    look="`pipeline tenant show TENANT`.",
    avoid="Do not resume a tenant that somebody suspended on purpose; ask first.",
    meanings={
        "unknown_tenant": Meaning(
            "no tenant has this id (it may have been offboarded, or the event was made up)",
            "see `pipeline tenant list`; create the tenant and replay, or discard the letter",
        ),
        "tenant_suspended": Meaning(
            "the tenant is suspended, so its calls are kept and not processed",
            "`pipeline tenant resume TENANT`; its calls then go on by themselves with the next sweep",
        ),
        "over_share": Meaning(
            "the tenant sends more than its share of what all tenants use together: a stage puts its calls to sleep "
            "and goes on with others', the receiver answers 429",
            "nothing for a wave of calls: they go on by themselves. When it lasts, raise PIPELINE_STAGE_TENANT_RATE or "
            "PIPELINE_RECEIVER_TENANT_RATE",
        ),
        "tenant_config_unreadable": Meaning(
            "the tenant's stored configuration does not fit what this release understands; its calls wait in the "
            "blocked lane, and the receiver cannot check its webhooks (503)",
            "write it anew with `pipeline tenant update TENANT --config FILE`: waiting calls go on by themselves, and "
            "`pipeline backfill --tenant TENANT --since DAY` fetches those that the receiver turned away",
        ),
        "crm_not_configured": Meaning(
            "the tenant has no integration with this CRM any more, though the call was meant for it",
            "add it with `pipeline tenant update TENANT --config FILE`",
        ),
        "tenant_lookup_busy": Meaning(
            "too many look-ups of tenants wait for Spanner; nothing was kept of that request", "see Spanner below"
        ),
        "tenant_lookup_timeout": Meaning("Spanner did not say in time whose call this is", "see Spanner below"),
    },
)

CHAPTERS = (EVENTS, PROGRESS, TENANTS)
