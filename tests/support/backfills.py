"""A pipeline with a database, CallRail's stand-in and two customers, for tests of backfill and reconciliation."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from google.cloud.spanner_v1 import COMMIT_TIMESTAMP

from infra.local.standins.callrail_calls import api_call
from infra.local.standins.callrail_store import LOCAL_API_KEY
from schemas.events import CallReceived, Event, RecordingStored
from schemas.tenant import Tenant
from shared.backfill import NOTHING, Tally, Window, require_access
from shared.backfill_run import Ingester, Inspector, Step, run_backfill, run_preview
from shared.deliveries import Delivery, parse_event
from shared.gateways.backfill_store import SpannerBackfillStore
from shared.gateways.callrail_api import CallRailApi
from shared.gateways.callrail_budget import RequestBudgets
from shared.gateways.run_store import SpannerRunStore
from shared.names import first_request_id
from shared.runner import Runner
from shared.stage import Completed, StageContext
from shared.stage_spec import StageSpec
from stages.download.intake import admit
from tests.support.pipeline_database import PipelineDatabase
from tests.support.ports import HandClock, MemoryPublisher, MemoryTenants, Message
from tests.support.recordings import CallRail, DictSecrets, running_callrail
from tests.support.tenants import make_tenant
from tests.support.webhooks import POST_CALL

ACCOUNT = "ACC019a1111222273338444555566667777"
NORTH_COMPANY = "COM019a1111222273338444555566660001"
SOUTH_COMPANY = "COM019a1111222273338444555566660002"
NORTH_KEY, SOUTH_KEY = "north-callrail-key", "south-callrail-key"


def customer(tenant_id: str, company_id: str, key_secret: str, *, account: str = ACCOUNT) -> Tenant:
    """A tenant with access to CallRail's API."""
    return make_tenant(
        tenant_id, company_id=company_id, callrail_account_id=account, callrail_api_key_secret=key_secret
    )


NORTH = customer("north-plumbing", NORTH_COMPANY, NORTH_KEY)
SOUTH = customer("south-dental", SOUTH_COMPANY, SOUTH_KEY)
"""Two customers of one agency: the same account at CallRail, a company each."""


class Watchful(MemoryPublisher):
    """A publisher that calls `then` after each message: what happens in the middle of a backfill."""

    def __init__(self) -> None:
        super().__init__()
        self.then: Callable[[], None] = lambda: None

    def publish(self, topic: str, data: bytes, attributes: Any) -> str:
        message_id = super().publish(topic, data, attributes)
        self.then()
        return message_id


