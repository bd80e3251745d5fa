"""`pipeline dead-letters …`: look at what was given up, send it again, or give it up for good."""

from __future__ import annotations

import dataclasses
import getpass
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from handlers.cli.connection import StateDirOption, connected

if TYPE_CHECKING:
    from shared.dead_letters import DeadLetter

app = typer.Typer(help="Look at, replay and discard dead letters.", no_args_is_help=True)

TenantOption = Annotated[str, typer.Option("--tenant", help="Whose dead letters; `unassigned` for nobody's.")]
LetterArgument = Annotated[str, typer.Argument(help="The dead letter's id, as `list` shows it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


@app.command("list")
def list_letters(
    *,
    tenant: TenantOption,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=10_000)] = 100,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """Newest first."""
    from handlers import wiring

    with connected(state_dir) as settings:
        letters = wiring.desk(settings).list_letters(tenant, limit=limit)
    if as_json:
        typer.echo(json.dumps([_document(letter) for letter in letters], indent=2, default=str))
        return
    table = Table(title=f"dead letters of {tenant}: {len(letters)}", title_justify="left")
    for heading in ("id", "state", "stage", "reason", "attempts", "times", "replays", "last", "what to do"):
        table.add_column(heading, no_wrap=heading == "id")
    for letter in letters:
        table.add_row(
            letter.dead_letter_id,
            letter.state,
            letter.stage,
            letter.reason,
            str(letter.attempts),
            str(letter.occurrences),
            str(letter.replays),
            f"{letter.updated_at:%Y-%m-%d %H:%M:%S}",
            letter.fix or letter.detail,
        )
    Console().print(table)


@app.command()
def show(
    dead_letter_id: LetterArgument,
    *,
    tenant: TenantOption,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """One letter: reason, attempts, and with --json the original event and its attributes."""
    from handlers import wiring

    with connected(state_dir) as settings:
        body = wiring.desk(settings).show(tenant, dead_letter_id)
    if as_json:
        extra = {
            "topic": body.topic,
            "event": _event(body.event),
            "attributes": dict(body.attributes),
            "note": body.note,
        }
        typer.echo(json.dumps({**_document(body.letter), **extra}, indent=2, default=str))
        return
    for name, value in {**_document(body.letter), "topic": body.topic, "note": body.note}.items():
        typer.echo(f"{name:>15}: {value}")
    typer.echo("the event itself may hold personal data: --json shows it")


@app.command()
def replay(
    dead_letter_ids: Annotated[list[str], typer.Argument(help="Ids, as `list` shows them.")],
    *,
    tenant: TenantOption,
    state_dir: StateDirOption = None,
) -> None:
    """Send the events again: each request goes on at the stage that failed and keeps what is finished."""
    from handlers import wiring

    with connected(state_dir) as settings:
        desk = wiring.desk(settings)
        for dead_letter_id in dead_letter_ids:
            body = desk.replay(tenant, dead_letter_id, actor=_actor())
            typer.echo(f"{dead_letter_id}: sent to {body.topic}, stage {body.letter.stage}")


@app.command()
def discard(
    dead_letter_id: LetterArgument,
    *,
    tenant: TenantOption,
    reason: Annotated[str, typer.Option(help="Why; kept with the letter and in the audit log.")],
    state_dir: StateDirOption = None,
) -> None:
    """Give a letter up for good; its event is kept and can still be replayed."""
    from handlers import wiring

    with connected(state_dir) as settings:
        wiring.desk(settings).discard(tenant, dead_letter_id, reason=reason, actor=_actor())
    typer.echo(f"{dead_letter_id}: discarded")


def _document(letter: DeadLetter) -> dict[str, Any]:
    return dataclasses.asdict(letter)


def _event(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _actor() -> str:
    """Who types: the operating system's name for the person at the keyboard."""
    return getpass.getuser()
