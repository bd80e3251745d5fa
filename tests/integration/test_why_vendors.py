"""For each fault at a vendor or of a tenant's settings, `pipeline why` names the cause, from the rows that it leaves.

The rows are real: the runner ran (with a scripted stage), the errors come from the gateways' own tables, the letters
from the recorder, all in the Spanner emulator.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.api_core import exceptions as google_errors

from shared.capacity import asleep
from shared.errors import (
    Deferred,
    NotReady,
    OutOfCapacity,
    PermanentFailure,
    PipelineError,
    TenantBlocked,
    TransientFailure,
)
from shared.gateways.database import translated
from shared.gateways.gemini_errors import translated as vertex_translated
from shared.gateways.hubspot_errors import failure as hubspot_failure
from shared.gateways.hubspot_errors import item_failure as hubspot_item_failure
from shared.gateways.salesforce_errors import Problem, Refusal
from shared.gateways.speech_errors import in_our_words
from shared.gateways.tenants import SpannerTenantDirectory
from shared.stage import Completed, StageContext
from shared.whereabouts.situations import Situation
from tests.support.pipeline_database import OUR_TENANT
from tests.support.trouble import Trouble, finishing, raising
from tests.support.why_faults import Fault, assert_named, stops, trouble

__all__ = ["trouble"]

pytestmark = pytest.mark.emulators


def behind_the_circuit(error: Callable[[Trouble], PipelineError], *, times: int) -> Callable[[Trouble], object]:
    """`times` calls meet the vendor's refusal through the tenant's circuit; the asked call is the last of them."""

    def happen(trouble: Trouble) -> None:
        def refused(_context: StageContext) -> Completed:
            def work() -> Completed:
                raise error(trouble)

            return trouble.breaker.call(trouble.tenant.tenant_id, "hubspot", work)

        for number in range(times - 1):
            trouble.reach("crm_sync", refused, call_id=f"CALearlier{number}")
        trouble.reach("crm_sync", refused)

    return happen


def hubspot(status: int, body: dict[str, object], **more: Any) -> Callable[[Trouble], PipelineError]:
    return lambda trouble: hubspot_failure(status, body, action="upsert a call", now=trouble.clock(), **more)


def salesforce(code: str, *fields: str) -> Callable[[Trouble], PipelineError]:
    refusal = Refusal(Problem(code, fields), operation="upsert of a Task", status=400)
    return lambda trouble: refusal.as_error(trouble.clock())


def of_spanner(error: Exception) -> PipelineError:
    with pytest.raises(PipelineError) as raised, translated("read call"):
        raise error
    return raised.value


def of_vertex(error: Exception) -> PipelineError:
    with pytest.raises(PipelineError) as raised, vertex_translated(model="gemini", location="us"):
        raise error
    return raised.value


def no_capacity() -> OutOfCapacity:
    error = of_vertex(google_errors.ResourceExhausted("x"))
    assert isinstance(error, OutOfCapacity)
    return error


def has_an_unreadable_tenant(trouble: Trouble) -> None:
    """As the runner does: it claims the run and stops with what the directory said."""
    trouble.change("UPDATE tenants SET config = JSON '{}' WHERE tenant_id = 'acme-plumbing'")
    directory = SpannerTenantDirectory(trouble.database.open, ttl_s=1, negative_ttl_s=1)
    with pytest.raises(TenantBlocked) as unreadable:
        directory.by_id("acme-plumbing")
    trouble.reach("download", raising(unreadable.value))


def belongs_to_a_suspended_tenant(trouble: Trouble) -> None:
    trouble.change("UPDATE tenants SET status = 'suspended' WHERE tenant_id = 'acme-plumbing'")
    active, trouble.tenant = trouble.tenant, OUR_TENANT.model_copy(update={"status": "suspended"})
    trouble.reach("download", finishing)
    trouble.tenant = active


def is_resumed_and_not_yet_swept(trouble: Trouble) -> None:
    belongs_to_a_suspended_tenant(trouble)
    trouble.change("UPDATE tenants SET status = 'active' WHERE tenant_id = 'acme-plumbing'")


def was_synced_by_half(trouble: Trouble) -> None:
    def half(context: StageContext) -> Completed:
        context.save_checkpoint({"salesforce": {"activity_id": "1"}})
        raise TransientFailure("hubspot_503", "HubSpot answered 503 to upsert a call")

    trouble.reach("crm_sync", half)


S = Situation
FAULTS = [
    # Failing well: each vendor's errors.
    Fault("Salesforce locks a row", stops("crm_sync", salesforce("UNABLE_TO_LOCK_ROW")), S.RETRYING, "crm_sync",
          "salesforce_unable_to_lock_row", next_try="Pub/Sub delivers it again after 10 to 600 s"),
    Fault("Salesforce finds duplicates", stops("crm_sync", salesforce("DUPLICATES_DETECTED")), S.FAILED, "crm_sync",
          "salesforce_duplicates_detected", helps="merge the duplicates", command="pipeline dead-letters replay d-"),
    Fault("Salesforce lacks a field", stops("crm_sync", salesforce("INVALID_FIELD", "Ext_Call_Id__c")), S.BLOCKED,
          "crm_sync", "salesforce_invalid_field", says=("Ext_Call_Id__c",), helps="salesforce-setup.md"),
    Fault("one item of HubSpot's 207 conflicts",
          stops("crm_sync", lambda t: hubspot_item_failure({"category": "CONFLICT"}, action="upsert", now=t.clock())),
          S.FAILED, "crm_sync", "hubspot_conflict", helps="then replay"),
    Fault("Speech refuses one file inside a successful operation",
          stops("transcribe", PermanentFailure("speech_failed", "INVALID_ARGUMENT: bad encoding")), S.FAILED,
          "transcribe", "speech_failed", says=("bad encoding",), command="pipeline dead-letters replay d-"),
    Fault("Gemini stops for safety", stops("analyze", PermanentFailure("model_refused", "SAFETY")), S.FAILED,
          "analyze", "model_refused"),
    Fault("Gemini's prompt is blocked", stops("analyze", PermanentFailure("prompt_blocked", "PROHIBITED_CONTENT")),
          S.FAILED, "analyze", "prompt_blocked"),
    Fault("a storage precondition: the object was replaced while read",
          stops("transcribe", NotReady("object_missing", "could not read x: status 412")), S.RETRYING, "transcribe",
          "object_missing"),
    Fault("Spanner aborts too often", stops("download", of_spanner(google_errors.Aborted("x"))), S.RETRYING,
          "download", "spanner_unavailable"),
    Fault("Spanner loses the session", stops("download", of_spanner(google_errors.NotFound("Session not found: x"))),
          S.RETRYING, "download", "spanner_not_found"),
    # Deferral.
    Fault("HubSpot's daily quota is spent", stops("crm_sync", hubspot(429, {"policyName": "DAILY"})), S.DEFERRED,
          "crm_sync", "hubspot_daily_quota", next_try="the first sweep after"),
    Fault("Salesforce's daily quota is spent", stops("crm_sync", salesforce("REQUEST_LIMIT_EXCEEDED")), S.DEFERRED,
          "crm_sync", "salesforce_request_limit_exceeded", next_try="the first sweep after"),
    Fault("the recording is not published yet",
          stops("download", lambda t: Deferred("recording_not_ready", "status 404",
                                               until=t.clock() + timedelta(minutes=5))),
          S.DEFERRED, "download", "recording_not_ready", next_try="in 5 min", helps="goes on without"),
    Fault("the recording is a matter of seconds", stops("download", NotReady("recording_not_ready", "status 404")),
          S.RETRYING, "download", "recording_not_ready"),
    Fault("the model has no capacity",
          stops("analyze", lambda t: asleep(no_capacity(), now=t.clock(), pause=timedelta(minutes=5))),
          S.DEFERRED, "analyze", "vertex_resource_exhausted", next_try="in 5 min"),
    Fault("the model has had no capacity for hours", stops("analyze", no_capacity()), S.RETRYING, "analyze",
          "vertex_resource_exhausted"),
    Fault("a vendor asks for a long pause",
          stops("transcribe", in_our_words("RESOURCE_EXHAUSTED", "slow", tried="BatchRecognize", retry_after_s=900)),
          S.DEFERRED, "transcribe", "speech_throttled", next_try="in 15 min"),
    # Circuits and tenants' mistakes.
    Fault("HubSpot refuses the token for the first time", behind_the_circuit(hubspot(401, {}), times=1), S.BLOCKED,
          "crm_sync", "hubspot_401", says=("refused once in a row; its circuit is still closed",),
          helps="HubSpot token"),
    Fault("HubSpot's circuit is open", behind_the_circuit(hubspot(401, {}), times=4), S.BLOCKED, "crm_sync",
          "hubspot_401", says=("no call is sent there; one probe is due at",),
          next_try="once one call gets through to hubspot", command="pipeline tenant show acme-plumbing"),
    Fault("HubSpot's circuit is throttled", behind_the_circuit(hubspot(429, {"policyName": "DAILY"}), times=2),
          S.DEFERRED, "crm_sync", "hubspot_daily_quota", says=("has no quota left for this tenant now",)),
    Fault("HubSpot's property is missing",
          stops("crm_sync", hubspot(400, {"message": "PROPERTY_DOESNT_EXIST"})), S.BLOCKED, "crm_sync",
          "hubspot_property_missing"),
    Fault("CallRail refuses the tenant's key",
          stops("download", TenantBlocked("callrail_key_refused", "CallRail's API refused the tenant's key",
                                          fix="put a valid key into secret acme-callrail", vendor="callrail")),
          S.BLOCKED, "download", "callrail_key_refused", helps="acme-callrail"),
    Fault("a secret is being replaced",
          stops("crm_sync", TenantBlocked("secret_disabled", "secret acme-hubspot is disabled")), S.BLOCKED, "crm_sync",
          "secret_disabled"),
    Fault("the tenant is suspended", belongs_to_a_suspended_tenant, S.SUSPENDED, "download",
          says=("suspended tenant",), command="pipeline tenant resume acme-plumbing"),
    Fault("the tenant was resumed a moment ago", is_resumed_and_not_yet_swept, S.SUSPENDED, "download",
          says=("active again",), command="pipeline sweep --once"),
    Fault("the tenant's stored configuration is unreadable", has_an_unreadable_tenant, S.BLOCKED, "download",
          "tenant_config_unreadable", says=("callrail_company_ids",), helps="pipeline tenant update",
          command="pipeline tenant show acme-plumbing"),
    # Vendors that stall, drop the connection, answer rubbish.
    Fault("HubSpot stalls", stops("crm_sync", TransientFailure("hubspot_timeout", "hubspot gave no answer to a POST")),
          S.RETRYING, "crm_sync", "hubspot_timeout"),
    Fault("HubSpot drops the connection after doing the work",
          stops("crm_sync", TransientFailure("hubspot_unreachable", "hubspot gave no answer to a POST")), S.RETRYING,
          "crm_sync", "hubspot_unreachable"),
    Fault("HubSpot answers 500", stops("crm_sync", hubspot(500, {})), S.RETRYING, "crm_sync", "hubspot_500"),
    Fault("Salesforce answers rubbish",
          stops("crm_sync", TransientFailure("salesforce_bad_answer", "not of the known form")), S.RETRYING,
          "crm_sync", "salesforce_bad_answer"),
    Fault("the model answers rubbish", stops("analyze", PermanentFailure("model_reply_invalid", "not one JSON")),
          S.FAILED, "analyze", "model_reply_invalid"),
    Fault("HubSpot down, Salesforce up", was_synced_by_half, S.RETRYING, "crm_sync", "hubspot_503",
          note="salesforce took the call already and is not asked again"),
]  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_why_names_the_cause(trouble: Trouble, fault: Fault) -> None:
    fault.happen(trouble)

    assert_named(trouble.why(), fault)
