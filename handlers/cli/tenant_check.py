"""`pipeline tenant check`: make or check what we need in a tenant's CRMs, with the tenant's own credentials."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from shared.errors import PipelineError

if TYPE_CHECKING:
    from schemas.calls import Provider
    from schemas.tenant import Tenant
    from shared.settings import Settings

Findings = dict[str, list[str]]


def check(
    tenant_id: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Create our HubSpot properties, check our Salesforce fields, and say what a person has to do.

    Safe to repeat. Exit status 1 when something is missing or a CRM refuses the tenant's credentials.
    """
    from handlers import wiring

    with connected(state_dir) as settings:
        tenant = wiring.tenant_store(settings).show(tenant_id).tenant
        findings: Findings = {provider: _look_at(settings, tenant, provider) for provider in _providers(tenant)}
    if as_json:
        typer.echo(json.dumps(findings, indent=2))
    else:
        _print(tenant_id, findings)
    if any(line.startswith("missing:") for lines in findings.values() for line in lines):
        raise typer.Exit(1)


def _providers(tenant: Tenant) -> tuple[Provider, ...]:
    return tenant.config.crm_config.providers


def _look_at(settings: Settings, tenant: Tenant, provider: Provider) -> list[str]:
    """One CRM's lines. Its refusal is a finding, so that the other CRM is looked at all the same."""
    from handlers import wiring

    try:
        return wiring.crm_registry(settings).for_tenant(tenant, provider).prepare()
    except PipelineError as error:
        advice = f"; {error.fix}" if error.fix else ""
        return [f"missing: access ({error.code}: {error.detail}{advice})"]


def _print(tenant_id: str, findings: Findings) -> None:
    if not findings:
        typer.echo(f"tenant {tenant_id} has no CRM")
    for provider, lines in findings.items():
        for line in lines:
            typer.echo(f"{provider}: {line}")
