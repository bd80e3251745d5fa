"""Puts the parts together: the only module that names concrete gateways. Every import is where it is used, so that a
service loads only the clients it needs."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

from flask import Request, Response

from schemas.events import CallReceived
from shared.errors import ConfigurationError
from shared.gateways.database import OpenDatabase, database_opener
from shared.pipeline import load_pipeline
from shared.settings import Settings
from shared.telemetry import OFF, Telemetry

if TYPE_CHECKING:
    from google.cloud.spanner_v1.database import Database

    from shared.circuits import Breaker
    from shared.desk import Desk
    from shared.gateways.calls import SpannerCalls, SpannerConversations, SpannerCrmCalls, SpannerRecordedCalls
    from shared.gateways.crm_registry import CrmRegistry
    from shared.gateways.dead_letter_archive import PubSubArchive
    from shared.gateways.keyset_store import KeysetStore
    from shared.gateways.objects import GcsObjectStore
    from shared.gateways.publisher import PubSubPublisher
    from shared.gateways.push_tokens import PushVerifier
    from shared.gateways.secrets import SecretManagerSecrets
    from shared.gateways.story import SpannerStories
    from shared.gateways.tenant_store import TenantStore
    from shared.gateways.tenants import SpannerTenantDirectory
    from shared.gateways.vault import Vault
    from shared.runner import Runner
    from shared.story import SchemaGap
    from shared.sweeper import Sweeper

View = Callable[[Request], Response]

_NEGATIVE_TENANT_TTL_S = 15.0
_RECEIVER_STORAGE_TIMEOUT_S = (1.0, 2.0)
_RECEIVER_STORAGE_RETRY_S = 1.0
"""With the publish before it, a sender to whom nothing can be promised hears so within 4 s."""


def now() -> datetime:
    """The wall clock, UTC and aware."""
    return datetime.now(UTC)


# -- services -----------------------------------------------------------------------------------------


def build_service(name: str, settings: Settings, telemetry: Telemetry = OFF) -> View:
    """The view of one deployable service. Raises `ConfigurationError` for an unknown name or missing settings."""
    if name == "webhook":
        return _webhook(settings, telemetry)
    if name == "operator":
        return _operator(settings, telemetry)
    if name == "dead_letter":
        return _dead_letter(settings, telemetry)
    return _stage_service(name, settings, telemetry)


def _webhook(settings: Settings, telemetry: Telemetry) -> View:
    from handlers.health import HealthPage
    from handlers.receiver import Receiver
    from handlers.warm_up import WarmUp
    from handlers.webhook import WebhookService
    from shared.gateways.operator_client import OperatorClient
    from shared.gateways.storage_probe import storage_answers
    from shared.inbox import Inbox
    from shared.tenant_limits import TenantLimits

    publisher = publisher_of(settings, timeout_s=settings.receiver_publish_timeout_s)
    inbox_objects = receiver_objects(settings)
    operator = OperatorClient(settings.operator_url, with_identity=not settings.is_local)

    def connect() -> None:
        publisher.connect()
        inbox_objects.connect()

    receiver = Receiver(
        tenants=tenant_directory(settings, role="webhook"),
        secrets=secrets(settings),
        publisher=publisher,
        inbox=Inbox(inbox_objects),
        now=now,
        limits=TenantLimits(rate_per_s=settings.receiver_tenant_rate, burst=settings.receiver_tenant_burst),
        telemetry=telemetry,
    )
    health = HealthPage(
        can_publish=lambda: publisher.check(CallReceived.topic, timeout_s=2.0),
        can_keep=lambda: storage_answers(settings),
        neighbours=operator.neighbours,
        now=now,
    )
    # During an outage of Pub/Sub nobody has the time to load the storage client as well.
    return WebhookService(receiver=receiver, health=health, warm_up=WarmUp(connect))


def _operator(settings: Settings, telemetry: Telemetry) -> View:
    from handlers.backfill_wiring import reconciliation
    from handlers.operator import OperatorService
    from handlers.reconcile import ReconcileRoute
    from shared.gateways.probes import neighbour_probes

    return OperatorService(
        verifier=push_verifier(settings),
        probes=neighbour_probes(settings, database(settings, role="operator")),
        sweep=sweeper(settings, role="operator").sweep,
        reconcile=ReconcileRoute(lambda: reconciliation(settings).run()),
        telemetry=telemetry,
    )


def _dead_letter(settings: Settings, telemetry: Telemetry) -> View:
    from handlers.dead_letter import DeadLetterTaker
    from handlers.push import PushService

    taker = DeadLetterTaker(desk(settings, role="dead_letter"), telemetry)
    return PushService(verifier=push_verifier(settings), take=taker, telemetry=telemetry)


def _stage_service(name: str, settings: Settings, telemetry: Telemetry) -> View:
    from handlers.push import PushService, StageTaker
    from shared.shutdown import give_back_on_sigterm

    runner = runner_of(name, settings, telemetry)
    give_back_on_sigterm(runner.give_back_claims)
    taker = StageTaker(runner=runner, audio_bucket=settings.bucket)
    return PushService(verifier=push_verifier(settings), take=taker, telemetry=telemetry)


def runner_of(name: str, settings: Settings, telemetry: Telemetry = OFF) -> Runner:
    """The runner of one stage, with real gateways."""
    from handlers.wiring_stages import stage_spec
    from shared.gateways.run_store import SpannerRunStore
    from shared.runner import Runner

    return Runner(
        stage=stage_spec(name, settings, telemetry),
        store=SpannerRunStore(database(settings, role=name), vault(settings, role=name)),
        tenants=tenant_directory(settings, role=name),
        publisher=publisher_of(settings),
        now=now,
        worker=f"{settings.revision}/{socket.gethostname()}/{os.getpid()}",
        telemetry=telemetry,
    )


# -- parts --------------------------------------------------------------------------------------------


@cache
def database(settings: Settings, *, role: str | None = None) -> OpenDatabase:
    """A function that opens the database on first use, in the service's own database role."""
    return database_opener(
        project_id=settings.project_id,
        instance_id=settings.spanner_instance,
        database_id=settings.spanner_database,
        role=role,
    )


