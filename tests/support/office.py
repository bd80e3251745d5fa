"""A post office for whole calls: the real stages, and a test that says what is delivered, when, by which clock."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import httpx
from google.cloud import spanner

from handlers import wiring
from handlers.push import StageTaker
from infra.local.spanner import create_database, drop_database
from infra.local.standins.hubspot_hub import portal_name
from schemas.events import CallReceived
from schemas.tenant import Tenant
from shared.deliveries import Delivery
from shared.names import first_request_id, transcript_prefix
from shared.sweeper import Sweeper, SweepReport
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.flaky import BUCKET, Chain, running_neighbours, secret_values, wired_chain
from tests.support.pipeline_database import PipelineDatabase, pipeline_ddl
from tests.support.ports import HandClock, MemoryPublisher, Message
from tests.support.webhooks import POST_CALL

STAGE_OF_TOPIC: Mapping[str, str] = {
    "call-received": "download",
    "recording-stored": "transcribe",
    "call-transcribed": "analyze",
    "call-analyzed": "crm_sync",
}
CONVERSATION = {
    "turns": [
        {"channel": 1, "start_s": 0, "end_s": 1.5, "text": "Example Plumbing, how can I help you?"},
        {"channel": 2, "start_s": 1.6, "end_s": 4, "text": "My water heater burst, I need somebody today."},
    ]
}
_MOST_TRIES = 20
"""As infra/pipeline.json: after that Pub/Sub would call it a dead letter."""
_CALLS = itertools.count(1)


@dataclass
class Office:
    """Delivers published messages in order; `clock` is everybody's, and moves when told to."""

    chain: Chain
    clock: HandClock = field(default_factory=lambda: HandClock(datetime.now(UTC)))
    publisher: MemoryPublisher = field(default_factory=MemoryPublisher)
    delivered: int = 0
    """How many of the published messages were taken out."""

    # -- calls -----------------------------------------------------------------------------------------

    def received(self, tenant: Tenant, *, audio: bytes | None = None, **changes: Any) -> CallReceived:
        """A new call's post-call webhook, published; without `audio` a missed call."""
        call_id = f"CAL{next(_CALLS):032x}"
        if audio is not None:
            self.chain.hold_recording(call_id, audio)
        silent = {} if audio is not None else {"recording": "", "answered": False, "duration": "0"}
        event = CallReceived(
            tenant_id=tenant.tenant_id,
            request_id=first_request_id(tenant.tenant_id, call_id),
            call_id=call_id,
            kind="post_call",
            received_at=self.clock(),
            payload={**POST_CALL, "resource_id": call_id, **silent, **_link(call_id, audio), **changes},
        )
        self.publisher.publish(event.topic, event.model_dump_json().encode(), event.attributes())
        return event

    # -- deliveries ------------------------------------------------------------------------------------

    def take(self, message: Message, **attributes: str) -> int:
        """Deliver one message once; the worker's status."""
        stage = STAGE_OF_TOPIC[message.topic]
        delivery = Delivery("m-1", message.data, {**message.attributes, **attributes}, "projects/p/subscriptions/s")
        return self._taker(stage)(delivery).status

    def notify(self, event: CallReceived) -> list[int]:
        """Cloud Storage's notices of every output object of a request; the worker's statuses."""
        names = self.chain.objects.list_names(transcript_prefix(event.tenant_id, event.request_id))
        notices = [{"eventType": "OBJECT_FINALIZE", "bucketId": BUCKET, "objectId": name} for name in names]
        return [self._taker("transcribe")(Delivery("n-1", b"{}", notice, "s")).status for notice in notices]

    def carry(self, event: CallReceived, *, notices: bool = True, tries: int = _MOST_TRIES) -> None:
        """Deliver what is published and what follows from it, each message until it is acknowledged or given up."""
        while self.delivered < len(self.publisher.messages):
            message = self.publisher.messages[self.delivered]
            self.delivered += 1
            if message.topic not in STAGE_OF_TOPIC:
                continue
            self._until_acknowledged(message, tries)
            if message.topic == "recording-stored":
                self.chain.neighbours.speech.book.wait_until_idle()
                if notices:
                    self.notify(event)

    def _until_acknowledged(self, message: Message, tries: int) -> None:
        for _ in range(tries):
            if self.take(message) < 300:
                return

    def _taker(self, stage: str) -> StageTaker:
        runner = replace(self.chain.runners[stage], publisher=self.publisher, now=self.clock)
        return StageTaker(runner=runner, audio_bucket=BUCKET)

    # -- the sweeper -----------------------------------------------------------------------------------

    def sweeper(self) -> Sweeper:
        return replace(wiring.sweeper(self.chain.settings), publisher=self.publisher, now=self.clock)

    def sweep(self) -> SweepReport:
        return self.sweeper().sweep()

    # -- what is there ---------------------------------------------------------------------------------

    def letters(self) -> list[Message]:
        """Dead letters that were published."""
        return [message for message in self.publisher.messages if message.topic == "dead-letters"]

    def runs(self, event: CallReceived) -> dict[str, str]:
        """The state of each stage of a request."""
        rows = self.chain.database.rows(
            f"SELECT stage, state FROM stage_runs WHERE tenant_id = '{event.tenant_id}'"
            f" AND request_id = '{event.request_id}'"
        )
        return {str(stage): str(state) for stage, state in rows}

    def request_state(self, event: CallReceived) -> str:
        """Empty as long as no delivery of the request was recorded."""
        rows = self.chain.database.rows(
            f"SELECT state FROM processing_requests WHERE tenant_id = '{event.tenant_id}'"
            f" AND request_id = '{event.request_id}'"
        )
        return str(rows[0][0]) if rows else ""

    def crm_calls(self, event: CallReceived) -> tuple[int, int]:
        """How many records of the call HubSpot and Salesforce hold for its tenant."""
        tenant_id = event.tenant_id
        portal = portal_name(secret_values(tenant_id)[f"{tenant_id}-hubspot"])
        calls = self.chain.neighbours.state("hubspot")["calls"]
        org = self.chain.neighbours.state("salesforce")["orgs"][f"{tenant_id}-consumer"]
        return (
            sum(call["portal"] == portal and event.call_id in str(call) for call in calls),
            sum(event.call_id in str(task) for task in org["tasks"]),
        )

    def speech_jobs(self, event: CallReceived) -> int:
        """How many recognitions of the call were started, and are paid."""
        started = self.chain.neighbours.speech.book.state()["started"]
        return sum(count for uri, count in started.items() if event.call_id in uri)


def _link(call_id: str, audio: bytes | None) -> dict[str, str]:
    if audio is None:
        return {"recording_redirect": "", "recording_player": ""}
    link = f"https://app.callrail.com/calls/{call_id}/recording/redirect?access_key=0000000000000000aaaa"
    return {"recording": link, "recording_redirect": link}


@contextmanager
def open_chain(spanner_emulator: str, gcs_server: str, *, name: str) -> Iterator[Chain]:
    """All stages with all neighbours on a database of their own while the block runs."""
    where = {
        "address": spanner_emulator,
        "project_id": TEST_PROJECT,
        "instance_id": TEST_INSTANCE,
        "database_id": name,
    }
    create_database(**where, ddl=pipeline_ddl())
    client = spanner.Client(project=TEST_PROJECT, disable_builtin_metrics=True)
    database = PipelineDatabase(client.instance(TEST_INSTANCE).database(name))
    with running_neighbours(gcs_server) as neighbours, wired_chain(neighbours, database) as chain:
        said = {"audio_uri": "*", "transcript": CONVERSATION}
        httpx.post(f"{neighbours.speech.admin_url}/_standin/transcripts", json=said, trust_env=False).raise_for_status()
        yield chain
    client.close()
    drop_database(**where)
