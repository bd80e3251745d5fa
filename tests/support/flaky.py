"""The whole chain in one process with real gateways, where every neighbour can be told to misbehave.

The Spanner emulator, Cloud Storage and all stand-ins are real servers; Pub/Sub alone is played by `tests.support.mail`,
because only then does a test decide how often, and when, a message is delivered.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from handlers import wiring
from infra.local import gcs
from infra.local.environment import applied
from infra.local.standins import callrail, hubspot, salesforce
from infra.local.standins.callrail_store import LOCAL_API_KEY, CallRailStore, Recording
from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.secret_manager import serve_secret_manager
from infra.local.standins.serving import serve_in_thread
from infra.local.standins.speech import RunningSpeech, serve_speech
from infra.local.standins.vertex import serve_vertex
from schemas.tenant import Tenant
from shared.gateways.crm_registry import CrmRegistry
from shared.gateways.http import tls_context
from shared.gateways.objects import GcsObjectStore
from shared.runner import Runner
from shared.settings import Settings, load_settings
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.pipeline_database import PipelineDatabase
from tests.support.tenants import make_tenant

BUCKET = "three-ways-audio"
STAGES = ("download", "transcribe", "analyze", "crm_sync")
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Neighbours:
    """Every vendor's stand-in, in threads of this process."""

    storage_url: str
    callrail_store: CallRailStore
    speech: RunningSpeech
    urls: Mapping[str, str]
    """Where the gateways find each stand-in: a URL, or host:port for gRPC."""
    admin_urls: Mapping[str, str]
    plans: Mapping[str, FaultPlan]

    def state(self, name: str) -> dict[str, Any]:
        """What a stand-in holds and was asked."""
        document: dict[str, Any] = httpx.get(
            f"{self.admin_urls[name]}/_standin/state", trust_env=False, verify=tls_context()
        ).json()
        return document

    @contextmanager
    def misbehaving(self, rules: Mapping[str, list[FaultRule]]) -> Iterator[None]:
        """Faults by stand-in while the block runs. Fails when one of them met nobody: that test would prove nothing."""
        for name, faults in rules.items():
            self.plans[name].add(*faults)
        try:
            yield
            unmet = [f"{name} {rule.operation}" for name, faults in rules.items() for rule in self._left(name, faults)]
            assert not unmet, f"nobody met the fault of {unmet}"
        finally:
            for name in rules:
                self.plans[name].clear()

    def _left(self, name: str, faults: list[FaultRule]) -> list[FaultRule]:
        return [rule for rule in faults if self.plans[name].take(rule.operation) is not None]


@contextmanager
def running_neighbours(storage_url: str) -> Iterator[Neighbours]:
    """All stand-ins while the block runs; `storage_url` is a Cloud Storage stand-in."""
    gcs.create_bucket(storage_url, BUCKET, project_id=TEST_PROJECT)
    store = CallRailStore()
    plans = {name: FaultPlan() for name in ("callrail", "hubspot", "salesforce")}
    with ExitStack() as stack:
        urls = {
            "callrail": stack.enter_context(serve_in_thread(callrail.create_app(store, plan=plans["callrail"]))),
            "hubspot": stack.enter_context(serve_in_thread(hubspot.create_app(plan=plans["hubspot"]))),
            "salesforce": stack.enter_context(serve_in_thread(salesforce.create_app(plan=plans["salesforce"]))),
        }
        speech = stack.enter_context(serve_speech(storage_url=storage_url))
        over_grpc: dict[str, Any] = {
            "vertex": stack.enter_context(serve_vertex()),
            "secret_manager": stack.enter_context(serve_secret_manager()),
            "speech": speech,
        }
        yield Neighbours(
            storage_url=storage_url,
            callrail_store=store,
            speech=speech,
            urls={**urls, **{name: item.address for name, item in over_grpc.items()}},
            admin_urls={**urls, **{name: item.admin_url for name, item in over_grpc.items()}},
            plans={**plans, **{name: item.plan for name, item in over_grpc.items()}},
        )


@dataclass(frozen=True)
class Chain:
    """The four stages, wired as in production, on one database. Every call gets a tenant of its own."""

    neighbours: Neighbours
    database: PipelineDatabase
    settings: Settings
    runners: Mapping[str, Runner]
    crms: CrmRegistry = field(repr=False)

    @property
    def objects(self) -> GcsObjectStore:
        return wiring.objects(self.settings)

    def new_tenant(self) -> Tenant:
        """With a CallRail key, a HubSpot portal and a Salesforce org; its name is as long as every other's."""
        tenant_id = f"three-ways-{next(_NUMBERS):03d}"
        tenant = make_tenant(
            tenant_id,
            callrail_account_id="ACC019a1111222273338444555566667777",
            callrail_api_key_secret=f"{tenant_id}-callrail",
            crm_config={
                "hubspot": {"token_secret": f"{tenant_id}-hubspot"},
                "salesforce": {"credentials_secret": f"{tenant_id}-salesforce"},
            },
        )
        secrets = wiring.secrets(self.settings)
        for name, value in secret_values(tenant_id).items():
            secrets.write(name, value)
        self.database.add_tenant(tenant)
        for provider in tenant.config.crm_config.providers:
            self.crms.for_tenant(tenant, provider).prepare()
        return tenant

    def hold_recording(self, call_id: str, audio: bytes) -> None:
        """Put a call's audio into CallRail's stand-in."""
        self.neighbours.callrail_store.put_recording(Recording(call_id=call_id, data=audio))


def secret_values(tenant_id: str) -> dict[str, str]:
    """A tenant's secrets by name; token and consumer key tell its accounts apart from all others."""
    login = {
        "flow": "client_credentials",
        "domain": "demo.my",
        "consumer_key": f"{tenant_id}-consumer",
        "consumer_secret": "s" * 32,
    }
    return {
        f"{tenant_id}-callrail": LOCAL_API_KEY,
        f"{tenant_id}-hubspot": f"pat-na1-{tenant_id}",
        f"{tenant_id}-salesforce": json.dumps(login),
    }


@contextmanager
def wired_chain(neighbours: Neighbours, database: PipelineDatabase) -> Iterator[Chain]:
    """Build the stages by `handlers.wiring` from an environment that names the neighbours."""
    with applied(_environment(neighbours, database)):
        settings = load_settings()
        yield Chain(
            neighbours=neighbours,
            database=database,
            settings=settings,
            runners={name: wiring.runner_of(name, settings) for name in STAGES},
            crms=CrmRegistry(
                wiring.secrets(settings),
                clock=wiring.now,
                local_hubspot_url=neighbours.urls["hubspot"],
                local_salesforce_url=neighbours.urls["salesforce"],
            ),
        )


def _environment(neighbours: Neighbours, database: PipelineDatabase) -> dict[str, str]:
    return {
        "GOOGLE_CLOUD_PROJECT": TEST_PROJECT,
        "STORAGE_EMULATOR_HOST": neighbours.storage_url,
        "PIPELINE_ENVIRONMENT": "local",
        "PIPELINE_PUSH_AUTH": "off",
        "PIPELINE_SPANNER_INSTANCE": TEST_INSTANCE,
        "PIPELINE_SPANNER_DATABASE": database.database.database_id,
        "PIPELINE_AUDIO_BUCKET": BUCKET,
        **{f"PIPELINE_LOCAL_{name.upper()}": neighbours.urls[name] for name in ("speech", "vertex", "secret_manager")},
        **{
            f"PIPELINE_LOCAL_{name.upper()}_URL": neighbours.urls[name]
            for name in ("callrail", "hubspot", "salesforce")
        },
    }