@dataclass
class Bench:
    """Everything real but Pub/Sub and the clock."""

    database: PipelineDatabase
    callrail: CallRail
    clock: HandClock = field(default_factory=HandClock)
    publisher: Watchful = field(default_factory=Watchful)
    secrets: DictSecrets = field(
        default_factory=lambda: DictSecrets({NORTH_KEY: LOCAL_API_KEY, SOUTH_KEY: LOCAL_API_KEY})
    )
    budgets: RequestBudgets = field(default_factory=RequestBudgets)

    # -- what there is -----------------------------------------------------------------------------

    def add_calls(
        self,
        names: Iterable[str],
        *,
        company: str = NORTH_COMPANY,
        newest: datetime | None = None,
        apart: timedelta = timedelta(minutes=2),
        **changes: Any,
    ) -> list[str]:
        """Calls at CallRail, the first one begun at `newest` (two hours ago), each of the others `apart` before."""
        newest = newest or self.clock() - timedelta(hours=2)
        made = []
        for index, name in enumerate(names):
            self.callrail.store.put_call(ACCOUNT, self.call(name, company, newest - index * apart, **changes))
            made.append(name)
        return made

    def call(self, call_id: str, company: str, started: datetime, **changes: Any) -> dict[str, Any]:
        webhook = {
            **POST_CALL,
            "resource_id": call_id,
            "company_resource_id": company,
            "start_time": started.isoformat(timespec="milliseconds"),
        }
        return {**api_call(webhook, account_id=ACCOUNT), **changes}

    def webhooks_arrived(self, call_ids: Sequence[str], *, tenant: Tenant = NORTH, started: bool = True) -> None:
        """What the pipeline holds of calls whose webhook came; `started=False` means a pre-call webhook only."""
        tenant_id, now = tenant.tenant_id, COMMIT_TIMESTAMP
        with self.database.database.batch() as batch:
            batch.insert(
                "call_records",
                ("tenant_id", "call_id", "details", "created_at", "updated_at"),
                [(tenant_id, call_id, f'{{"call_id": "{call_id}"}}', now, now) for call_id in call_ids],
            )
            kind = "post_call" if started else "pre_call"
            batch.insert(
                "processing_requests",
                (
                    *("tenant_id", "request_id", "call_id", "kind", "origin", "state", "stage", "received_at"),
                    *("created_at", "updated_at"),
                ),
                [
                    (
                        *(tenant_id, self._request(tenant_id, call_id, kind), call_id, kind, "webhook", "done"),
                        *("crm_sync", self.clock(), now, now),
                    )
                    for call_id in call_ids
                ],
            )

    @staticmethod
    def _request(tenant_id: str, call_id: str, kind: str) -> str:
        return first_request_id(tenant_id, call_id) if kind == "post_call" else f"w-{call_id.lower()}"

    def started(self, tenant: Tenant = NORTH) -> set[str]:
        """The calls whose first request exists."""
        rows = self.database.rows(
            f"SELECT call_id, request_id FROM processing_requests WHERE tenant_id = '{tenant.tenant_id}'"
        )
        return {call_id for call_id, request_id in rows if request_id == first_request_id(tenant.tenant_id, call_id)}

    def pages_read(self) -> int:
        return sum(item.operation == "calls.list" for item in self.callrail.store.asked)

    # -- what is done ------------------------------------------------------------------------------

    @property
    def store(self) -> SpannerBackfillStore:
        return SpannerBackfillStore(self.database.open)

    @property
    def lister(self) -> CallRailApi:
        return CallRailApi(self.secrets, self.budgets, now=self.clock, local_base_url=self.callrail.url)

    @property
    def ingester(self) -> Ingester:
        return Ingester(self.publisher, self.clock, pace=lambda: None)

    def window(self, *, days: float = 1) -> Window:
        return Window(self.clock() - timedelta(days=days), self.clock())

    def steps(self, window: Window, *, tenant: Tenant = NORTH) -> Generator[Step]:
        return run_backfill(self._inspector(tenant), self.ingester, window.parts(now=self.clock()))

    def backfill(self, *, days: float = 1, tenant: Tenant = NORTH, window: Window | None = None) -> Tally:
        """Run to the end, and let the first stage take what was published."""
        found = sum((step.tally for step in self.steps(window or self.window(days=days), tenant=tenant)), NOTHING)
        self.deliver()
        return found

    def preview(self, *, days: float = 1) -> Tally:
        parts = self.window(days=days).parts(now=self.clock())
        return sum((step.tally for step in run_preview(self._inspector(NORTH), parts)), NOTHING)

    def _inspector(self, tenant: Tenant) -> Inspector:
        return Inspector(self.lister, self.store, tenant, require_access(tenant), self.clock)

    def deliver(self) -> list[Message]:
        """The first stage takes every message that was published since the last time."""
        taken, self.publisher.messages = self.publisher.messages, []
        for message in taken:
            if message.topic == "call-received":
                self.handle(message)
        return taken

    def handle(self, message: Message) -> int:
        event = parse_event(message.data)
        delivery = Delivery("m-1", message.data, message.attributes, "projects/test/subscriptions/download")
        return self._runner().handle(delivery, event).status

    def _runner(self) -> Runner:
        def run(context: StageContext) -> Completed:
            ids = {"tenant_id": context.tenant.tenant_id, "request_id": context.request_id}
            return Completed(next_event=RecordingStored(**ids, call_id=context.call_id))

        def admit_any(event: Event):  # type: ignore[no-untyped-def] # narrows for the stage under test
            assert isinstance(event, CallReceived)
            return admit(event)

        spec = StageSpec(
            name="download",
            accepts=(CallReceived,),
            run=run,
            admit=admit_any,
            lease=timedelta(seconds=60),
            max_attempts=3,
        )
        tenants = MemoryTenants((NORTH, SOUTH))
        return Runner(
            spec,
            SpannerRunStore(self.database.open, self.database.vault),
            tenants,
            MemoryPublisher(),
            self.clock,
            worker="test",
        )


@contextmanager
def running_bench(database: PipelineDatabase) -> Iterator[Bench]:
    """With `NORTH` and `SOUTH` in the database, beside its two tenants that gave no API key."""
    database.add_tenant(NORTH)
    database.add_tenant(SOUTH)
    with running_callrail() as callrail:
        bench = Bench(database, callrail)
        bench.clock.moment = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
        yield bench
