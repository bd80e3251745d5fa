"""`pipeline tenant onboard`: a customer from nothing to the first call, by questions or from a file."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from handlers.cli.dead_letter_options import actor
from handlers.cli.onboarding_file import Places, read_application
from handlers.cli.onboarding_questions import ask, ask_id
from shared.errors import ConfigurationError
from shared.onboarding import Application, Click, Report, Step
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.onboarding_run import Onboarding


def onboard(
    tenant_id: Annotated[
        str | None, typer.Argument(metavar="[TENANT]", help="The new tenant's id; or one whose onboarding goes on.")
    ] = None,
    *,
    file: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", help="Read answers from a file: docs/operations/onboarding.md."),
    ] = None,
    webhook_url: Annotated[
        str | None,
        typer.Option(
            envvar="WEBHOOK_URL", help="The receiver's base address as CallRail sees it (local stack: known)."
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check everything, say what would be created.")] = False,
    wait_s: Annotated[
        float, typer.Option(min=0, max=600, help="How long to wait for the test webhook's end; 0: not at all.")
    ] = 30.0,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before writing; --from never asks.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="One JSON document at the end; steps on standard error.")
    ] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Create a tenant with its secrets, keyset and CRM fields, try its credentials, and say what remains to be clicked.

    Safe to repeat: it goes on where it stopped and makes nothing twice. Secrets are asked for unseen, or read from
    where the file says. Exit status 1 when a step failed or a CRM needs a person.
    """
    with connected(state_dir) as settings:
        receiver_url = _receiver_url(webhook_url, settings, state_dir)
        application = _application(settings, tenant_id, file)
        onboarding = _onboarding(settings, application, receiver_url, err=as_json)
        report = (
            onboarding.dry_run()
            if dry_run
            else onboarding.run(wait_s=wait_s, confirm=_confirmation(is_sure=yes or file is not None))
        )
    if as_json:
        document = {**asdict(report), "is_fine": report.is_fine}
        typer.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print_clicks(report)
    if not report.is_fine:
        raise typer.Exit(1)


def _onboarding(settings: Settings, application: Application, receiver_url: str, *, err: bool) -> Onboarding:
    from handlers.onboarding_wiring import onboarding_parts
    from shared.onboarding_run import Onboarding

    parts = onboarding_parts(settings, receiver_url=receiver_url)
    return Onboarding(application, parts, actor=actor(), tell=lambda step: _print_step(step, err=err))


def _confirmation(*, is_sure: bool) -> Callable[[], bool]:
    """A file was thought over; a person at the keyboard sees the checks first."""
    return lambda: is_sure or typer.confirm("Go on and write?", default=True, err=True)


def _application(settings: Settings, tenant_id: str | None, file: Path | None) -> Application:
    """From the file, from the tenant that is there, or from a person."""
    from handlers import wiring

    if file is not None:
        places = Places(file.parent, os.environ, wiring.secrets(settings).read_version)
        return read_application(_text_of(file), source=file.name, places=places, tenant_id=tenant_id)
    chosen = tenant_id or ask_id()
    stored = wiring.tenant_store(settings).find(chosen)
    if stored is not None:
        typer.echo(f"tenant {chosen} is there: going on with what is stored of it", err=True)
        return Application(stored)
    return ask(chosen)


def _text_of(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError("unreadable_file", f"cannot read {file}: {reason}", fix="check --from") from error


def _receiver_url(given: str | None, settings: Settings, state_dir: Path | None) -> str:
    if given is None and settings.is_local:
        from infra.local.stack import DEFAULT_STATE_DIR
        from infra.local.state import StateDir

        given = StateDir(state_dir or DEFAULT_STATE_DIR).running().exports["WEBHOOK_URL"]
    if given is None or not given.startswith(("https://", "http://127.0.0.1", "http://localhost")):
        raise ConfigurationError(
            "no_webhook_url",
            "nothing says where CallRail reaches the receiver",
            fix="give --webhook-url https://… (or WEBHOOK_URL): the address of the load balancer or of the service",
        )
    return given.rstrip("/")


# --- what a person reads ------------------------------------------------------------------------------


def _print_step(step: Step, *, err: bool) -> None:
    typer.echo(f"{step.state:>12}  {step.name}: {step.detail}", err=err)
    for line in step.lines:
        typer.echo(f"{'':14}- {line}", err=err)
    if step.fix:
        typer.echo(f"{'':14}what to do: {step.fix}", err=err)


def _print_clicks(report: Report) -> None:
    if not report.clicks:
        return
    open_clicks = [click for click in report.clicks if not click.is_done]
    if not open_clicks:
        typer.echo("\nCallRail has every address: nothing remains to be clicked. Call the tracking number to try it.")
        return
    typer.echo("\nWhat remains to be clicked in CallRail (Settings → Integrations → Webhooks, in each company):")
    for company in dict.fromkeys(click.company_id for click in open_clicks):
        typer.echo(f"  company {company}: add, beside what is there")
        _print_addresses([click for click in open_clicks if click.company_id == company])
    typer.echo(
        "  Leave other addresses as they are: the page is shared by everybody who wants webhooks of the company."
    )
    typer.echo("  Recording must be on for the company's numbers, or calls reach the CRM without a transcript.")
    typer.echo(f"Then call the tracking number; `pipeline calls list --tenant {report.tenant_id}` shows the call.")


def _print_addresses(clicks: list[Click]) -> None:
    width = max(len(click.trigger) for click in clicks)
    for click in clicks:
        unknown = "" if click.is_done is False else "  (whether it is there already could not be looked up)"
        typer.echo(f"    {click.trigger:<{width}}  {click.url}{unknown}")
