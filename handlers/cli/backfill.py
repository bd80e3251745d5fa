"""`pipeline backfill` and `pipeline reconciliation`: find calls whose webhook was lost, and see the daily reports."""

from __future__ import annotations

import dataclasses
import json
import logging
import re
import sys
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated, Any

import structlog
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from handlers.cli.connection import StateDirOption, connected
from shared.backfill import NOTHING, Part, Tally, Window, require_access, window_of
from shared.errors import ConfigurationError, PipelineError

if TYPE_CHECKING:
    from schemas.tenant import Tenant
    from shared.backfill_run import Step
    from shared.reconciliation import Report
    from shared.settings import Settings

BUDGET_PATIENCE_S = 60.0
"""How long a request waits for our own budget: its tokens come every 9 s. CallRail's own limit takes minutes."""

_RATE = re.compile(r"^(?P<count>\d+(\.\d+)?)(/s)?$")

TenantOption = Annotated[str, typer.Option("--tenant", help="Whose calls.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]


def backfill(
    *,
    tenant: TenantOption,
    since: Annotated[str, typer.Option(help="7d, 36h, a date or a date-time (UTC, or with an offset).")],
    until: Annotated[str | None, typer.Option(help="A date (to its end) or a date-time; default: now.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what is missing, bring nothing in.")] = False,
    rate: Annotated[str, typer.Option(metavar="N/s", help="Start at most so many calls a second.")] = "10/s",
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """Compare CallRail's list of calls with ours and start those that never arrived.

    Exit status 0: nothing is missing any more (calls too young to judge do not count). 1: calls are missing still, or
    the list was not read to its end. Stopped by Ctrl-C or CallRail's limit, it goes on when the same is run again.
    """
    from handlers import wiring

    _log_to_stderr()
    with connected(state_dir) as settings:
        owner = _active(wiring.tenant_store(settings).show(tenant).tenant)
        now = wiring.now()
        window = window_of(since, until, now=now)
        parts = window.parts(now=now)
        steps = _steps(settings, owner, parts, calls_per_s=_calls_per_s(rate), dry_run=dry_run)
        outcome = _Outcome(owner.tenant_id, window, len(parts), is_dry_run=dry_run)
        stopped = _follow(steps, outcome)
    _show(outcome, as_json=as_json)
    if stopped:
        raise stopped
    if not outcome.is_good:
        raise typer.Exit(1)


def reconciliation(
    *,
    tenant: TenantOption,
    days: Annotated[int, typer.Option(help="How many days back.", min=1, max=400)] = 14,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """The daily reports of the scheduled reconciliation. Exit status 1 when a shown day has trouble."""
    from handlers import backfill_wiring, wiring

    with connected(state_dir) as settings:
        wiring.tenant_store(settings).show(tenant)
        since = wiring.now().date() - timedelta(days=days)
        reports = backfill_wiring.backfill_store(settings).reports(tenant, since=since)
    if as_json:
        typer.echo(json.dumps([dataclasses.asdict(report) for report in reports], indent=2, default=str))
    else:
        _print_reports(tenant, reports)
    if any(report.state in {"blocked", "failed"} or report.missing_calls for report in reports):
        raise typer.Exit(1)


# -- running ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Outcome:
    """What was found so far; complete as far as it goes when the run is stopped."""

    tenant_id: str
    window: Window
    days: int
    is_dry_run: bool
    tally: Tally = NOTHING
    days_listed: int = 0
    days_kept: int = 0
    """Finished by an earlier, interrupted run."""
    stopped: PipelineError | None = None

    def take(self, step: Step) -> None:
        self.tally += step.tally
        self.days_listed += step.ends_day and not step.skipped
        self.days_kept += step.skipped

    @property
    def is_whole(self) -> bool:
        return self.days_listed + self.days_kept == self.days

    @property
    def is_good(self) -> bool:
        return self.is_whole and not self.tally.left_behind


def _steps(
    settings: Settings, owner: Tenant, parts: tuple[Part, ...], *, calls_per_s: float, dry_run: bool
) -> Iterator[Step]:
    from handlers import backfill_wiring, wiring
    from shared.backfill_run import Inspector, run_backfill, run_preview

    inspector = Inspector(
        lister=backfill_wiring.callrail_api(settings, patience_s=BUDGET_PATIENCE_S),
        store=backfill_wiring.backfill_store(settings),
        tenant=owner,
        access=require_access(owner),
        now=wiring.now,
    )
    if dry_run:
        return run_preview(inspector, parts)
    return run_backfill(inspector, backfill_wiring.ingester(settings, calls_per_s=calls_per_s), parts)


def _follow(steps: Iterator[Step], outcome: _Outcome) -> PipelineError | None:
    """Take every step and show the progress on stderr; returns why the run stopped early, if it did."""
    with _progress() as bar:
        shown = bar.add_task("listing", total=outcome.days, found="")
        try:
            for step in steps:
                outcome.take(step)
                _move(bar, shown, step, outcome.tally)
        except KeyboardInterrupt:
            outcome.stopped = ConfigurationError(
                "interrupted",
                "interrupted" if outcome.is_dry_run else "interrupted; finished days are kept",
                fix="run the same command again",
            )
        except PipelineError as error:
            outcome.stopped = error
    return outcome.stopped


def _progress() -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("days  {task.fields[found]}"),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=Console(stderr=True), refresh_per_second=4)


def _move(bar: Progress, task: TaskID, step: Step, tally: Tally) -> None:
    found = f"{tally.listed} calls, {tally.missing} missing, {tally.recovered} recovered"
    bar.update(task, advance=int(step.ends_day), description=f"{step.part.day}", found=found)


def _log_to_stderr() -> None:
    """stdout is for the result; what went well is on the screen already."""
    structlog.configure(
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
    )


def _calls_per_s(rate: str) -> float:
    match = _RATE.match(rate.strip())
    if match is None or float(match["count"]) <= 0:
        raise ConfigurationError("unreadable_rate", f"--rate cannot be read: {rate!r}", fix="write 10/s or 0.5/s")
    return float(match["count"])


def _active(tenant: Tenant) -> Tenant:
    if tenant.status == "active":
        return tenant
    raise ConfigurationError(
        "tenant_not_active",
        f"tenant {tenant.tenant_id} is {tenant.status}: its calls would not be processed",
        fix=f"pipeline tenant resume {tenant.tenant_id}",
    )


# -- showing ------------------------------------------------------------------------------------------


def _show(outcome: _Outcome, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps(_document(outcome), indent=2))
        return
    tally, window = outcome.tally, outcome.window
    typer.echo(f"{outcome.tenant_id}, calls begun from {window.since:%F %T} to {window.until:%F %T} UTC")
    typer.echo(
        f"CallRail has {tally.listed}, we have {tally.ours}, missing {tally.missing} ({tally.never_seen} never seen, "
        f"{tally.never_started} never started), recovered {tally.recovered}, "
        f"still missing {tally.missing - tally.recovered}, too young {tally.too_young}"
    )
    if tally.refused:
        typer.echo(f"refused {tally.refused}: unreadable, or of another company; see the log")
    if outcome.days_kept:
        typer.echo(f"{outcome.days_kept} days were finished by the run before and not listed again")
    if not outcome.is_whole:
        done = outcome.days_listed + outcome.days_kept
        typer.echo(f"stopped after {done} of {outcome.days} days")
    elif outcome.is_dry_run:
        typer.echo("dry run: nothing was brought in")


def _document(outcome: _Outcome) -> dict[str, Any]:
    tally, error = outcome.tally, outcome.stopped
    return {
        "tenant_id": outcome.tenant_id,
        "since": outcome.window.since.isoformat(),
        "until": outcome.window.until.isoformat(),
        "dry_run": outcome.is_dry_run,
        "provider": tally.listed,
        "ours": tally.ours,
        "missing": tally.missing,
        "never_seen": tally.never_seen,
        "never_started": tally.never_started,
        "recovered": tally.recovered,
        "still_missing": tally.missing - tally.recovered,
        "too_young": tally.too_young,
        "refused": tally.refused,
        "days": {"all": outcome.days, "listed": outcome.days_listed, "kept": outcome.days_kept},
        "complete": outcome.is_good,
        "stopped": {"code": error.code, "detail": error.detail, "fix": error.fix} if error else None,
    }


def _print_reports(tenant_id: str, reports: list[Report]) -> None:
    table = Table(title=f"reconciliation of {tenant_id}: {len(reports)} days", title_justify="left")
    for heading in ("day", "state", "CallRail", "ours", "missing", "recovered", "too young", "refused", "what to do"):
        table.add_column(heading, no_wrap=heading == "day")
    for report in reports:
        table.add_row(
            report.day.isoformat(),
            report.state,
            str(report.provider_calls),
            str(report.our_calls),
            str(report.missing_calls),
            str(report.recovered_calls),
            str(report.waiting_calls),
            str(report.refused_calls),
            report.error_fix or report.error_detail,
        )
    Console().print(table)
