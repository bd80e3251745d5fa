"""The words of onboarding: what a customer applies with, what each step came to, and what it asks of the outside.

The order of the steps is in `shared/onboarding_run.py`; why a test webhook leaves nothing in a customer's CRM is
decision 0015.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

from schemas.tenant import Tenant
from shared.backfill import ApiAccess
from shared.ports import Secrets

StepState = Literal["ok", "created", "would create", "to do", "skipped", "failed"]
"""`to do` is a person's to click; `failed` stops the onboarding. Both make the command end with status 1."""


SECRET_SUFFIXES = {
    "webhook_signing_key": "webhook-secret",
    "callrail_api_key": "callrail-api-key",
    "hubspot_token": "hubspot-token",
    "salesforce_credentials": "salesforce-credentials",
}
"""What a secret is for, and how the tenant's own is called: `<tenant>-<suffix>`. Others may be shared."""


@dataclass(frozen=True)
class Step:
    """One step as it is reported the moment it is over. `lines` are its particulars, `fix` what a person does next."""

    name: str
    state: StepState
    detail: str
    lines: tuple[str, ...] = ()
    fix: str = ""
    phase: Literal["check", "change"] = "check"
    """Nothing is written before all checks are over."""


@dataclass(frozen=True)
class Application:
    """A customer who comes in: the tenant as it shall be, and secrets (name → value) that are not stored yet."""

    tenant: Tenant
    secret_values: Mapping[str, str] = field(default_factory=dict, repr=False)
    takes_key_from_callrail: bool = False
    """The signing key is asked of CallRail's API instead of being given."""


@dataclass(frozen=True)
class Company:
    """A company as CallRail's API knows it."""

    company_id: str
    name: str
    is_active: bool


@dataclass(frozen=True)
class WebhooksIntegration:
    """The one integration of type *Webhooks* that a company has. `urls`: configuration key → addresses."""

    state: str
    urls: Mapping[str, tuple[str, ...]]
    signing_key: str = field(default="", repr=False)

    @property
    def is_on(self) -> bool:
        """CallRail switches an integration off that fails too often."""
        return self.state in {"", "active", "enabled"}


@dataclass(frozen=True)
class Trigger:
    """A trigger of CallRail: its name on the screen, its key in the API's `config`, the end of our address."""

    title: str
    config_key: str
    event: str


TRIGGERS = (
    Trigger("Post-Call", "post_call_webhook", "post-call"),
    Trigger("Call Modified", "updated_call_webhook", "call-modified"),
    Trigger("Outbound Post-Call", "post_outbound_call_webhook", "outbound-post-call"),
    Trigger("Outbound Call Modified", "updated_outbound_call_webhook", "outbound-call-modified"),
)
"""All four are needed to miss no call and no later change (callrail.md §2.1)."""


@dataclass(frozen=True)
class Click:
    """One address to be entered in CallRail by a person. `is_done`: the API shows it; None: nobody could look."""

    company_id: str
    trigger: str
    url: str
    is_done: bool | None


@dataclass(frozen=True)
class Report:
    """What an onboarding came to."""

    tenant_id: str
    is_dry_run: bool
    steps: tuple[Step, ...]
    clicks: tuple[Click, ...]

    @property
    def is_fine(self) -> bool:
        return all(step.state not in {"failed", "to do"} for step in self.steps)


class Tenants(Protocol):
    """The tenants' store, as far as onboarding changes it."""

    def find(self, tenant_id: str) -> Tenant | None: ...

    def check_new(self, tenant: Tenant) -> None:
        """Raises `ConfigurationError` when the id, a company or an address is taken."""
        ...

    def create(self, tenant: Tenant, *, new_secrets: Mapping[str, str], secrets: Secrets, actor: str) -> None:
        """One commit: tenant, keyset, routes, integrations, audit entry. Raises `ConfigurationError`."""
        ...

    def record(self, tenant_id: str, *, actor: str, action: str, detail: Mapping[str, str]) -> None:
        """One more line of the audit log."""
        ...


class CallRailAccounts(Protocol):
    """CallRail's API, read only. Raises `TenantBlocked`, `Deferred`, `TransientFailure`, `PermanentFailure`."""

    def company(self, access: ApiAccess, company_id: str) -> Company: ...

    def webhooks(self, access: ApiAccess, company_id: str) -> WebhooksIntegration | None: ...


@dataclass(frozen=True)
class Rung:
    """The receiver's answer to a test webhook."""

    status: int
    subject: str
    """The id that the test webhook carries in a call's place."""
    request_id: str = ""
    error: str = ""


class Doorbell(Protocol):
    """Posts test webhooks to the receiver, signed with the tenant's key, and follows them."""

    def ring(self, tenant: Tenant, key: str) -> Rung:
        """Raises `TransientFailure` when nobody answers."""
        ...

    def ended(self, tenant_id: str, rung: Rung) -> bool:
        """Whether the first worker has finished it."""
        ...

    def forget(self, tenant_id: str, rung: Rung, *, actor: str) -> None:
        """Remove its rows."""
        ...

    def address(self, tenant: Tenant, event: str) -> str:
        """The tenant's own webhook address for one event."""
        ...
