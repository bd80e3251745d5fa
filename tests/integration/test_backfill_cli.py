"""`pipeline backfill` and `pipeline reconciliation` as an operator types them: real Spanner, Pub/Sub and secrets."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import structlog
import typer
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from typer.testing import CliRunner, Result

from handlers import backfill_wiring
from handlers.cli.backfill import backfill, reconciliation
from infra.local.standins.callrail_store import LOCAL_API_KEY
from infra.local.standins.secret_manager import serve_secret_manager
from schemas.events import CallReceived
from shared.deliveries import parse_event
from shared.errors import PipelineError
from shared.gateways.channels import loopback_channel
from shared.gateways.secrets import SecretManagerSecrets
from shared.names import first_request_id
from tests.support.backfills import NORTH, NORTH_KEY, Bench, running_bench
from tests.support.pipeline_database import PipelineDatabase

pytestmark = pytest.mark.emulators

app = typer.Typer(pretty_exceptions_enable=False)
app.command()(backfill)
app.command()(reconciliation)


@dataclass
class Terminal:
    """Types commands; `bench` is the world they meet, `topic` what reached Pub/Sub."""

    bench: Bench
    secrets: SecretManagerSecrets
    subscriber: SubscriberClient
    subscription: str

    def run(self, *arguments: str) -> Result:
        return CliRunner().invoke(app, list(arguments))

    def backfill(self, *arguments: str, since: str = "2d", tenant: str = NORTH.tenant_id) -> Result:
        return self.run("backfill", "--tenant", tenant, "--since", since, *arguments)

    def json(self, *arguments: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads(self.backfill("--json", *arguments).stdout)
        return document

    def published(self) -> list[CallReceived]:
        """Everything on the topic that nobody has read yet."""
        events: list[CallReceived] = []
        while True:
            answer = self.subscriber.pull(
                subscription=self.subscription, max_messages=100, return_immediately=True, timeout=10
            )
            if not answer.received_messages:
                return events
            for item in answer.received_messages:
                event = parse_event(item.message.data)
                assert isinstance(event, CallReceived)
                events.append(event)
            self.subscriber.acknowledge(
                subscription=self.subscription, ack_ids=[item.ack_id for item in answer.received_messages]
            )


@pytest.fixture
def terminal(
    pipeline_database: PipelineDatabase, pubsub_emulator: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Terminal]:
    name = f"backfill-cli-{uuid.uuid4().hex[:12]}"  # Pub/Sub keeps topics, and databases come back
    with (
        running_bench(pipeline_database) as bench,
        serve_secret_manager() as secret_manager,
        loopback_channel(pubsub_emulator) as channel,
    ):
        bench.clock.moment = datetime.now(UTC)
        for variable, value in {
            "PIPELINE_ENVIRONMENT": "local",
            "GOOGLE_CLOUD_PROJECT": "test-project",
            "PIPELINE_SPANNER_INSTANCE": "test-instance",
            "PIPELINE_SPANNER_DATABASE": pipeline_database.database.database_id,
            "PIPELINE_TOPIC_PREFIX": f"{name}-",
            "PIPELINE_LOCAL_SECRET_MANAGER": secret_manager.address,
            "PIPELINE_LOCAL_CALLRAIL_URL": bench.callrail.url,
            "PUBSUB_EMULATOR_HOST": pubsub_emulator,
        }.items():
            monkeypatch.setenv(variable, value)
        topic = f"projects/test-project/topics/{name}-call-received"
        subscription = f"projects/test-project/subscriptions/{name}"
        PublisherClient(transport=PublisherGrpcTransport(channel=channel)).create_topic(name=topic)
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        subscriber.create_subscription(name=subscription, topic=topic)
        secrets = SecretManagerSecrets(project="test-project", local_address=secret_manager.address)
        secrets.write(NORTH_KEY, LOCAL_API_KEY)
        yield Terminal(bench, secrets, subscriber, subscription)
    structlog.reset_defaults()
    backfill_wiring.callrail_budgets.cache_clear()


def test_it_says_what_it_found_and_brings_it_in(terminal: Terminal) -> None:
    calls = terminal.bench.add_calls([f"CAL{n}" for n in range(12)])
    terminal.bench.webhooks_arrived(calls[:9])
    terminal.bench.webhooks_arrived(calls[9:10], started=False)

    result = terminal.backfill("--rate", "1000/s")

    assert result.exit_code == 0, result.output
    assert (
        "CallRail has 12, we have 12, missing 3 (2 never seen, 1 never started), recovered 3, still missing 0,"
        in result.stdout
    )
    published = terminal.published()
    assert {event.call_id for event in published} == set(calls[9:])
    assert {(event.kind, event.origin) for event in published} == {("post_call", "backfill")}
    assert {event.request_id for event in published} == {first_request_id(NORTH.tenant_id, call) for call in calls[9:]}


def test_a_dry_run_with_something_missing_ends_with_1_and_brings_nothing_in(terminal: Terminal) -> None:
    calls = terminal.bench.add_calls(["CAL1", "CAL2"])

    result = terminal.backfill("--dry-run")
    assert result.exit_code == 1
    assert "dry run: nothing was brought in" in result.stdout
    assert terminal.published() == []

    terminal.bench.webhooks_arrived(calls)
    assert terminal.backfill("--dry-run").exit_code == 0


def test_json_is_all_that_stands_on_stdout(terminal: Terminal) -> None:
    terminal.bench.add_calls(["CAL1", "CAL 2"])

    result = terminal.backfill("--json")

    document = json.loads(result.stdout)
    assert result.exit_code == 1, "one call cannot be read"
    assert (document["provider"], document["recovered"], document["refused"]) == (2, 1, 1)
    assert document["days"] == {"all": 3, "listed": 3, "kept": 0}
    assert (document["complete"], document["stopped"]) == (False, None)
    assert "CAL 2" in result.stderr, "which call it was stands in the log"


def test_stopped_by_callrails_limit_it_says_so_and_goes_on_when_run_again(terminal: Terminal) -> None:
    for back in range(3):
        terminal.bench.add_calls([f"D{back}"], newest=datetime.now(UTC) - timedelta(days=back, hours=2))
    terminal.bench.callrail.store.budget = 2

    stopped = terminal.backfill(since="4d")

    assert isinstance(stopped.exception, PipelineError)
    assert stopped.exception.code == "callrail_budget"
    assert "stopped after 2 of 5 days" in stopped.stdout

    terminal.bench.callrail.store.budget = None
    backfill_wiring.callrail_budgets().close(NORTH.config.callrail_account_id, for_s=0)
    document = json.loads(terminal.backfill("--json", since="4d").stdout)
    assert document["days"] == {"all": 5, "listed": 3, "kept": 2}
    assert document["complete"]
    assert {event.call_id for event in terminal.published()} == {"D0", "D1", "D2"}


def test_interrupted_by_a_person_it_says_what_is_kept(terminal: Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal.bench.add_calls(["CAL1", "CAL2"])
    from shared.gateways.publisher import PubSubPublisher

    real = PubSubPublisher.publish

    def publish_and_press_ctrl_c(publisher: PubSubPublisher, *arguments: Any) -> str:
        real(publisher, *arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(PubSubPublisher, "publish", publish_and_press_ctrl_c)
        result = terminal.backfill()

    assert result.exit_code == 1
    assert isinstance(result.exception, PipelineError)
    assert result.exception.fix == "run the same command again"
    assert "stopped after" in result.stdout
    assert terminal.backfill().exit_code == 0
    assert {event.call_id for event in terminal.published()} == {"CAL1", "CAL2"}


def test_a_wrong_key_names_the_secret(terminal: Terminal) -> None:
    terminal.secrets.write(NORTH_KEY, "wrong")

    result = terminal.backfill()

    assert isinstance(result.exception, PipelineError)
    assert result.exception.code == "callrail_key_refused"
    assert NORTH_KEY in result.exception.fix
    assert "wrong" not in result.stdout


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("--tenant", "nobody", "--since", "7d"), "unknown_tenant"),
        (("--tenant", "acme-plumbing", "--since", "7d"), "callrail_access_missing"),
        (("--tenant", NORTH.tenant_id, "--since", "last week"), "unreadable_time"),
        (("--tenant", NORTH.tenant_id, "--since", "7d", "--rate", "fast"), "unreadable_rate"),
        (("--tenant", NORTH.tenant_id, "--since", "7d", "--rate", "0/s"), "unreadable_rate"),
        (("--tenant", "on-holiday", "--since", "7d"), "tenant_not_active"),
    ],
)
def test_a_mistake_is_answered_in_clear_words_before_anything_is_asked(
    terminal: Terminal, arguments: tuple[str, ...], code: str
) -> None:
    terminal.bench.database.add_tenant(NORTH.model_copy(update={"tenant_id": "on-holiday", "status": "suspended"}))

    result = terminal.run("backfill", *arguments)

    assert isinstance(result.exception, PipelineError)
    assert result.exception.code == code
    assert terminal.bench.callrail.store.asked == []


def test_the_reports_are_shown_and_trouble_ends_with_1(terminal: Terminal) -> None:
    terminal.bench.add_calls(["CAL1"], newest=datetime.now(UTC) - timedelta(days=1))
    assert terminal.backfill(since=f"{datetime.now(UTC) - timedelta(days=2):%F}").exit_code == 0

    shown = terminal.run("reconciliation", "--tenant", NORTH.tenant_id, "--json")

    assert shown.exit_code == 0
    states = {report["day"]: report["state"] for report in json.loads(shown.stdout)}
    assert list(states.values()) == ["open", "complete", "complete"], "a backfill of whole days leaves reports too"
    assert sum(report["recovered_calls"] for report in json.loads(shown.stdout)) == 1
    assert (
        "reconciliation of north-plumbing: 3 days" in terminal.run("reconciliation", "--tenant", NORTH.tenant_id).stdout
    )

    trouble = PipelineError("callrail_key_refused", "refused", fix="mend the key")
    terminal.bench.store.write_trouble(NORTH.tenant_id, datetime.now(UTC).date(), "blocked", trouble)
    assert terminal.run("reconciliation", "--tenant", NORTH.tenant_id).exit_code == 1
