"""`pipeline tenant …`: create, look at, change, suspend and resume the customers of the pipeline."""

from __future__ import annotations

import getpass
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from handlers.cli.tenant_check import check
from handlers.cli.tenant_document import TenantDocument, read_document
from handlers.cli.tenant_export import export
from handlers.cli.tenant_onboard import onboard
from handlers.cli.tenant_rotation import rotate_secret
from shared.errors import ConfigurationError
from shared.settings import Settings, load_settings

if TYPE_CHECKING:
    from shared.gateways.tenant_store import StoredTenant, TenantStore
    from shared.ports import Secrets

app = typer.Typer(help="Create, look at and change tenants.", no_args_is_help=True)
app.command()(onboard)
app.command()(export)
app.command()(check)
app.command()(rotate_secret)

TenantArgument = Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")]
ConfigOption = Annotated[Path, typer.Option("--config", help="JSON file, see docs/api/tenant-configuration.md.")]
NameOption = Annotated[str | None, typer.Option(help="The customer's name (default: the file's, then the id).")]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Check everything, write nothing.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.command()
def create(
    *,
    config: ConfigOption,
    tenant_id: Annotated[str | None, typer.Option(help="The new tenant's id (default: the file's).")] = None,
    name: NameOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Create a tenant. A literal webhook_secret goes to Secret Manager; the tenant keeps its name only."""
    settings = load_settings()
    document = _read(config, settings, tenant_id=tenant_id, name=name)
    store, secrets = _store(settings)
    if dry_run:
        store.check_new(document.tenant)
        typer.echo(f"would create tenant {document.tenant.tenant_id}; nothing was written")
    else:
        store.create(document.tenant, new_secrets=document.new_secrets, secrets=secrets, actor=_actor())
        typer.echo(f"created tenant {document.tenant.tenant_id}")
    _describe(document)


@app.command()
def update(
    tenant_id: TenantArgument,
    *,
    config: ConfigOption,
    name: NameOption = None,
    dry_run: DryRunOption = False,
) -> None:
    """Replace a tenant's configuration. Its status, calls and CRM states stay."""
    settings = load_settings()
    store, secrets = _store(settings)
    kept_name = name or store.name_of(tenant_id)
    document = _read(config, settings, tenant_id=tenant_id, name=kept_name)
    if dry_run:
        store.check_routes(document.tenant)
        typer.echo(f"would update tenant {tenant_id}; nothing was written")
    else:
        store.update(document.tenant, new_secrets=document.new_secrets, secrets=secrets, actor=_actor())
        typer.echo(f"updated tenant {tenant_id}; services follow within {settings.tenant_cache_ttl_s:g} s")
    _describe(document)


@app.command()
def show(tenant_id: TenantArgument, *, as_json: JsonOption = False) -> None:
    """Show a tenant. Secrets appear by name only."""
    stored = _store(load_settings())[0].show(tenant_id)
    facts = _facts(stored)
    if as_json:
        typer.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        typer.echo(f"{key}: {value if isinstance(value, str) else json.dumps(value, indent=2)}")


@app.command("list")
def list_tenants(*, as_json: JsonOption = False) -> None:
    """List all tenants."""
    lines = _store(load_settings())[0].list_tenants()
    if as_json:
        rows = [
            {
                "tenant_id": line.tenant_id,
                "name": line.name,
                "status": line.status,
                "created_at": f"{line.created_at:%FT%TZ}",
            }
            for line in lines
        ]
        typer.echo(json.dumps(rows, indent=2))
        return
    table = Table("tenant", "name", "status", "created")
    for line in lines:
        table.add_row(line.tenant_id, line.name, line.status, f"{line.created_at:%F %T} UTC")
    Console().print(table)


@app.command()
def suspend(tenant_id: TenantArgument) -> None:
    """Stop processing a tenant's calls; its data stays."""
    _set_status(tenant_id, "suspended")


@app.command()
def resume(tenant_id: TenantArgument) -> None:
    """Process a suspended tenant's calls again."""
    _set_status(tenant_id, "active")


@app.command()
def offboard(
    tenant_id: TenantArgument,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="There is no way back.")] = False,
) -> None:
    """End a tenant for good: its keyset is destroyed, so its data becomes unreadable; its audio is deleted.

    Prints a certificate (JSON). Running it again finishes what was interrupted.
    """
    from handlers.cli.privacy import shred

    settings = load_settings()
    if not yes:
        raise ConfigurationError(
            "not_confirmed", f"offboarding {tenant_id} destroys its data for good", fix="add --yes if that is meant"
        )
    store = _store(settings)[0]
    if store.show(tenant_id).tenant.status != "offboarded":
        store.set_status(tenant_id, "offboarded", actor=_actor())
    typer.echo(shred(settings, tenant_id, actor=_actor()))


def _set_status(tenant_id: str, status: Any) -> None:
    settings = load_settings()
    _store(settings)[0].set_status(tenant_id, status, actor=_actor())
    typer.echo(f"tenant {tenant_id} is {status}; services follow within {settings.tenant_cache_ttl_s:g} s")


def _store(settings: Settings) -> tuple[TenantStore, Secrets]:
    from handlers.wiring import secrets, tenant_store

    return tenant_store(settings), secrets(settings)


def _read(path: Path, settings: Settings, *, tenant_id: str | None, name: str | None) -> TenantDocument:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError("unreadable_file", f"cannot read {path}: {reason}", fix="check --config") from error
    document = read_document(text, source=path.name, tenant_id=tenant_id, name=name)
    if document.has_published_secret and not settings.is_local:
        raise ConfigurationError(
            "published_secret",
            f"{path.name}: webhook_secret is the example of the production guide, which anybody can read",
            fix="use the signing key from CallRail's webhook settings",
        )
    return document


def _describe(document: TenantDocument) -> None:
    """What a person needs next: where secrets are, and which address goes into CallRail."""
    config = document.tenant.config
    for name in config.webhook_secret_names:
        where = "stored now" if name in document.new_secrets else "must exist"
        typer.echo(f"  signing key: secret {name} ({where})")
    typer.echo(f"  companies: {', '.join(config.callrail_company_ids)}")
    typer.echo(f"  CRM: {', '.join(config.crm_config.providers) or 'none'}")
    typer.echo(f"  webhook address: {_address(document.tenant.config.webhook_token)}")


def _address(token: str) -> str:
    return f"/v1/callrail/webhook/{token}/<event>" if token else "/v1/callrail/webhook"


def _facts(stored: StoredTenant) -> dict[str, Any]:
    tenant = stored.tenant
    return {
        "tenant_id": tenant.tenant_id,
        "name": tenant.name,
        "status": tenant.status,
        "created_at": f"{stored.created_at:%FT%TZ}",
        "updated_at": f"{stored.updated_at:%FT%TZ}",
        "webhook_address": _address(tenant.config.webhook_token),
        "integrations": [
            {"provider": item.provider, "status": item.status, "reason": item.reason} for item in stored.integrations
        ],
        "config": tenant.config.model_dump(mode="json"),
    }


def _actor() -> str:
    """The person at the terminal, for the audit log; Google's own audit log has the account."""
    try:
        return f"cli:{getpass.getuser()}"
    except (KeyError, OSError):  # no name for this user id, as in a container
        return "cli:unknown"
