"""`pipeline keys`: the keysets that seal tenants' personal data. Shows ids of keys, never keys."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from handlers.cli.dead_letter_options import actor
from shared.errors import ConfigurationError
from shared.settings import load_settings

if TYPE_CHECKING:
    from shared.gateways.keyset_store import KeysetLine

app = typer.Typer(no_args_is_help=True, help="The keysets that seal tenants' personal data.")

TenantOption = Annotated[str | None, typer.Option("--tenant", help="tenant id")]
NeededTenant = Annotated[str, typer.Option("--tenant", help="tenant id")]


@app.command()
def create(
    tenant: TenantOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="every tenant that has none yet")] = False,
) -> None:
    """Make the keyset of a tenant from before personal data was sealed. One that is there stays."""
    from handlers import wiring

    if (tenant is None) == (not every):
        raise ConfigurationError("no_tenant", "say whose keyset is meant", fix="--tenant TENANT, or --all")
    settings = load_settings()
    store = wiring.keyset_store(settings)
    if tenant is None:
        ids = [line.tenant_id for line in wiring.tenant_store(settings).list_tenants() if line.status != "offboarded"]
    else:
        ids = [wiring.tenant_store(settings).show(tenant).tenant.tenant_id]
    for tenant_id in ids:
        is_new = store.create(tenant_id, actor=actor())
        typer.echo(f"{tenant_id}: {'keyset made' if is_new else 'there already'}")


@app.command()
def show(tenant: NeededTenant, *, as_json: Annotated[bool, typer.Option("--json")] = False) -> None:
    """Show which keys a tenant has; the first one seals, all of them open."""
    from handlers import wiring

    lines = wiring.keyset_store(load_settings()).show(tenant)
    if as_json:
        typer.echo(json.dumps([_facts(line) for line in lines], indent=2))
        return
    for line in lines:
        state = "destroyed" if line.is_destroyed else f"keys {', '.join(map(str, line.key_ids))}"
        typer.echo(f"{line.purpose}: version {line.version}, {state}")
    if not lines:
        typer.echo(f"{tenant} has no keyset; pipeline keys create --tenant {tenant}")


@app.command()
def rotate(
    tenant: TenantOption = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="every tenant that has a keyset (the scheduled job)")] = False,
) -> None:
    """Seal with a fresh key from now on, and wrap the keyset with the newest version of the Cloud KMS key.

    What was sealed before stays readable; services follow within `PIPELINE_KEYSET_CACHE_TTL_S`, and at once where they
    meet a value of the new key.
    """
    from handlers import wiring

    if (tenant is None) == (not every):
        raise ConfigurationError("no_tenant", "say whose keyset is meant", fix="--tenant TENANT, or --all")
    settings = load_settings()
    store = wiring.keyset_store(settings)
    if tenant is not None:
        _say(tenant, store.rotate(tenant, actor=actor()))
        return
    for line in wiring.tenant_store(settings).list_tenants():
        if line.status == "offboarded" or not any(not one.is_destroyed for one in store.show(line.tenant_id)):
            typer.echo(f"{line.tenant_id}: no keyset in use")
            continue
        _say(line.tenant_id, store.rotate(line.tenant_id, actor=actor()))


def _say(tenant: str, line: KeysetLine) -> None:
    typer.echo(f"{tenant}: key {line.key_ids[0]} seals now; {len(line.key_ids) - 1} older still open")


def _facts(line: KeysetLine) -> dict[str, object]:
    return {
        "purpose": line.purpose,
        "version": line.version,
        "key_ids": list(line.key_ids),
        "destroyed": line.is_destroyed,
    }
