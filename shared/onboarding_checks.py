"""What is checked before anything is written: the tenant, its secrets, CallRail, the CRMs."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Iterator, Mapping, Sequence

from schemas.tenant import Tenant, TenantConfig
from shared.backfill import ApiAccess
from shared.errors import PipelineError, TenantBlocked
from shared.onboarding import (
    TRIGGERS,
    CallRailAccounts,
    Click,
    Company,
    Doorbell,
    Step,
    StepState,
    WebhooksIntegration,
)
from shared.ports import Secrets

_WEBHOOKS_PAGE = "CallRail → the company → Settings → Integrations → Webhooks"


def failed(name: str, error: PipelineError) -> Step:
    """A step that an error ended, in the error's own words."""
    return Step(name, "failed", f"{error.code}: {error.detail}", fix=_ADVICE.get(error.code, error.fix))


_ADVICE = {
    "callrail_key_refused": "make a key in CallRail (your name → API Keys), as the company's administrator; give that",
    "hubspot_401": "make a service key in HubSpot (Settings → Integrations → Service Keys) and give that",
    "hubspot_403": "grant the token crm.objects.contacts.read and .write, crm.schemas.contacts.read and .write",
}
"""While a customer comes in, a credential is typed anew rather than stored anew."""


# --- the tenant ---------------------------------------------------------------------------------------


def with_token(tenant: Tenant, token: str) -> Tenant:
    """The tenant with an address of its own."""
    given = tenant.config.model_dump(exclude_unset=True)
    config = TenantConfig.model_validate({**given, "webhook_token": token})
    return tenant.model_copy(update={"config": config})


def differences(wanted: Tenant, stored: Tenant) -> list[str]:
    """Fields in which the stored tenant is not what is asked for; an address that was made for it is no difference."""
    ours, theirs = (tenant.config.model_dump(mode="json") for tenant in (wanted, stored))
    if not wanted.config.webhook_token:
        theirs["webhook_token"] = ""
    return sorted(name for name, value in ours.items() if theirs[name] != value)


def secret_names(config: TenantConfig) -> tuple[str, ...]:
    """Every secret that the configuration names."""
    crm = config.crm_config
    names = [
        *config.webhook_secret_names,
        config.callrail_api_key_secret,
        crm.hubspot.token_secret if crm.hubspot else None,
        crm.salesforce.credentials_secret if crm.salesforce else None,
    ]
    return tuple(dict.fromkeys(name for name in names if name))


def compare_secrets(names: Sequence[str], given: Mapping[str, str], stored: Secrets) -> dict[str, str]:
    """Name → `kept` (there with this value, or not given), `new`, `changed`. Raises `TenantBlocked` for one that is
    neither given nor there, `TransientFailure`."""
    found: dict[str, str] = {}
    for name in names:
        try:
            there = stored.reread(name)
        except TenantBlocked as error:
            if name not in given or error.code != "secret_missing":
                raise
            found[name] = "new"
        else:
            found[name] = "kept" if same(given.get(name, there), there) else "changed"
    return found


def same(one: str, other: str) -> bool:
    """Whether two secrets are equal, in constant time. Line ends at the end are nobody's intention."""
    return hmac.compare_digest(one.rstrip("\r\n").encode(), other.rstrip("\r\n").encode())


# --- CallRail -----------------------------------------------------------------------------------------


def access_of(tenant: Tenant) -> ApiAccess | None:
    """How CallRail's API is asked for this tenant; None without a key or an account."""
    config = tenant.config
    if not config.callrail_account_id or not config.callrail_api_key_secret:
        return None
    return ApiAccess(config.callrail_account_id, config.callrail_api_key_secret)


def look_at_company(accounts: CallRailAccounts, access: ApiAccess, company_id: str) -> tuple[Company, Step]:
    """The company, and whether it can send us calls. Raises as the API's client."""
    company = accounts.company(access, company_id)
    if company.is_active:
        return company, Step("callrail", "ok", f"company {company_id} found: {company.name}")
    fix = "switch the company on in CallRail, or leave it out of callrail_company_ids"
    return company, Step("callrail", "failed", f"company {company_id} ({company.name}) is switched off", fix=fix)


def judge_integration(company_id: str, integration: WebhooksIntegration | None, key: str) -> Step:
    """Whether the company's webhooks will be signed with the key that we hold. An empty key is not compared."""
    if integration is None:
        detail = f"company {company_id} has no webhooks yet: CallRail shows its signing key on the Webhooks page"
        return Step("callrail", "ok", f"{detail}; the key given cannot be compared before an address is entered")
    if not integration.is_on:
        fix = f"switch it on again: {_WEBHOOKS_PAGE}"
        return Step("callrail", "failed", f"CallRail has switched the webhooks of company {company_id} off", fix=fix)
    if not integration.signing_key or not key:
        return Step("callrail", "skipped", f"CallRail did not show the signing key of company {company_id}")
    if same(key, integration.signing_key):
        return Step("callrail", "ok", f"company {company_id} signs with the key that we hold")
    fix = f"copy the key from {_WEBHOOKS_PAGE}; companies with different keys must be tenants of their own"
    return Step("callrail", "failed", f"company {company_id} signs with another key than the one that we hold", fix=fix)


def no_key_yet(company_id: str) -> Step:
    """The key was to be taken from CallRail's API, but a company has none before its Webhooks page was used."""
    fix = f"open {_WEBHOOKS_PAGE} once and save an address there, or give the signing key yourself"
    return Step("callrail", "failed", f"CallRail has no signing key for company {company_id} yet", fix=fix)


def clicks_of(
    tenant: Tenant, doorbell: Doorbell, integrations: Mapping[str, WebhooksIntegration | None]
) -> Iterator[Click]:
    """Every address that CallRail must know, company by company. One that is missing in `integrations` is not known."""
    for company_id in tenant.config.callrail_company_ids:
        integration = integrations.get(company_id)
        for trigger in TRIGGERS:
            url = doorbell.address(tenant, trigger.event)
            known = integration.urls.get(trigger.config_key, ()) if integration else ()
            is_done = url in known if company_id in integrations else None
            yield Click(company_id, trigger.title, url, is_done)


# --- CRMs ---------------------------------------------------------------------------------------------


def crm_step(name: str, ask: Callable[[], list[str]], *, blocked: StepState) -> Step:
    """What a CRM says to `inspect` or `prepare`, as a step; what a person must do there makes it `blocked`."""
    try:
        lines = ask()
    except PipelineError as error:
        return failed(name, error)
    missing = [line for line in lines if line.startswith("missing:")]
    if missing:
        count = "one thing" if len(missing) == 1 else f"{len(missing)} things"
        fix = "do what the lines say, then run the command again: it goes on from here"
        return Step(name, blocked, f"{count} in the CRM need a person", tuple(missing), fix=fix)
    made = tuple(line for line in lines if line.startswith(("created:", "would create:")))
    if not made:
        return Step(name, "ok", "credentials accepted, everything is there")
    state: StepState = "created" if made[0].startswith("created") else "would create"
    return Step(name, state, f"credentials accepted, {len(made)} properties or fields", made)