def spanner_database(settings: Settings) -> Database:
    """The open database, for the command line's migrations."""
    return database(settings)()


@cache
def publisher_of(settings: Settings, *, timeout_s: float | None = None) -> PubSubPublisher:
    """Publishes and waits for the confirmation, at most `timeout_s` seconds."""
    from shared.gateways.publisher import PubSubPublisher

    return PubSubPublisher(
        project_id=settings.project_id,
        topic_prefix=settings.topic_prefix,
        timeout_s=timeout_s or settings.publish_timeout_s,
        window_ms=settings.publish_window_ms,
    )


@cache
def secrets(settings: Settings) -> SecretManagerSecrets:
    from shared.gateways.secrets import SecretManagerSecrets

    return SecretManagerSecrets(
        project=settings.project_id,
        ttl_s=settings.secret_cache_ttl_s,
        local_address=settings.stand_ins.secret_manager,
    )


@cache
def key_encryption_key(settings: Settings) -> Callable[[], Any]:
    """Makes the key that wraps tenants' keysets: Cloud KMS, or a file on a laptop. Loaded at its first use."""
    if settings.is_local:
        from shared.gateways.local_kek import local_key

        return local_key(settings.stand_ins.pii_key_file)
    from shared.gateways.kms import kms_key

    return kms_key(settings.pii_key_name)


@cache
def vault(settings: Settings, *, role: str | None = None) -> Vault:
    """Seals and opens personal data; one for each role, so that a process unwraps a keyset once."""
    from shared.gateways.vault import Vault

    return Vault(database(settings, role=role), key_encryption_key(settings), ttl_s=settings.keyset_cache_ttl_s)


def keyset_store(settings: Settings) -> KeysetStore:
    """Makes, rotates and destroys keysets, for the command line."""
    from shared.gateways.keyset_store import KeysetStore

    return KeysetStore(database(settings), key_encryption_key(settings))


@cache
def objects(settings: Settings) -> GcsObjectStore:
    from shared.gateways.objects import GcsObjectStore

    return GcsObjectStore(
        settings.bucket,
        project_id=settings.project_id,
        endpoint=settings.stand_ins.storage_url,
    )


@cache
def receiver_objects(settings: Settings) -> GcsObjectStore:
    """The same bucket with no patience: a sender waits, and can send again."""
    from shared.gateways.objects import GcsObjectStore

    return GcsObjectStore(
        settings.bucket,
        project_id=settings.project_id,
        endpoint=settings.stand_ins.storage_url,
        timeout_s=_RECEIVER_STORAGE_TIMEOUT_S,
        retry_s=_RECEIVER_STORAGE_RETRY_S,
    )


def crm_registry(settings: Settings) -> CrmRegistry:
    """Makes the gateway of a tenant's CRM."""
    from shared.gateways.crm_registry import CrmRegistry

    return CrmRegistry(
        secrets(settings),
        clock=now,
        local_hubspot_url=settings.stand_ins.hubspot_url,
        local_salesforce_url=settings.stand_ins.salesforce_url,
    )


def calls(settings: Settings, *, role: str | None = None) -> SpannerCalls:
    """Reads calls."""
    from shared.gateways.calls import SpannerCalls

    return SpannerCalls(database(settings, role=role), vault(settings, role=role))


def recorded_calls(settings: Settings, *, role: str) -> SpannerRecordedCalls:
    """Reads calls as the stages need them that deal with audio."""
    from shared.gateways.calls import SpannerRecordedCalls

    return SpannerRecordedCalls(database(settings, role=role), vault(settings, role=role))


