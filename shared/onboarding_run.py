"""Brings a customer in: checks everything first, writes only when all is well, and goes on where it was interrupted.

Nothing is remembered between two runs but what is there: the tenant's row, its secrets, the properties in its CRMs.
Each step looks before it makes, so a second run makes nothing twice, and a run after a failed step does the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial

from schemas.calls import Provider
from shared.backfill import ApiAccess
from shared.errors import PipelineError, TenantBlocked
from shared.given_secrets import GivenSecrets
from shared.onboarding import (
    SECRET_SUFFIXES,
    Application,
    CallRailAccounts,
    Doorbell,
    Report,
    Rung,
    Step,
    Tenants,
    WebhooksIntegration,
)
from shared.onboarding_checks import (
    access_of,
    clicks_of,
    compare_secrets,
    crm_step,
    differences,
    failed,
    judge_integration,
    look_at_company,
    no_key_yet,
    secret_names,
    with_token,
)
from shared.ports import CrmGateways, Secrets

PATIENCE_S = 20.0
"""How long a refused test webhook is sent again: a receiver remembers for 15 s that it knew no such tenant."""
LOOK_EVERY_S = 0.5
_PASSING = frozenset({401, 429, 503})


@dataclass(frozen=True)
class Parts:
    """What onboarding uses. CallRail's API and the CRMs are opened with secrets that need not be stored yet."""

    tenants: Tenants
    secrets: Secrets
    accounts: Callable[[Secrets], CallRailAccounts]
    crms: Callable[[Secrets], CrmGateways]
    doorbell: Doorbell
    new_token: Callable[[], str]
    sleep: Callable[[float], None]
    monotonic: Callable[[], float]


