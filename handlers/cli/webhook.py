"""`pipeline webhook …`: post webhooks as CallRail does, for engineers and for trying a deployment."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any

import typer

from schemas.webhooks import EVENT_KINDS
from shared.errors import ConfigurationError

app = typer.Typer(help="Post signed webhooks.", no_args_is_help=True)


@app.command()
def send(
    *,
    audio: Annotated[
        Path | None, typer.Option(help="Post a call with this WAV or MP3 as its recording (local stack only).")
    ] = None,
    payload: Annotated[Path | None, typer.Option(help="Post this JSON file's bytes as they are.")] = None,
    event: Annotated[
        str | None, typer.Option(help=f"Post to the tenant's own address for this event: {', '.join(EVENT_KINDS)}.")
    ] = None,
    times: Annotated[int, typer.Option(help="Post the same body this often.", min=1, max=1000)] = 1,
    url: Annotated[
        str | None, typer.Option(envvar="WEBHOOK_URL", help="The receiver's base URL; default: the local stack.")
    ] = None,
    secret: Annotated[
        str | None, typer.Option(envvar="DEMO_WEBHOOK_SECRET", help="Signing key; default: the local stack's tenant.")
    ] = None,
    state_dir: Annotated[Path | None, typer.Option(help="State directory of the local stack.")] = None,
) -> None:
    """Sign a body and post it; prints each answer. Exit status 1 unless every answer is 2xx."""
    from infra.local.senders import post_webhook

    if (audio is None) == (payload is None):
        raise ConfigurationError("one_source", "give either --audio or --payload")
    if event is not None and event not in EVENT_KINDS:
        raise ConfigurationError(
            "unknown_event", f"no event is called {event!r}", fix=f"one of {', '.join(EVENT_KINDS)}"
        )
    known = _local_stack(state_dir) if audio or not (url and secret) else {}
    base_url = url or known["WEBHOOK_URL"]
    own_address = _own_address(event, known)
    key = secret or known["DEMO_WEBHOOK_SECRET"]
    body = _bytes_of(payload) if payload else _body_for(audio, known)
    failed = False
    for _ in range(times):
        answer = post_webhook(base_url, body, key=key, own_address=own_address)
        failed = failed or not answer.is_success
        typer.echo(f"{answer.status_code} {answer.text}")
    if failed:
        raise typer.Exit(1)


def _local_stack(state_dir: Path | None) -> dict[str, str]:
    from infra.local.stack import DEFAULT_STATE_DIR
    from infra.local.state import StateDir

    state = StateDir(state_dir or DEFAULT_STATE_DIR).running()
    return {**state.exports, **state.extra}


def _own_address(event: str | None, known: dict[str, str]) -> str:
    """The tenant's own address for an event; empty for the shared one."""
    if event is None:
        return ""
    token = known.get("DEMO_WEBHOOK_TOKEN") or os.environ.get("DEMO_WEBHOOK_TOKEN")
    if not token:
        raise ConfigurationError(
            "no_token", "--event needs the tenant's own address", fix="set DEMO_WEBHOOK_TOKEN or use the local stack"
        )
    return f"{token}/{event}"


def _bytes_of(payload: Path) -> bytes:
    try:
        return payload.read_bytes()
    except OSError as error:
        raise ConfigurationError(
            "unreadable_payload", f"cannot read {payload}: {error.strerror}", fix="check --payload"
        ) from error


def _body_for(audio: Path | None, known: dict[str, str]) -> bytes:
    from infra.local.demo.calls import own_payload
    from infra.local.senders import encode, new_call_id, put_recording

    assert audio is not None
    call_id = new_call_id()
    body: dict[str, Any] = own_payload(call_id, put_recording(known["CALLRAIL_URL"], call_id=call_id, audio=audio))
    typer.echo(json.dumps({"call_id": call_id}))
    return encode(body)