def conversations(settings: Settings, *, role: str) -> SpannerConversations:
    """Reads calls without the place of their audio."""
    from shared.gateways.calls import SpannerConversations

    return SpannerConversations(database(settings, role=role), vault(settings, role=role))


def crm_calls(settings: Settings, *, role: str) -> SpannerCrmCalls:
    """Reads calls as the last stage needs them."""
    from shared.gateways.calls import SpannerCrmCalls

    return SpannerCrmCalls(database(settings, role=role), vault(settings, role=role))


def stories(settings: Settings, *, role: str = "operator") -> SpannerStories:
    """Where calls are, for the command line: a person looks in the operators' role and reaches no more than it may."""
    from shared.gateways.story import SpannerStories

    return SpannerStories(database(settings, role=role))


def schema_gap(settings: Settings) -> SchemaGap:
    """Whether the database has the schema that this release was written for."""
    from shared.gateways.schema_gap import schema_gap

    return schema_gap(database(settings))


def tenant_directory(settings: Settings, *, role: str | None = None) -> SpannerTenantDirectory:
    """Cached look-up of tenants."""
    from shared.gateways.tenants import SpannerTenantDirectory

    return SpannerTenantDirectory(
        database(settings, role=role),
        ttl_s=settings.tenant_cache_ttl_s,
        negative_ttl_s=min(_NEGATIVE_TENANT_TTL_S, settings.tenant_cache_ttl_s),
    )


def tenant_store(settings: Settings) -> TenantStore:
    """Creates and changes tenants, for the command line."""
    from shared.gateways.tenant_store import TenantStore

    return TenantStore(database(settings), keyset_store(settings))


def breaker(settings: Settings, *, role: str | None = None) -> Breaker:
    """The circuits of tenants' vendors, as one service sees them."""
    from shared.circuits import Breaker
    from shared.gateways.circuit_store import SpannerCircuits

    probe_every = timedelta(seconds=settings.circuit_probe_s)
    # What is known of a circuit must not outlive its probing: a mended vendor would look broken for longer.
    return Breaker(
        SpannerCircuits(database(settings, role=role)), now, probe_every, look_s=min(10.0, settings.circuit_probe_s)
    )


def sweeper(settings: Settings, *, role: str | None = None) -> Sweeper:
    """Pushes on what does not move."""
    from shared.gateways.sweep_store import SpannerSweepStore
    from shared.inbox import Inbox
    from shared.sweeper import Sweeper

    return Sweeper(
        store=SpannerSweepStore(database(settings, role=role), vault(settings, role=role)),
        publisher=publisher_of(settings),
        inbox=Inbox(objects(settings)),
        now=now,
        stale_after=timedelta(seconds=settings.sweep_stale_s),
        again_after=timedelta(seconds=settings.sweep_again_s),
    )


def desk(settings: Settings, *, role: str = "operator") -> Desk:
    """The dead-letter desk; people at the command line work in the operators' role."""
    from shared.desk import Desk
    from shared.gateways.dead_letter_store import SpannerDeadLetters

    return Desk(
        store=SpannerDeadLetters(database(settings, role=role), vault(settings, role=role)),
        publisher=publisher_of(settings),
        pipeline=load_pipeline(),
    )


def dead_letter_archive(settings: Settings) -> PubSubArchive:
    """The raw dead letters of the last 31 days. Raises `ConfigurationError` when the pipeline has no archive."""
    from shared.dead_letters import TOPIC
    from shared.gateways.dead_letter_archive import PubSubArchive

    archive = load_pipeline().archive_of(TOPIC)
    if archive is None:
        raise ConfigurationError("no_archive", "infra/pipeline.json names no archive of dead letters")
    return PubSubArchive(project_id=settings.project_id, subscription=settings.topic_prefix + archive.subscription)


@cache
def push_verifier(settings: Settings) -> PushVerifier:
    """How push requests are checked: two explicit modes, and none only on a laptop (never guessed)."""
    from shared.gateways.push_tokens import AllowAll, KeyCache, PlatformVerifier, TokenVerifier

    if settings.push_auth == "off":
        return AllowAll()
    if not settings.push_audience or not settings.push_service_account:
        raise ConfigurationError(
            "push_auth_incomplete",
            f"PIPELINE_PUSH_AUTH={settings.push_auth} needs an audience and a service account",
            fix="set PIPELINE_PUSH_AUDIENCE and PIPELINE_PUSH_SERVICE_ACCOUNT",
        )
    if settings.push_auth == "platform":
        return PlatformVerifier(audience=settings.push_audience, service_account=settings.push_service_account)
    return TokenVerifier(
        audience=settings.push_audience, service_account=settings.push_service_account, keys=KeyCache()
    )
