"""What a tenant may ask for beyond redaction: no audio kept, and nothing transcribed without a marker of consent."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from google.cloud.spanner_v1 import JsonObject

from infra.local.standins.faults import FaultRule
from schemas.calls import CallRecord
from schemas.events import CallReceived
from schemas.tenant import Tenant
from shared.gateways.calls import SpannerCalls
from shared.names import late_audio_request_id, side_request_id
from tests.support.audio import wav
from tests.support.flaky import Chain
from tests.support.office import Office

pytestmark = pytest.mark.emulators


def tenant_with(chain: Chain, **privacy: Any) -> Tenant:
    tenant = chain.new_tenant()
    config = tenant.config.model_copy(update={"privacy": tenant.config.privacy.model_copy(update=privacy)})
    changed = tenant.model_copy(update={"config": config})
    with chain.database.database.batch() as batch:
        batch.update(
            "tenants", ("tenant_id", "config"), [(tenant.tenant_id, JsonObject(config.model_dump(mode="json")))]
        )
    return changed


def objects_of(chain: Chain, tenant: Tenant) -> list[str]:
    return [
        name
        for folder in ("recordings", "transcripts")
        for name in chain.objects.list_names(f"{folder}/{tenant.tenant_id}/")
    ]


def call_of(chain: Chain, event: CallReceived) -> CallRecord:
    call = SpannerCalls(chain.database.open, chain.database.vault).get(event.tenant_id, event.call_id)
    assert call is not None
    return call


def test_audio_is_gone_once_the_transcript_is_stored(chain: Chain, office: Office) -> None:
    tenant = tenant_with(chain, drop_audio=True)
    event = office.received(tenant, audio=wav(2.0, channels=2))

    office.carry(event)

    assert call_of(chain, event).transcript is not None
    assert objects_of(chain, tenant) == []
    assert office.crm_calls(event) == (1, 1)


def test_audio_stays_as_long_as_there_is_no_transcript(chain: Chain, office: Office) -> None:
    chain.neighbours.plans["speech"].add(
        FaultRule(operation="batch_recognize", kind="status", grpc_code="INTERNAL", times=99)
    )
    tenant = tenant_with(chain, drop_audio=True)
    event = office.received(tenant, audio=wav(2.0, channels=2))

    office.carry(event, tries=2)

    assert call_of(chain, event).transcript is None
    assert len(objects_of(chain, tenant)) == 1


def test_others_keep_their_audio_and_never_speechs_raw_output(chain: Chain, office: Office) -> None:
    tenant = chain.new_tenant()
    event = office.received(tenant, audio=wav(2.0, channels=2))
    office.carry(event)

    assert call_of(chain, event).transcript is not None
    assert objects_of(chain, tenant) == [f"recordings/{tenant.tenant_id}/{event.call_id}.wav"]


@pytest.mark.parametrize(
    ("tags", "is_heard"), [([], False), (["other"], False), (["Consented"], True), ([" CONSENTED ", "x"], True)]
)
def test_without_the_marker_a_call_is_neither_fetched_nor_transcribed(
    chain: Chain, office: Office, tags: list[str], is_heard: bool
) -> None:
    tenant = tenant_with(chain, consent_tag="consented")
    event = office.received(tenant, audio=wav(2.0, channels=2), tags=tags)

    office.carry(event)

    call = call_of(chain, event)
    assert (call.transcript is not None) is is_heard
    assert bool(objects_of(chain, tenant)) is is_heard
    assert office.speech_jobs(event) == int(is_heard)
    assert office.crm_calls(event) == (1, 1), "the CRM has the call either way"
    assert call.no_audio_reason == ("" if is_heard else "no_consent_marker")


def test_a_marker_that_comes_late_continues_the_call_by_itself_once(chain: Chain, office: Office) -> None:
    tenant = tenant_with(chain, consent_tag="consented")
    event = office.received(tenant, audio=wav(2.0, channels=2), tags=[])
    office.carry(event)

    jobs = [(office.speech_jobs(event), call_of(chain, event).no_audio_reason)]
    for tags in (["hot"], ["hot", "consented"], ["hot", "consented", "again"]):  # an unrelated change uses nothing up
        change(office, event, tags=tags)
        office.carry(event.model_copy(update={"request_id": late_audio_request_id(tenant.tenant_id, event.call_id)}))
        jobs.append((office.speech_jobs(event), call_of(chain, event).no_audio_reason))

    assert jobs == [(0, "no_consent_marker"), (0, "no_consent_marker"), (1, ""), (1, "")]
    assert call_of(chain, event).transcript is not None
    assert office.crm_calls(event) == (1, 1)


def change(office: Office, event: CallReceived, *, tags: list[str]) -> None:
    """CallRail's webhook of a changed call, as the receiver publishes it."""
    payload = {**event.payload, "tags": tags, "changes": ["tags"]}
    request_id = side_request_id(event.tenant_id, event.call_id, "call_modified", str(tags))
    received_at = event.received_at + timedelta(minutes=len(tags))
    update = {"kind": "call_modified", "request_id": request_id, "payload": payload, "received_at": received_at}
    modified = event.model_copy(update=update)
    office.publisher.publish(modified.topic, modified.model_dump_json().encode(), modified.attributes())
