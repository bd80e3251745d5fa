"""`pipeline dead-letters discard|restore|note|requeue`: decide about one letter."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from handlers.cli.dead_letter_options import LetterArgument, TenantOption, WaitOption, actor, age_of
from handlers.cli.dead_letter_replays import replay_letters
from shared.dead_letters import LETTER_STATES, LetterFilter
from shared.errors import ConfigurationError


def add_to(app: typer.Typer) -> None:
    """Add these commands to the group."""
    app.command()(discard)
    app.command()(restore)
    app.command()(note)
    app.command()(requeue)


def discard(
    dead_letter_id: LetterArgument,
    *,
    tenant: TenantOption,
    reason: Annotated[str, typer.Option(help="Why; kept with the letter and in the audit log.")],
    state_dir: StateDirOption = None,
) -> None:
    """Give a letter up. It can be restored until the date that is printed; then it is removed with its event."""
    from handlers import wiring

    with connected(state_dir) as settings:
        until = wiring.desk(settings).discard(tenant, dead_letter_id, reason=reason, actor=actor())
    typer.echo(f"{dead_letter_id}: discarded; can be restored until {until:%Y-%m-%d}")


def restore(dead_letter_id: LetterArgument, *, tenant: TenantOption, state_dir: StateDirOption = None) -> None:
    """Open a discarded letter again."""
    from handlers import wiring

    with connected(state_dir) as settings:
        wiring.desk(settings).restore(tenant, dead_letter_id, actor=actor())
    typer.echo(f"{dead_letter_id}: open")


def note(
    dead_letter_id: LetterArgument,
    text: Annotated[str, typer.Argument(help="What the next operator should know. No personal data.")],
    *,
    tenant: TenantOption,
    state_dir: StateDirOption = None,
) -> None:
    """Write a note on a letter; `show` keeps the earlier ones in its timeline."""
    from handlers import wiring

    with connected(state_dir) as settings:
        wiring.desk(settings).note(tenant, dead_letter_id, text, actor=actor())
    typer.echo(f"{dead_letter_id}: noted")


def requeue(
    dead_letter_id: LetterArgument,
    *,
    tenant: TenantOption,
    edit: Annotated[Path, typer.Option(help="File with the edited event: `show --json` prints the original's.")],
    wait: WaitOption = "5m",
    state_dir: StateDirOption = None,
) -> None:
    """Replay an edited copy of a letter, linked to the original; ids and tenant cannot be edited.

    Off unless PIPELINE_DEAD_LETTER_EDITING=true: an edit is not what the caller's system said.
    """
    from handlers import wiring
    from shared.desk_edit import requeue_edited
    from shared.desk_jobs import ReplayOptions

    try:
        edited = edit.read_bytes()
    except OSError as error:
        raise ConfigurationError("unreadable_edit", f"cannot read {edit}: {error.strerror}") from error
    with connected(state_dir) as settings:
        desk = wiring.desk(settings)
        copy = requeue_edited(
            desk,
            tenant,
            dead_letter_id,
            edited=edited,
            is_allowed=settings.dead_letter_editing,
            actor=actor(),
        )
        typer.echo(f"{copy.dead_letter_id}: edited copy of {dead_letter_id}")
        options = ReplayOptions(wait_s=age_of(wait).total_seconds())
        wanted = LetterFilter(tenant_id=tenant, states=LETTER_STATES, ids=(copy.dead_letter_id,))
        replay_letters(desk, wanted, options)
