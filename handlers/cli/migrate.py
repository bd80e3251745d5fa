"""`pipeline migrate`: bring the database to the schema of `sql/`, or back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from shared.settings import Settings, load_settings

if TYPE_CHECKING:
    from google.cloud.spanner_v1.database import Database

    from shared.gateways.migration_plan import Plan
    from shared.gateways.migrations import MigrationReport


def migrate(
    *,
    to: Annotated[int | None, typer.Option("--to", min=0, help="The version to reach (default: the newest).")] = None,
    rollback: Annotated[
        bool, typer.Option("--rollback", help="Undo the newest migration, or all above --to, with their data.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, change nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before a rollback on Google.")] = False,
) -> None:
    """Apply the pending migrations in order; safe to repeat and to interrupt."""
    from shared.gateways import migrations

    settings = load_settings()
    database = _database(settings)
    emulator = migrations.is_emulator(database)
    typer.echo(f"database {settings.spanner_instance}/{settings.spanner_database}{' (emulator)' if emulator else ''}")
    if emulator and not dry_run:
        migrations.ensure_emulator_database(settings.project_id, settings.spanner_instance, settings.spanner_database)
    if dry_run:
        _show_plan(migrations.plan(database, target=to, rollback=rollback), rollback=rollback, emulator=emulator)
        return
    if rollback and not emulator and not yes:
        names = ", ".join(step.file_name for step in migrations.plan(database, target=to, rollback=True).steps)
        typer.confirm(f"undo {names or 'nothing'} and lose the data of what is dropped?", abort=True)
    work = migrations.roll_back if rollback else migrations.migrate
    _summarize(work(database, target=to, emulator=emulator, report=typer.echo))


def _database(settings: Settings) -> Database:
    from handlers.wiring import spanner_database

    return spanner_database(settings)


def _show_plan(plan: Plan, *, rollback: bool, emulator: bool) -> None:
    verb = "undo" if rollback else "apply"
    for step in plan.steps:
        left_out = sum(item.spanner_only for item in step.statements) if emulator else 0
        note = f", {left_out} of them skipped on the emulator" if left_out else ""
        typer.echo(f"would {verb} {step.file_name} ({len(step.statements)} statements{note})")
    if plan.steps:
        typer.echo(f"the schema would be at version {plan.reached:03d}")
    else:
        typer.echo(f"nothing to {verb}: the schema is at version {plan.reached:03d}")


def _summarize(report: MigrationReport) -> None:
    skipped = f"; {len(report.skipped)} statements were skipped: only real Spanner knows them" if report.skipped else ""
    typer.echo(f"the schema is at version {report.version:03d}{skipped}")
