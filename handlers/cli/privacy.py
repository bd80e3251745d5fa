"""`pipeline privacy`: what a person may ask of us, and what proves that it was done."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from handlers.cli.dead_letter_options import actor
from schemas.phones import to_e164
from shared.errors import ConfigurationError
from shared.privacy import REMAINS_AFTER_OFFBOARDING, Certificate
from shared.settings import Settings, load_settings

app = typer.Typer(no_args_is_help=True, help="Erase and export what is held about a caller.")

TenantOption = Annotated[str, typer.Option("--tenant", help="tenant id")]
CallOption = Annotated[str | None, typer.Option("--call", help="one call's id")]
PhoneOption = Annotated[str | None, typer.Option("--phone", help="a caller's number, any spelling")]


@app.command()
def erase(
    tenant: TenantOption,
    call: CallOption = None,
    phone: PhoneOption = None,
    crm: Annotated[bool, typer.Option("--crm", help="also in the tenant's CRMs: calls, and people we made")] = False,
    crm_found_people: Annotated[
        bool, typer.Option("--crm-found-people", help="with --crm: also people whom somebody else had entered")
    ] = False,
) -> None:
    """Remove everything about a call, or about all calls of a number. Prints a certificate (JSON).

    Harmless to repeat. Without --crm, records in the CRMs are named in the certificate, and stay. With it they go
    first: when a CRM refuses, nothing else is removed yet. People go only when --phone is given.
    """
    from handlers import privacy_wiring, wiring

    settings = load_settings()
    subject, calls = _subject(settings, tenant, call, phone)
    desk, options = privacy_wiring.privacy_desk(settings), {"with_found_people": crm_found_people}
    in_crms = None
    if crm:
        owner = wiring.tenant_store(settings).show(tenant).tenant
        number = to_e164(phone or "")
        in_crms = desk.erase_in_crms(owner, calls, e164=number, actor=actor(), **options)
    certificate = desk.erase(tenant, calls, subject=subject, actor=actor(), in_crms=in_crms, **options)
    typer.echo(_document(certificate))


@app.command()
def export(
    tenant: TenantOption,
    out: Annotated[Path, typer.Option(help="new file; readable for you alone")],
    call: CallOption = None,
    phone: PhoneOption = None,
) -> None:
    """Write everything that is held about a call, or about all calls of a number, into a file (JSON)."""
    from handlers import privacy_wiring

    settings = load_settings()
    _, calls = _subject(settings, tenant, call, phone)
    found = privacy_wiring.privacy_desk(settings).export(tenant, calls)
    try:
        descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise ConfigurationError(
            "unreadable_file", f"cannot write {out}: {error.strerror}", fix="--out NEWFILE"
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(found, file, indent=2, ensure_ascii=False)
    typer.echo(f"{len(found)} calls written to {out}")


@app.command()
def retention(
    tenant: TenantOption,
    sweep: Annotated[bool, typer.Option("--sweep", help="also remove what is past its time, now")] = False,
) -> None:
    """Bring what is stored to the tenant's present retention (after a change of its settings).

    New calls follow the setting by themselves. Harmless to repeat or to stop: the next run takes what is left. On
    Google, Spanner and Cloud Storage remove what is past its time; `--sweep` does it where they do not (locally).
    """
    from handlers import privacy_wiring, wiring

    settings = load_settings()
    owner = wiring.tenant_store(settings).show(tenant).tenant
    desk = privacy_wiring.retention_desk(settings)
    privacy = owner.config.privacy
    typer.echo(f"calls are kept {privacy.retention_days} days, recordings {privacy.audio_days} days")
    typer.echo(f"changed: {_counts(desk.restamp(owner, actor=actor()))}")
    if sweep:
        typer.echo(f"removed: {_counts(desk.sweep(owner, actor=actor()))}")


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in counts.items())


def shred(settings: Settings, tenant_id: str, *, actor: str) -> str:
    """Destroy the keyset, delete the objects; the certificate."""
    from handlers import privacy_wiring, wiring

    desk = privacy_wiring.privacy_desk(settings)
    destroyed = wiring.keyset_store(settings).destroy(tenant_id, actor=actor)
    certificate = Certificate(
        "offboarding",
        tenant_id,
        tenant_id,
        actor,
        wiring.now(),
        keysets_destroyed=destroyed,
        objects_deleted=desk.delete_objects_of(tenant_id),
        unreadable_rows=desk.store.rows_of(tenant_id),
        cached_for_s=settings.keyset_cache_ttl_s,
        remains=REMAINS_AFTER_OFFBOARDING,
    )
    return _document(certificate)


def _subject(settings: Settings, tenant: str, call: str | None, phone: str | None) -> tuple[str, list[str]]:
    """How a certificate names the person, and their calls."""
    from handlers import privacy_wiring, wiring
    from shared.gateways.privacy_store import subject_of

    wiring.tenant_store(settings).show(tenant)
    if (call is None) == (phone is None):
        raise ConfigurationError("no_subject", "say whose data is meant", fix="--call CALL, or --phone NUMBER")
    if call is not None:
        return f"call {call}", [call]
    number = to_e164(phone or "")
    if not number:
        raise ConfigurationError("unreadable_number", "the text is no telephone number", fix="write it as +13035550142")
    desk = privacy_wiring.privacy_desk(settings)
    return subject_of(wiring.vault(settings).of(tenant), number), desk.store.calls_of(tenant, number)


def _document(certificate: Certificate) -> str:
    return json.dumps(asdict(certificate), indent=2, default=str)
