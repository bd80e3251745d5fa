"""`pipeline dead-letters export|import|drain`: letters as files, and the archive of raw messages."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, TextIO

import typer
from rich.console import Console

from handlers.cli import dead_letter_screens
from handlers.cli.connection import StateDirOption, connected
from handlers.cli.dead_letter_options import (
    AnyTenantOption,
    ErrorCodeOption,
    JsonOption,
    NewerOption,
    OlderOption,
    ReasonOption,
    StageOption,
    StateOption,
    TextOption,
    actor,
    check_words,
    letter_filter,
)
from handlers.cli.dead_letter_replays import stop_signal
from shared.errors import ConfigurationError

_MOST_LETTERS = 100_000


def add_to(app: typer.Typer) -> None:
    """Add these commands to the group."""
    app.command("export")(export_letters)
    app.command("import")(import_letters)
    app.command()(drain)


def export_letters(
    *,
    out: Annotated[
        Path | None, typer.Option(help="Write here, readable for you alone (default: standard output).")
    ] = None,
    tenant: AnyTenantOption = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    error_code: ErrorCodeOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    text: TextOption = None,
    state: StateOption = None,
    state_dir: StateDirOption = None,
) -> None:
    """Write letters with their events as JSON lines. They may hold personal data."""
    from handlers import wiring
    from shared import desk_transfer

    wanted = letter_filter(
        tenant=tenant,
        stage=stage,
        reason=reason,
        error_code=error_code,
        older_than=older_than,
        newer_than=newer_than,
        text=text,
        states=state,
        sort="oldest",
        limit=_MOST_LETTERS,
    )
    with connected(state_dir) as settings:
        check_words(settings, wanted)
        lines = desk_transfer.export_letters(wiring.desk(settings), wanted)
        count = _write(lines, sys.stdout) if out is None else _write_file(lines, out)
    more = ": as many as one export takes; narrow the filter for the newest" if count == _MOST_LETTERS else ""
    Console(stderr=True).print(f"{count} letters written{more}", markup=False)


def _write_file(lines: Iterable[str], path: Path) -> int:
    """A file that nobody else can read: letters may hold personal data."""
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
        return _write(lines, file)


def _write(lines: Iterable[str], file: TextIO) -> int:
    return sum(1 for line in lines if file.write(line))


def import_letters(
    source: Annotated[Path, typer.Argument(help="A file that `export` wrote.")],
    *,
    tenant: Annotated[str | None, typer.Option(help="Refuse letters of any other tenant.")] = None,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """Bring letters in that the desk does not have; those it has stay as they are. Exit status 1 if any is refused."""
    from handlers import wiring
    from shared import desk_transfer

    try:
        file = source.open("rb")
    except OSError as error:
        raise ConfigurationError("unreadable_import", f"cannot read {source}: {error.strerror}") from error
    with file, connected(state_dir) as settings:
        report = desk_transfer.import_letters(wiring.desk(settings), file, tenant_id=tenant, actor=actor())
    if as_json:
        dead_letter_screens.print_json(report.document())
    else:
        typer.echo(f"{report.inserted} inserted, {report.known} known before, {len(report.refused)} refused")
        for number, why in report.refused.items():
            typer.echo(f"  line {number}: {why}", err=True)
    if report.refused:
        raise typer.Exit(1)


def drain(*, as_json: JsonOption = False, state_dir: StateDirOption = None) -> None:
    """Read the archive and record what the table does not have: after the recorder or Spanner was down for long."""
    from handlers import wiring
    from shared.desk_drain import DrainReport, drain_archive

    console = Console(stderr=True)
    with (
        connected(state_dir) as settings,
        wiring.dead_letter_archive(settings) as archive,
        console.status("draining") as status,
        stop_signal() as stopping,
    ):

        def tell(so_far: DrainReport) -> None:
            status.update(f"{so_far.read} read, {so_far.recorded} recorded")

        report = drain_archive(wiring.desk(settings), archive, should_stop=stopping.is_set, report=tell)
    if as_json:
        dead_letter_screens.print_json(report.document())
        return
    typer.echo(f"{report.read} read, {report.recorded} recorded, {report.known} known before")
