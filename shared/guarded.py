"""Vendors behind their circuits: the same ports, asked only while the tenant's circuit lets them be."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.tenant import Tenant
from shared.circuits import Breaker
from shared.ports import CrmGateway, CrmGateways, Recordings, RecordingStream


@dataclass(frozen=True)
class GuardedCrm:
    """One tenant's CRM behind its circuit. Implements `shared.ports.CrmGateway`."""

    gateway: CrmGateway
    breaker: Breaker
    tenant_id: str

    @property
    def provider(self) -> Provider:
        return self.gateway.provider

    def sync_call(self, call: CrmCall) -> CrmRecord:
        return self.breaker.call(self.tenant_id, self.provider, lambda: self.gateway.sync_call(call))

    def prepare(self) -> list[str]:
        return self.gateway.prepare()

    def inspect(self) -> list[str]:
        return self.gateway.inspect()


@dataclass(frozen=True)
class GuardedCrms:
    """Implements `shared.ports.CrmGateways`."""

    gateways: CrmGateways
    breaker: Breaker

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmGateway:
        return GuardedCrm(self.gateways.for_tenant(tenant, provider), self.breaker, tenant.tenant_id)


@dataclass(frozen=True)
class GuardedRecordings:
    """CallRail's recordings behind the tenant's circuit. Implements `shared.ports.Recordings`."""

    recordings: Recordings
    breaker: Breaker

    def open(self, tenant: Tenant, *, call_id: str, recording_url: str) -> AbstractContextManager[RecordingStream]:
        return self._open(tenant, call_id, recording_url)

    @contextmanager
    def _open(self, tenant: Tenant, call_id: str, recording_url: str) -> Iterator[RecordingStream]:
        # Only the opening is guarded: a refusal comes before the first byte.
        with ExitStack() as stack:
            opening = self.recordings.open(tenant, call_id=call_id, recording_url=recording_url)
            yield self.breaker.call(tenant.tenant_id, "callrail", lambda: stack.enter_context(opening))
