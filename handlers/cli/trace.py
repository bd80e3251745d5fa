"""`pipeline trace`: what happened to one call, when, and how long each step took."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from shared.errors import ConfigurationError
from shared.trace_tree import tree_lines
from shared.traces import trace_of_request

if TYPE_CHECKING:
    from shared.gateways.cloud_trace import CloudTrace
    from shared.gateways.span_files import SpanFiles
    from shared.settings import Settings


def trace(
    call: Annotated[str, typer.Argument(metavar="CALL", help="A call's id (CAL…) or a request's (r-…, w-…).")],
    *,
    tenant: Annotated[str | None, typer.Option("--tenant", help="Whose call, where several have this id.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Print a call's spans as a tree: webhook, stages, vendors, with times, waits and outcomes."""
    with connected(state_dir) as settings:
        tenant_id, call_id, requests = _requests_of(settings, call, tenant_id=tenant)
        source = _source(settings)
        found = {
            request_id: source.spans_of(f"{trace_of_request(tenant_id, request_id).trace_id:032x}")
            for request_id in requests
        }
    if as_json:
        document = {name: [dataclasses.asdict(span) for span in spans] for name, spans in found.items()}
        typer.echo(
            json.dumps({"tenant_id": tenant_id, "call_id": call_id, "requests": document}, default=str, indent=2)
        )
        return
    typer.echo(f"call {call_id} of tenant {tenant_id}")
    for request_id, spans in found.items():
        trace_id = f"{trace_of_request(tenant_id, request_id).trace_id:032x}"
        begun = f"{min(span.begun for span in spans):%Y-%m-%d %H:%M:%S} UTC" if spans else "no spans"
        typer.echo(f"\nrequest {request_id}  trace {trace_id}  {begun}")
        for line in tree_lines(spans):
            typer.echo(line)
        if not spans:
            typer.echo("  not sampled (PIPELINE_TRACE_RATIO), not sent yet, or older than Cloud Trace keeps (30 days)")
        if not settings.is_local:
            typer.echo(
                f"  https://console.cloud.google.com/traces/explorer;traceId={trace_id}?project={settings.project_id}"
            )


def _requests_of(settings: Settings, some_id: str, *, tenant_id: str | None) -> tuple[str, str, list[str]]:
    """Tenant, call and its requests, oldest first. Raises `ConfigurationError` for an id that nobody has."""
    from handlers import wiring

    stories = wiring.stories(settings)
    owners = [(tenant_id, some_id)] if tenant_id else stories.tenants_of(some_id)
    if len(owners) > 1:
        names = ", ".join(owner for owner, _ in owners)
        raise ConfigurationError(
            "several_tenants", f"{some_id} belongs to several tenants: {names}", fix="add --tenant"
        )
    for owner, known_as in owners:
        call_id = known_as if stories.tell(owner, known_as).requests else stories.call_of_request(owner, some_id)
        if call_id:
            return owner, call_id, [request.request_id for request in stories.tell(owner, call_id).requests]
    raise ConfigurationError("no_such_call", f"nobody has a call {some_id}", fix="pipeline why CALL --tenant TENANT")


def _source(settings: Settings) -> SpanFiles | CloudTrace:
    if not settings.is_local:
        from shared.gateways.cloud_trace import CloudTrace, google_session

        return CloudTrace(settings.project_id, google_session())
    from shared.gateways.span_files import SpanFiles

    if settings.traces != "console" or not settings.telemetry_dir:
        raise ConfigurationError(
            "no_traces",
            f"this stack's spans go elsewhere (PIPELINE_TRACES={settings.traces})",
            fix="start it with PIPELINE_TRACES=console, or look where they go",
        )
    return SpanFiles(Path(settings.telemetry_dir))
