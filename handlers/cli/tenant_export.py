"""`pipeline tenant export`: everything that is held about a tenant, opened, in one ZIP file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from handlers.cli.dead_letter_options import actor
from shared.settings import Settings
from shared.tenant_export import Bundle, Manifest


def export(
    tenant_id: Annotated[str, typer.Argument(metavar="TENANT", help="The tenant's id.")],
    *,
    out: Annotated[Path, typer.Option(help="New ZIP file; readable for you alone.")],
    with_audio: Annotated[bool, typer.Option("--with-audio", help="Recordings and Speech's output too.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Write configuration, calls with their content, requests and audit log of a tenant into a file.

    The file holds personal data, unsealed. The audit log keeps who made it. Secrets are not in it.
    """
    from shared.zip_bundle import sha256_of, zip_bundle

    with connected(state_dir) as settings, zip_bundle(out) as bundle:
        manifest = _write(settings, tenant_id, bundle, audio=with_audio)
    digest = sha256_of(out)
    if as_json:
        typer.echo(json.dumps({**asdict(manifest), "archive_sha256": digest}, indent=2, default=str))
        return
    for file in manifest.files:
        if not file.name.startswith("objects/"):
            typer.echo(f"{file.rows:>8}  {file.name}")
    audio = sum(file.name.startswith("objects/") for file in manifest.files)
    typer.echo(f"{audio:>8}  objects")
    if manifest.unreadable:
        typer.echo(f"{len(manifest.unreadable)} could not be opened; manifest.json names them")
    typer.echo(f"written to {out} (sha256 {digest}); it holds personal data: hand it over by a safe way and delete it")


def _write(settings: Settings, tenant_id: str, bundle: Bundle, *, audio: bool) -> Manifest:
    from handlers.onboarding_wiring import tenant_export
    from handlers.wiring import tenant_store

    stored = tenant_store(settings).show(tenant_id)
    facts = {
        "created_at": f"{stored.created_at:%FT%TZ}",
        "updated_at": f"{stored.updated_at:%FT%TZ}",
        "integrations": [asdict(integration) for integration in stored.integrations],
    }
    return tenant_export(settings).write(stored.tenant, facts, bundle, actor=actor(), audio=audio)
