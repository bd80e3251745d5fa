"""One whole local stack for a session's end-to-end tests: all emulators, stand-ins and workers, with real push."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest

from infra.local.demo_tenant import DemoTenant, make_demo_tenant
from infra.local.emulators import Emulators
from infra.local.environment import applied
from infra.local.prepare import prepare
from infra.local.stack import Stack, StackOptions
from schemas.tenant import Tenant
from shared.gateways.calls import SpannerCalls, StoryLine
from shared.gateways.http import tls_context
from shared.ports import CrmGateways
from shared.settings import load_settings

T = TypeVar("T")

_IMPATIENT = {
    # A replay right after a token was mended must not meet the old one in a worker's cache.
    "PIPELINE_SECRET_CACHE_TTL_S": "0.2",
    "PIPELINE_CIRCUIT_PROBE_S": "1",
    # What a test has done is in the files at once.
    "PIPELINE_METRICS_EVERY_S": "0.2",
}
_LOOK_EVERY_S = 0.05
_TIMEOUT_S = 10.0
_FINAL_STATES = frozenset({"done", "failed", "blocked", "not_processed"})


def wait_for(look: Callable[[], T], accept: Callable[[T], bool], *, what: str, timeout_s: float = 40.0) -> T:
    """What `look` returned when `accept` first took it; fails with the last look when the time is over."""
    ends_at = time.monotonic() + timeout_s
    while not accept(seen := look()):
        if time.monotonic() > ends_at:
            raise AssertionError(f"not within {timeout_s:.0f} s: {what}; last seen: {seen}")
        time.sleep(_LOOK_EVERY_S)
    return seen


def _not_ours(name: str) -> None:
    raise AssertionError(f"{name} belongs to a stack that this process did not start")


@dataclass(frozen=True)
class LocalStack:
    """A running stack as tests see it: addresses, what the pipeline recorded, what the stand-ins hold."""

    env: Mapping[str, str]
    """Everything that `pipeline local env` prints."""
    state_dir: Path
    restart: Callable[[str], None] = _not_ours
    """SIGTERM to a worker, and a new process in its place."""

    @property
    def tenant_id(self) -> str:
        """The demo tenant."""
        return self.env["DEMO_TENANT_ID"]

    def standin(self, name: str) -> str:
        """Base URL of a stand-in's admin interface; the gRPC ones have a port of their own for it."""
        return self.env.get(f"{name.upper()}_ADMIN_URL") or self.env[f"{name.upper()}_URL"]

    def state(self, name: str) -> dict[str, Any]:
        """What a stand-in holds and was asked."""
        answer = httpx.get(
            f"{self.standin(name)}/_standin/state", timeout=_TIMEOUT_S, trust_env=False, verify=tls_context()
        )
        document: dict[str, Any] = answer.raise_for_status().json()
        return document

    def tell(self, name: str, path: str, document: Any) -> None:
        """Post to a stand-in's admin interface."""
        url = f"{self.standin(name)}/_standin/{path}"
        httpx.post(url, json=document, timeout=_TIMEOUT_S, trust_env=False, verify=tls_context()).raise_for_status()

    def heal(self, name: str) -> None:
        """End whatever misbehaviour a stand-in was told."""
        httpx.delete(
            f"{self.standin(name)}/_standin/faults", timeout=_TIMEOUT_S, trust_env=False, verify=tls_context()
        ).raise_for_status()

    def calls(self) -> SpannerCalls:
        """The pipeline's own look into its tables."""
        from handlers import wiring

        return wiring.calls(load_settings())

    def story(self, call_id: str, *, tenant_id: str | None = None) -> list[StoryLine]:
        """Every request of a call with its stages."""
        return self.calls().story(tenant_id or self.tenant_id, call_id)

    def end_of(self, request_id: str, *, call_id: str, tenant_id: str | None = None) -> str:
        """Wait until a request is final; its state."""
        return wait_for(
            lambda: [line for line in self.story(call_id, tenant_id=tenant_id) if line.request_id == request_id],
            lambda lines: bool(lines) and lines[0].request_state in _FINAL_STATES,
            what=f"an end of request {request_id}",
        )[0].request_state

    @property
    def telemetry_dir(self) -> Path:
        """Where the workers write spans and metrics."""
        return Path(self.env["PIPELINE_TELEMETRY_DIR"])

    def log_lines(self) -> str:
        """Everything that the workers have logged so far."""
        return "\n".join(path.read_text(encoding="utf-8") for path in sorted((self.state_dir / "logs").glob("*.log")))

    def add_tenant(self, tenant_id: str, *, company_id: str, **changes: Any) -> DemoTenant:
        """A tenant like the demo's with a company, secrets and CRM accounts of its own; `changes` are its fields."""
        from handlers import wiring
        from shared.gateways.crm_registry import CrmRegistry

        demo = make_demo_tenant(tenant_id)
        config = demo.tenant.config.model_copy(update={"callrail_company_ids": (company_id,)})
        made = replace(demo, tenant=demo.tenant.model_copy(update={"config": config, **changes}))
        settings = load_settings()
        secrets = wiring.secrets(settings)
        wiring.tenant_store(settings).create(
            made.tenant, new_secrets=made.secret_values, secrets=secrets, actor="end-to-end test"
        )
        registry = CrmRegistry(
            secrets,
            clock=wiring.now,
            local_hubspot_url=settings.stand_ins.hubspot_url,
            local_salesforce_url=settings.stand_ins.salesforce_url,
        )
        _prepare_crms(registry, made.tenant)
        return made


def _prepare_crms(registry: CrmGateways, tenant: Tenant) -> None:
    for provider in tenant.config.crm_config.providers:
        registry.for_tenant(tenant, provider).prepare()


def with_env(stack: Stack) -> LocalStack:
    """The view of a stack that was started in this process."""
    state = stack.state
    return LocalStack({**state.env, **state.exports, **state.extra}, stack.options.state_dir, stack.restart)


@pytest.fixture(scope="session")
def _session_stack(_emulator_programs: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalStack]:
    options = StackOptions(
        state_dir=tmp_path_factory.mktemp("local-stack"),
        environ={**os.environ, **_IMPATIENT},
    )
    with Stack(options, prepare=prepare) as stack:
        yield with_env(stack)


@pytest.fixture(scope="module")
def local_stack(_session_stack: LocalStack) -> Iterator[LocalStack]:
    """The session's stack, its variables in this process's environment while the module's tests run.

    Not for the whole session: other modules have emulators of their own under the same names.
    """
    with applied(_session_stack.env):
        yield _session_stack
