"""CallRail and the CRMs within a tenant's share: the same ports, asleep while a tenant asks more than its share.

These vendors count by the tenant's own account, so a wave harms nobody else there. It would fill the workers that all
tenants share, with requests that the vendor then throttles: hence the same fence as at Speech and the model.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass

from schemas.calls import CrmRecord, Provider
from schemas.crm import CrmCall
from schemas.tenant import Tenant
from shared.fair_stage import over_share
from shared.ports import Clock, CrmGateway, CrmGateways, Recordings, RecordingStream
from shared.tenant_limits import TenantLimits


@dataclass(frozen=True)
class Fence:
    """One vendor's shares, for all tenants."""

    vendor: str
    limits: TenantLimits
    now: Clock

    def pass_(self, tenant_id: str) -> None:
        """Take one of the tenant's share. Raises `Deferred` when there is none."""
        wait_s = self.limits.wait_s(tenant_id)
        if wait_s:
            raise over_share(self.vendor, wait_s=wait_s, now=self.now())


@dataclass(frozen=True)
class FairRecordings:
    """Implements `shared.ports.Recordings`."""

    recordings: Recordings
    fence: Fence

    def open(self, tenant: Tenant, *, call_id: str, recording_url: str) -> AbstractContextManager[RecordingStream]:
        self.fence.pass_(tenant.tenant_id)
        return self.recordings.open(tenant, call_id=call_id, recording_url=recording_url)


@dataclass(frozen=True)
class FairCrm:
    """One tenant's CRM within its share. Implements `shared.ports.CrmGateway`."""

    gateway: CrmGateway
    fence: Fence
    tenant_id: str

    @property
    def provider(self) -> Provider:
        return self.gateway.provider

    def sync_call(self, call: CrmCall) -> CrmRecord:
        self.fence.pass_(self.tenant_id)
        return self.gateway.sync_call(call)

    def prepare(self) -> list[str]:
        return self.gateway.prepare()

    def inspect(self) -> list[str]:
        return self.gateway.inspect()


@dataclass(frozen=True)
class FairCrms:
    """Implements `shared.ports.CrmGateways`."""

    gateways: CrmGateways
    fence_of: Callable[[Provider], Fence]

    def for_tenant(self, tenant: Tenant, provider: Provider) -> CrmGateway:
        return FairCrm(self.gateways.for_tenant(tenant, provider), self.fence_of(provider), tenant.tenant_id)
