"""Faults that somebody could make in the code that keeps the promises, and the tests that must notice each.

A generic mutation tool turns operators around and finds tests that look at too little. These are the mistakes of this
trade: acknowledged too early, published before it was recorded, a condition forgotten, a key left out.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """`before` stands once in `file` and becomes `after`; at least one of `tests` must fail then."""

    name: str
    file: str
    before: str
    after: str
    tests: tuple[str, ...]


_RUNNER = "tests/integration/test_runner.py"
_RUNNER_ERRORS = "tests/integration/test_runner_errors.py"
_SWEEPER = "tests/integration/test_sweeper.py"
_SWEEPER_TROUBLE = "tests/integration/test_sweeper_trouble.py"
_REPLAY = "tests/integration/test_replay.py"
_REPLAY_TO_THE_CRM = "tests/integration/test_replay_to_the_crm.py"
_TRANSCRIBE = "tests/integration/test_transcribe_paid_once.py"
_CRASHES = "tests/integration/test_crash_points.py"
_PROTOCOL = "tests/integration/test_claim_protocol.py"

FAULTS = (
    # --- claims ---------------------------------------------------------------------------------------
    Fault(
        "a live claim is taken over",
        "shared/claims.py",
        "return Verdict.TAKE_OVER if run.lease_until <= now else Verdict.BUSY",
        "return Verdict.TAKE_OVER",
        (_PROTOCOL,),
    ),
    Fault(
        "a claim whose lease is over is left alone for ever",
        "shared/claims.py",
        "return Verdict.TAKE_OVER if run.lease_until <= now else Verdict.BUSY",
        "return Verdict.BUSY",
        (_PROTOCOL,),
    ),
    Fault(
        "two workers take over the same run",
        "shared/gateways/run_store.py",
        'expected={"claim_token": run.claim_token, "state": run.state},',
        'expected={"state": run.state},',
        (_RUNNER, _PROTOCOL),
    ),
    Fault(
        "a worker that lost its claim writes over the winner",
        "shared/gateways/run_store.py",
        'return {"claim_token": claim_token, "state": "running"}',
        'return {"state": "running"}',
        (_RUNNER,),
    ),
    Fault(
        "the second of two finishers overwrites the first",
        "shared/gateways/run_store.py",
        "put(\n        batch.insert,",
        "put(\n        batch.insert_or_update,",
        ("tests/integration/test_shutdown.py", _PROTOCOL),
    ),
    Fault(
        "a planned sleep counts as a failed attempt",
        "shared/claims.py",
        'return run.attempt if run.state in {"waiting", "deferred", "blocked"} else run.attempt + 1',
        "return run.attempt + 1",
        (_RUNNER, _RUNNER_ERRORS),
    ),
    # --- the runner's order ---------------------------------------------------------------------------
    Fault(
        "the next event is published before the result is recorded",
        "shared/runner.py",
        'crash_point("stage_run")\n        try:\n            self.store.finish(run, recorded)',
        'crash_point("stage_run")\n        self._publish_next(run.key, next_event, delivery)\n        try:\n'
        "            self.store.finish(run, recorded)",
        (_RUNNER, _PROTOCOL),
    ),
    Fault(
        "a redelivery of finished work is acknowledged without its next event",
        "shared/runner.py",
        "return self._publish_next(run.key, run.next_event, delivery)",
        "return ACKNOWLEDGED",
        (_PROTOCOL,),
    ),
    Fault(
        "a request ends before its last event is published",
        "shared/request_ends.py",
        "return completed if is_first_claim else",
        "return completed if True else",
        (_SWEEPER, _PROTOCOL),
    ),
    Fault(
        "a request whose last event is published stays open",
        "shared/request_ends.py",
        "        store.end_request(key)",
        "        pass",
        (_SWEEPER, _PROTOCOL),
    ),
    Fault(
        "whoever finished second publishes nothing",
        "shared/runner.py",
        "return self._repeat_stored(run.key, delivery)",
        "return ACKNOWLEDGED",
        (_RUNNER, _PROTOCOL),
    ),
    Fault(
        "a delivery during a live claim is acknowledged",
        "shared/runner.py",
        "case Verdict.BUSY:\n                return AGAIN",
        "case Verdict.BUSY:\n                return ACKNOWLEDGED",
        (_RUNNER,),
    ),
    Fault(
        "a next event that Pub/Sub did not take is acknowledged",
        "shared/runner.py",
        'log.warning("next_event_not_published", code=error.code)\n            return AGAIN',
        'log.warning("next_event_not_published", code=error.code)',
        ("tests/integration/test_stack_processes.py", _RUNNER, _CRASHES),
    ),
    Fault(
        "a delivery is acknowledged although the database was away",
        "shared/runner.py",
        'log.warning("delivery_put_back", code=error.code, detail=error.detail)\n            return AGAIN',
        'log.warning("delivery_put_back", code=error.code, detail=error.detail)\n            return ACKNOWLEDGED',
        (_RUNNER,),
    ),
    Fault(
        "a failed call is acknowledged although its dead letter was not published",
        "shared/runner.py",
        'log.error("dead_letter_not_published", reason=given_up.reason, code=error.code)\n            return AGAIN',
        'log.error("dead_letter_not_published", reason=given_up.reason, code=error.code)\n'
        "            return ACKNOWLEDGED",
        (_RUNNER_ERRORS,),
    ),
    Fault(
        "a worker that is told to stop keeps its claims",
        "shared/runner.py",
        "self.store.sleep(key, token, _WORKER_STOPPED)\n                given_back += 1",
        "given_back += 1",
        ("tests/integration/test_shutdown.py",),
    ),
    Fault(
        "a worker that has given its claims back claims again",
        "shared/active_claims.py",
        "self._closed = True",
        "self._closed = False",
        ("tests/integration/test_shutdown.py",),
    ),
    Fault(
        "a recording announced as its call goes on without it is forgotten",
        "shared/gateways/run_store.py",
        "            only.check(transaction)\n            _write_results",
        "            _write_results",
        ("tests/integration/test_many_triggers.py",),
    ),
    Fault(
        "a tenant's mistake becomes a dead letter",
        "shared/answers.py",
        'return Consequence(sleep("blocked", due_at=due_at, vendor=error.vendor), ACKNOWLEDGED)',
        'return Consequence(sleep("failed"), None)',
        (_RUNNER_ERRORS,),
    ),
    # --- nothing twice --------------------------------------------------------------------------------
    Fault(
        "a second upload replaces the recording",
        "shared/gateways/objects.py",
        "content_type=content_type, if_generation_match=0, checksum",
        "content_type=content_type, checksum",
        ("tests/contract/test_object_store.py",),
    ),
    Fault(
        "HubSpot calls are not keyed by the call",
        "shared/gateways/hubspot.py",
        "CALL_KEY, call.call_id, values, budget=budget).record_id\n        except",
        "CALL_KEY, str(self._clock()), values, budget=budget).record_id\n        except",
        ("tests/contract/test_hubspot_gateway.py",),
    ),
    Fault(
        "Salesforce Tasks are not keyed by the call",
        "shared/gateways/salesforce_sync.py",
        'Write(_TASK, "Task", values, external_field=CALL_KEY, external_value=self._call.call_id)',
        'Write(_TASK, "Task", values)',
        ("tests/contract/test_salesforce_gateway.py",),
    ),
    Fault(
        "a second submission whose name was lost is submitted again",
        "stages/transcribe/stage.py",
        "    operation = deps.speech.running(job, apart_from=apart_from)\n",
        '    operation = ""\n',
        ("tests/integration/test_transcribe_paid_once.py",),
    ),
    Fault(
        "audio is submitted although the lease is nearly over",
        "shared/active_claims.py",
        "    if now() >= run.lease_until - lease * _LEFT_FOR_WHAT_IS_PAID:",
        "    if False:",
        ("tests/integration/test_begin_paid.py",),
    ),
    Fault(
        "a claim is given back while Speech is asked",
        "shared/active_claims.py",
        "if token not in self._kept]",
        "]",
        ("tests/integration/test_begin_paid.py",),
    ),
    Fault(
        "a known operation is submitted again",
        "stages/transcribe/stage.py",
        "    if saved is not None:\n        return _look_after(context, deps, saved)",
        "",
        (_TRANSCRIBE,),
    ),
    Fault(
        "an operation that a dead worker started is not looked for",
        "stages/transcribe/stage.py",
        "    if context.attempt > 1:",
        "    if context.attempt > 99:",
        (_TRANSCRIBE,),
    ),
    # --- the way round a failure ----------------------------------------------------------------------
    Fault(
        "202 before Pub/Sub or the inbox has the webhook",
        "handlers/receiver.py",
        "name = self.inbox.keep(event, attributes)",
        'name = ""',
        ("tests/unit/test_receiver_outage.py",),
    ),
    Fault(
        "an inbox object is removed before it is published",
        "shared/inbox.py",
        'publisher.publish(event.topic, event_data, attributes)\n        crash_point("inbox_published")\n'
        "        self.objects.delete(name)",
        "self.objects.delete(name)\n        publisher.publish(event.topic, event_data, attributes)\n"
        '        crash_point("inbox_published")',
        ("tests/integration/test_inbox.py", _CRASHES),
    ),
    Fault(
        "two sweeps at once send the same run",
        "shared/gateways/sweep_store.py",
        'expected={"state": run.state, "updated_at": run.updated_at, "due_at": run.due_at},',
        'expected={"state": run.state},',
        (_SWEEPER_TROUBLE,),
    ),
    Fault(
        "a request whose next event was lost is not pushed on",
        "shared/sweeper.py",
        "actions.update(self._push_request(tenant_id, request))",
        "pass",
        (_SWEEPER,),
    ),
    Fault(
        "one tenant's trouble ends the sweep for all",
        "shared/sweeper.py",
        'log.warning("sweep_of_tenant_failed", tenant_id=tenant_id, code=error.code, detail=error.detail)',
        "break",
        (_SWEEPER_TROUBLE,),
    ),
    Fault(
        "an open circuit lets everybody through",
        "shared/circuits.py",
        "raise _reason(circuit, at=max(circuit.probe_at, now))",
        "return",
        ("tests/integration/test_circuits.py",),
    ),
    # --- dead letters ---------------------------------------------------------------------------------
    Fault(
        # What the operator is told before is a second guard: this one holds against two operators at once.
        "a letter that is being replayed is replayed again",
        "shared/gateways/replay_starts.py",
        'return replays == letter.replays and (state == "open" or has_stalled)',
        "return replays >= letter.replays or has_stalled",
        (_REPLAY,),
    ),
    Fault(
        "replays never end",
        "shared/desk_messages.py",
        "if letter.replays >= options.max_replays and not options.is_forced:",
        "if False:",
        (_REPLAY,),
    ),
    Fault(
        "a replayed call has arrived when the stage that had failed is done",
        "shared/desk_jobs.py",
        "if sent.request_state in ENDED or",
        'if sent.run_state == "done" or',
        (_REPLAY_TO_THE_CRM,),
    ),
    Fault(
        "a late message reopens what a replay has completed",
        "shared/dead_letters.py",
        "return all(moment is None or failure.published_at > moment for moment in moments)",
        "return True",
        (_REPLAY, "tests/integration/test_dead_letter_desk.py"),
    ),
    Fault(
        "a slow sync of an older call has the last word",
        "stages/crm_sync/stage.py",
        ", call_as_of=call.updated_at)",
        ")",
        ("tests/integration/test_incomplete_calls.py",),
    ),
    Fault(
        "a repeated webhook makes a call look changed",
        "shared/gateways/call_merger.py",
        "if merged.details == known.details:",
        "if False:",
        ("tests/integration/test_call_merger.py",),
    ),
    # --- content --------------------------------------------------------------------------------------
    Fault(
        "a reply of the model that fails the checks is stored",
        "stages/analyze/stage.py",
        "        except ReplyInvalid as invalid:",
        "        except ZeroDivisionError as invalid:",
        ("tests/integration/test_analyze_stage.py",),
    ),
)
