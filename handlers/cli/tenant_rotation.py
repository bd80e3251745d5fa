"""`pipeline tenant rotate-secret`: a new signing key beside the old one, and later the old one out of use."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Annotated

import typer

from handlers.cli.tenant_document import MIN_SECRET_LENGTH, PUBLISHED_SECRETS
from schemas.tenant import Tenant, TenantConfig
from shared.errors import ConfigurationError
from shared.settings import load_settings


def rotate_secret(
    tenant_id: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    *,
    key_file: Annotated[
        Path | None, typer.Option(help="A file that holds the new signing key (default: it is asked for, unseen).")
    ] = None,
    finish: Annotated[
        bool, typer.Option("--finish", help="The sender uses the new key: stop accepting the old.")
    ] = False,
) -> None:
    """Replace a signing key without losing a webhook: both keys sign until --finish."""
    from handlers.wiring import now, secrets, tenant_store

    settings = load_settings()
    store, vault = tenant_store(settings), secrets(settings)
    tenant = store.show(tenant_id).tenant
    if finish:
        changed, new_secrets = finished(tenant), {}
    else:
        name = f"{tenant_id}-webhook-secret-{now():%Y%m%dt%H%M%S}"
        changed, new_secrets = begun(tenant, name), {name: _new_key(tenant, key_file)}
    store.update(changed, new_secrets=new_secrets, secrets=vault, actor=getpass.getuser())
    _say_what_follows(tenant, changed, wait_s=settings.tenant_cache_ttl_s)


def begun(tenant: Tenant, name: str) -> Tenant:
    """The tenant with a second key. Raises `ConfigurationError` while two are in use already."""
    names = tenant.config.webhook_secret_names
    if len(names) > 1:
        raise ConfigurationError(
            "rotation_unfinished",
            f"tenant {tenant.tenant_id} has two signing keys already: {', '.join(names)}",
            fix=f"pipeline tenant rotate-secret {tenant.tenant_id} --finish",
        )
    return _with_keys(tenant, (*names, name))


def finished(tenant: Tenant) -> Tenant:
    """The tenant with its newer key only. Raises `ConfigurationError` when there is no second one."""
    names = tenant.config.webhook_secret_names
    if len(names) < 2:
        raise ConfigurationError(
            "no_rotation",
            f"tenant {tenant.tenant_id} has one signing key only: {names[0]}",
            fix=f"pipeline tenant rotate-secret {tenant.tenant_id}",
        )
    return _with_keys(tenant, names[-1:])


def _with_keys(tenant: Tenant, names: tuple[str, ...]) -> Tenant:
    given = tenant.config.model_dump(exclude_unset=True)
    config = TenantConfig.model_validate({**given, "webhook_secret_names": names})
    return tenant.model_copy(update={"config": config})


def _new_key(tenant: Tenant, path: Path | None) -> str:
    """The key from the file or the keyboard. Raises `ConfigurationError`, which never shows it."""
    try:
        key = path.read_text(encoding="utf-8") if path else typer.prompt("New signing key", hide_input=True)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("unreadable_file", f"cannot read {path}", fix="check --key-file") from error
    key = key.strip()
    if len(key) < MIN_SECRET_LENGTH or key in PUBLISHED_SECRETS:
        raise ConfigurationError(
            "weak_key",
            f"the new signing key of {tenant.tenant_id} is shorter than {MIN_SECRET_LENGTH} characters or published",
            fix="use the key that CallRail shows on the company's Webhooks page",
        )
    return key


def _say_what_follows(before: Tenant, after: Tenant, *, wait_s: float) -> None:
    old, new = before.config.webhook_secret_names, after.config.webhook_secret_names
    typer.echo(
        f"tenant {after.tenant_id}: webhooks are accepted under {' or '.join(new)}, within {wait_s:g} s everywhere"
    )
    if len(new) > 1:
        typer.echo("next: let the sender use the new key, wait until its webhooks come, then the same with --finish")
    for name in sorted(set(old) - set(new)):
        typer.echo(f"secret {name} is out of use; destroy it: gcloud secrets delete {name}")
