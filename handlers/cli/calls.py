"""`pipeline calls …`: the latest calls of a tenant, and how far one call came. No personal data on the screen."""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from handlers.cli.connection import StateDirOption, connected
from handlers.cli.tables import print_table
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.story import CallLine, CallStory

app = typer.Typer(help="Look at calls.", no_args_is_help=True)

TenantOption = Annotated[str, typer.Option("--tenant", help="Whose calls.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_calls(
    *,
    tenant: TenantOption,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=1000)] = 50,
    state: Annotated[
        str | None, typer.Option(help="Of those, only calls in this state, for example blocked or failed.")
    ] = None,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """The latest calls, newest first, with state, score and age."""
    from handlers import wiring

    with connected(state_dir) as settings:
        now = wiring.now()
        rows = [line_document(line, now=now) for line in wiring.stories(settings).recent(tenant, limit=limit)]
    chosen = [row for row in rows if state is None or row["state"] == state]
    if as_json:
        typer.echo(json.dumps(chosen, indent=2, default=str))
        return
    _print_lines(chosen, title=f"calls of {tenant}: {len(chosen)} of the latest {len(rows)}", now=now)


@app.command()
def show(
    call: Annotated[str, typer.Argument(metavar="CALL", help="The call's id.")],
    *,
    tenant: TenantOption,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """How far one call came: what is stored of it, every request with its stages, what the CRMs hold."""
    from handlers import wiring

    with connected(state_dir) as settings:
        story = wiring.stories(settings).tell(tenant, call)
        now = wiring.now()
    if not story.requests and story.call is None:
        raise ConfigurationError(
            "no_such_call",
            f"tenant {tenant} has no call {call}",
            fix=f"pipeline why {call} --tenant {tenant} says what to check",
        )
    document = show_document(story)
    if as_json:
        typer.echo(json.dumps(document, indent=2, default=str))
        return
    _print_story(document, now=now)


# --- what is shown ----------------------------------------------------------------------------------------


def line_document(line: CallLine, *, now: datetime) -> dict[str, Any]:
    """One call of the list. Its state is that of its worst request, in the words of `pipeline why`."""
    from shared.whereabouts.situations import Situation, situation_of, worst

    story, call = line.story, line.call
    state, stage = Situation.RECEIVED.value, ""
    if story.requests:
        request = worst(story.requests, story, now=now)
        state = situation_of(request, story, now=now).value
        stage = request.last_run.stage if request.last_run else request.stage
    return {
        "call_id": story.call_id,
        "state": state,
        "stage": stage,
        "started_at": call.started_at,
        "known_since": call.created_at,
        "lead_score": call.lead_score,
        "intent": call.intent,
        "has_audio": call.recorded,
        "is_analyzed": call.analyzed,
    }


def show_document(story: CallStory) -> dict[str, Any]:
    """The call's facts and its requests, oldest first."""
    call = story.call
    return {
        "tenant_id": story.tenant_id,
        "call_id": story.call_id,
        "call": {
            "started_at": call.started_at,
            "has_audio": call.recorded,
            "no_audio_reason": call.no_audio_reason,
            "is_transcribed": call.transcribed,
            "is_analyzed": call.analyzed,
            "analysis_failed": call.analysis_failed,
            "intent": call.intent,
            "lead_score": call.lead_score,
        }
        if call
        else None,
        "requests": [
            {
                "request_id": request.request_id,
                "kind": request.kind,
                "origin": request.origin,
                "state": request.state,
                "received_at": request.received_at,
                "stages": [
                    {
                        "stage": run.stage,
                        "state": run.state,
                        "attempt": run.attempt,
                        "began_at": run.created_at,
                        "ended_at": run.finished_at,
                        "due_at": run.due_at,
                        "error_code": run.code,
                        "error_detail": run.detail,
                    }
                    for run in request.runs
                ],
            }
            for request in story.requests
        ],
        "crms": [
            {
                "provider": sync.provider,
                "person": f"{sync.person_type} {sync.person_id}".strip(),
                "record": f"{sync.activity_type} {sync.activity_id}",
                "synced_at": sync.synced_at,
            }
            for sync in story.syncs
        ],
        "dead_letters": [
            {"dead_letter_id": letter.dead_letter_id, "stage": letter.stage, "state": letter.state}
            for letter in story.letters
        ],
    }


# --- on the screen ----------------------------------------------------------------------------------------


def _print_lines(rows: list[dict[str, Any]], *, title: str, now: datetime) -> None:
    from shared.moments import duration

    headings = ("call", "state", "stage", "age", "score", "intent")
    cells = [
        (
            row["call_id"],
            row["state"].replace("_", " "),
            row["stage"],
            duration(now - (row["started_at"] or row["known_since"])),
            "" if row["lead_score"] is None else str(row["lead_score"]),
            row["intent"],
        )
        for row in rows
    ]
    print_table(title, headings, cells, console=Console())


def _print_story(document: dict[str, Any], *, now: datetime) -> None:
    from shared.moments import moment

    typer.echo(f"call {document['call_id']} of tenant {document['tenant_id']}")
    for name, value in (document["call"] or {}).items():
        if value not in (None, "", False):
            typer.echo(f"{name.replace('_', ' '):>18}: {value}")
    for request in document["requests"]:
        received = moment(request["received_at"], now=now)
        typer.echo(f"request {request['request_id']}: {request['kind']}, {request['state']}, received {received}")
        for stage in request["stages"]:
            error = f", {stage['error_code']}: {stage['error_detail']}" if stage["error_code"] else ""
            ended = stage["ended_at"]
            until = f" {moment(ended, now=now)}" if ended else ""
            typer.echo(f"{stage['stage']:>18}: {stage['state']}{until}, attempt {stage['attempt']}{error}")
    for crm in document["crms"]:
        held = f"{crm['record']}, {crm['person']}".rstrip(", ")
        typer.echo(f"{crm['provider']:>18}: {held}, since {moment(crm['synced_at'], now=now)}")
    for letter in document["dead_letters"]:
        typer.echo(f"{'dead letter':>18}: {letter['dead_letter_id']} ({letter['stage']}), {letter['state']}")