class Onboarding:
    """One customer's onboarding. `tell` hears of each step when it is over."""

    def __init__(self, application: Application, parts: Parts, *, actor: str, tell: Callable[[Step], None]) -> None:
        self._application = application
        self._parts = parts
        self._actor = actor
        self._tell = tell
        self._steps: list[Step] = []
        self._tenant = application.tenant
        self._is_new = True
        self._given = dict(application.secret_values)
        self._to_write: list[str] = []
        self._integrations: dict[str, WebhooksIntegration | None] = {}

    def dry_run(self) -> Report:
        """Check everything and say what would be made. Never raises for what a vendor says."""
        if self._check(self._report):
            self._report(Step("stopped", "skipped", "a dry run: nothing was written"))
        return Report(self._tenant.tenant_id, True, tuple(self._steps), ())

    def run(self, *, wait_s: float, confirm: Callable[[], bool]) -> Report:
        """Check; then, unless something failed or nobody confirms, write. Never raises for what a vendor says."""
        if not self._check(lambda step: self._report(_without_particulars(step))):
            return Report(self._tenant.tenant_id, False, tuple(self._steps), ())
        if not confirm():
            self._report(Step("stopped", "failed", "not confirmed: nothing was written"))
            return Report(self._tenant.tenant_id, False, tuple(self._steps), ())
        is_sound = self._change(wait_s)
        self._record()
        clicks = tuple(clicks_of(self._tenant, self._parts.doorbell, self._integrations)) if is_sound else ()
        return Report(self._tenant.tenant_id, False, tuple(self._steps), clicks)

    def _check(self, report: Callable[[Step], None]) -> bool:
        """False when a step failed. The others go on, so that a person hears of all mistakes at once."""
        is_sound = True
        for part in (self._settle_tenant, self._check_callrail, self._check_secrets, self._inspect_crms):
            for step in part():
                report(step)
                is_sound = is_sound and step.state != "failed"
            if not is_sound and part == self._settle_tenant:
                break
        if not is_sound:
            report(Step("stopped", "skipped", "nothing was written", fix="mend what failed and run it again"))
        return is_sound

    def _change(self, wait_s: float) -> bool:
        """False when a step failed: what follows would build on it."""
        for part in (self._write_secrets, self._create_tenant, self._prepare_crms, lambda: self._try_webhook(wait_s)):
            for step in part():
                self._report(replace(step, phase="change"))
                if step.state == "failed":
                    return False
        return True

    def _report(self, step: Step) -> None:
        self._steps.append(step)
        self._tell(step)

    # --- checks: nothing is written ---------------------------------------------------------------

    def _settle_tenant(self) -> Iterable[Step]:
        """A new tenant, or the one that an earlier run has made."""
        wanted, name = self._application.tenant, f"tenant {self._application.tenant.tenant_id}"
        try:
            stored = self._parts.tenants.find(wanted.tenant_id)
            if stored is None:
                self._parts.tenants.check_new(wanted)
        except PipelineError as error:
            return [failed("tenant", error)]
        if stored is None:
            self._tenant = wanted if wanted.config.webhook_token else with_token(wanted, self._parts.new_token())
            companies = ", ".join(wanted.config.callrail_company_ids)
            return [Step("tenant", "would create", f"{name} with its keyset, for {companies}")]
        self._is_new, self._tenant = False, stored
        if stored.status != "active":
            fix = f"pipeline tenant resume {stored.tenant_id}" if stored.status == "suspended" else "choose another id"
            return [Step("tenant", "failed", f"{name} is {stored.status}", fix=fix)]
        if differing := differences(wanted, stored):
            fix = "choose another id, or change it with `pipeline tenant update` and run this again without --from"
            return [Step("tenant", "failed", f"{name} exists with other {', '.join(differing)}", fix=fix)]
        return [Step("tenant", "ok", f"{name} is there: going on")]

    def _check_callrail(self) -> Iterable[Step]:
        access = access_of(self._tenant)
        if access is None:
            return [
                Step(
                    "callrail",
                    "skipped",
                    "no API key or no account id: companies and signing key are not compared, and recordings that "
                    "need the key and backfill are off",
                )
            ]
        accounts = self._parts.accounts(self._view())
        return [step for company in self._companies() for step in self._look_at(accounts, access, company)]

    def _look_at(self, accounts: CallRailAccounts, access: ApiAccess, company_id: str) -> list[Step]:
        try:
            _, found = look_at_company(accounts, access, company_id)
        except PipelineError as error:
            return [failed("callrail", error)]
        try:
            integration = accounts.webhooks(access, company_id)
        except TenantBlocked as error:
            if error.code != "callrail_forbidden" or self._application.takes_key_from_callrail:
                return [found, failed("callrail", error)]
            detail = f"the API key's user is no administrator: the signing key of {company_id} was not compared"
            return [found, Step("callrail", "skipped", detail)]
        except PipelineError as error:
            return [found, failed("callrail", error)]
        self._integrations[company_id] = integration
        if self._application.takes_key_from_callrail and not self._take_key(integration):
            return [found, no_key_yet(company_id)]
        return [found, judge_integration(company_id, integration, self._signing_key())]

    def _take_key(self, integration: WebhooksIntegration | None) -> bool:
        """The first company's key becomes the tenant's, the others are compared with it. False when there is none."""
        if integration is None or not integration.signing_key:
            return False
        self._given.setdefault(self._tenant.config.webhook_secret_names[0], integration.signing_key)
        return True

    def _signing_key(self) -> str:
        """The newest key; empty when it is not there yet, which the check of the secrets reports."""
        try:
            return self._view().read(self._tenant.config.webhook_secret_names[-1])
        except PipelineError:
            return ""

    def _check_secrets(self) -> Iterable[Step]:
        config = self._tenant.config
        if self._application.takes_key_from_callrail and config.webhook_secret_names[0] not in self._given:
            return [Step("secrets", "skipped", "the signing key was to come from CallRail, which did not give it")]
        try:
            found = compare_secrets(secret_names(config), self._given, self._parts.secrets)
        except PipelineError as error:
            return [failed("secrets", error)]
        changed = [name for name, state in found.items() if state == "changed"]
        if taken := [name for name in changed if not self._is_ours(name)]:
            fix = 'name the secret that is there ({"secret": …}), or give the new one another name'
            return [Step("secrets", "failed", f"{', '.join(taken)}: there already, with another value", fix=fix)]
        if not self._is_new and (keys := [name for name in changed if name in config.webhook_secret_names]):
            fix = f"pipeline tenant rotate-secret {self._tenant.tenant_id}"
            return [Step("secrets", "failed", f"{', '.join(keys)}: the tenant signs with another key", fix=fix)]
        self._to_write = [name for name, state in found.items() if state != "kept"]
        lines = tuple(f"{name}: {state}" for name, state in found.items())
        return [Step("secrets", "would create" if self._to_write else "ok", f"{len(found)} secrets", lines)]

    def _is_ours(self, name: str) -> bool:
        """Whether the secret is named after this tenant alone: another one may be somebody else's."""
        return name in {f"{self._tenant.tenant_id}-{suffix}" for suffix in SECRET_SUFFIXES.values()}

    def _inspect_crms(self) -> Iterable[Step]:
        crms = self._parts.crms(self._view())

        def inspect(provider: Provider) -> list[str]:
            return crms.for_tenant(self._tenant, provider).inspect()

        for provider in self._tenant.config.crm_config.providers:
            yield crm_step(provider, partial(inspect, provider), blocked="failed")

    # --- changes ----------------------------------------------------------------------------------

    def _write_secrets(self) -> Iterable[Step]:
        for name in self._to_write:
            try:
                self._parts.secrets.write(name, self._given[name])
            except PipelineError as error:
                yield failed("secrets", error)
                return
            yield Step("secrets", "created", f"secret {name} is stored")

    def _create_tenant(self) -> Iterable[Step]:
        if not self._is_new:
            return []
        try:
            self._parts.tenants.create(self._tenant, new_secrets={}, secrets=self._parts.secrets, actor=self._actor)
        except PipelineError as error:
            return [failed("tenant", error)]
        return [Step("tenant", "created", f"tenant {self._tenant.tenant_id} with its keyset")]

    def _prepare_crms(self) -> Iterable[Step]:
        crms = self._parts.crms(self._parts.secrets)

        def prepare(provider: Provider) -> list[str]:
            return crms.for_tenant(self._tenant, provider).prepare()

        for provider in self._tenant.config.crm_config.providers:
            yield crm_step(provider, partial(prepare, provider), blocked="to do")

    def _try_webhook(self, wait_s: float) -> Iterable[Step]:
        try:
            rung = self._ring()
            if rung.status != 202:
                return [_refused(rung)]
            if not wait_s:
                detail = f"signed test webhook {rung.subject} accepted; it becomes a request that is not processed"
                return [Step("webhook", "ok", detail)]
            return [self._follow(rung, wait_s)]
        except PipelineError as error:
            return [failed("webhook", error)]

    def _ring(self) -> Rung:
        """Until it is accepted, or the receiver's caches must have noticed the tenant."""
        key = self._parts.secrets.reread(self._tenant.config.webhook_secret_names[-1])
        ends_at = self._parts.monotonic() + PATIENCE_S
        while True:
            rung = self._parts.doorbell.ring(self._tenant, key)
            if rung.status not in _PASSING or self._parts.monotonic() >= ends_at:
                return rung
            self._parts.sleep(LOOK_EVERY_S * 4)

    def _follow(self, rung: Rung, wait_s: float) -> Step:
        tenant_id, ends_at = self._tenant.tenant_id, self._parts.monotonic() + wait_s
        while not self._parts.doorbell.ended(tenant_id, rung):
            if self._parts.monotonic() >= ends_at:
                fix = f"look at the download worker and its subscription: pipeline why {rung.request_id}"
                return Step("webhook", "failed", f"accepted, but no worker finished it within {wait_s:g} s", fix=fix)
            self._parts.sleep(LOOK_EVERY_S)
        self._parts.doorbell.forget(tenant_id, rung, actor=self._actor)
        return Step("webhook", "ok", "signed test webhook accepted, finished by the first worker and removed again")

    def _record(self) -> None:
        """One line for the audit log, unless the tenant does not exist yet."""
        tenant_id = self._tenant.tenant_id
        outcomes = {step.name: step.state for step in self._steps}
        if outcomes.get("tenant") in {"ok", "created"}:
            self._parts.tenants.record(tenant_id, actor=self._actor, action="tenant.onboard", detail=outcomes)

    # --- small parts ------------------------------------------------------------------------------

    def _view(self) -> GivenSecrets:
        return GivenSecrets(self._given, self._parts.secrets)

    def _companies(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._tenant.config.callrail_company_ids))


def _without_particulars(step: Step) -> Step:
    """Before a change, what will be made is said in one line: the change itself reports every piece."""
    if step.state != "would create":
        return step
    return replace(step, state="ok", detail=f"{step.detail}: to be made", lines=())


def _refused(rung: Rung) -> Step:
    advice = {
        401: "receivers keep a signing key for PIPELINE_SECRET_CACHE_TTL_S: wait so long, then run it again",
        403: "the tenant is not active: pipeline tenant show TENANT",
        404: "check --webhook-url: it is the receiver's base address",
    }
    fix = advice.get(rung.status, "look at the receiver's log; the runbook says more")
    return Step("webhook", "failed", f"the receiver answered {rung.status} {rung.error}".rstrip(), fix=fix)
