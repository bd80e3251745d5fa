"""`pipeline dead-letters replay|resume|stop|jobs`: send letters again, slowly, and under a person's eyes."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

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
    TextOption,
    WaitOption,
    actor,
    age_of,
    check_words,
    filter_words,
    letter_filter,
)
from shared.dead_letters import LETTER_STATES, LetterFilter
from shared.desk_jobs import DEFAULT_MAX_REPLAYS, DEFAULT_RATE, DEFAULT_SLOWDOWN, MOST_A_SECOND, ReplayOptions
from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from shared.desk import Desk
    from shared.desk_jobs import JobReport
    from shared.desk_jobs import Progress as ReplayProgress
    from shared.desk_replay import ReplayPlan

JobArgument = Annotated[str, typer.Argument(help="The replay's id, as `replay` and `jobs` print it.")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the group."""
    app.command()(replay)
    app.command()(resume)
    app.command()(stop)
    app.command()(jobs)


def replay(
    dead_letter_ids: Annotated[list[str] | None, typer.Argument(help="Ids, as `list` shows them.")] = None,
    *,
    tenant: AnyTenantOption = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    error_code: ErrorCodeOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    text: TextOption = None,
    everything: Annotated[bool, typer.Option("--all", help="Every open letter: no ids and no filter needed.")] = False,
    hold: Annotated[
        list[str] | None, typer.Option(help="Leave this tenant's letters where they are; may be given several times.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count and price, change nothing.")] = False,
    rate: Annotated[
        float, typer.Option(help="At most this many messages a second.", min=0.01, max=MOST_A_SECOND)
    ] = DEFAULT_RATE,
    max_slowdown: Annotated[
        float,
        typer.Option(
            help="Send more slowly when the live calls' 95th percentile rises by more than this share; 0: do not look.",
            min=0,
            max=10,
        ),
    ] = DEFAULT_SLOWDOWN,
    steps: Annotated[
        str | None, typer.Option(help="Growing steps, for example 1,5,25; each waits for its outcomes.")
    ] = None,
    max_failures: Annotated[
        float, typer.Option(help="Stop when a larger share of a step fails again.", min=0, max=1)
    ] = 0.2,
    from_stage: Annotated[str | None, typer.Option(help="Run again from this earlier stage, as a new request.")] = None,
    max_replays: Annotated[
        int, typer.Option(help="Leave letters alone that were replayed so often.", min=1)
    ] = DEFAULT_MAX_REPLAYS,
    force: Annotated[bool, typer.Option("--force", help="Replay in spite of --max-replays.")] = False,
    wait: WaitOption = "5m",
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before replaying what a filter found.")] = False,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """Send letters again: each request goes on at the stage that failed and keeps what is finished.

    Exit status 1 when anything remains. Ctrl-C stops after the letter in hand; `resume` goes on.
    """
    from handlers import wiring

    ids = tuple(dead_letter_ids or ())
    filters = (stage, reason, error_code, older_than, newer_than, text)
    _check_selection(ids, tenant=tenant, has_filter=any(filters) or tenant is not None, everything=everything)
    options = _options(
        rate=rate,
        max_slowdown=max_slowdown,
        steps=steps,
        max_failures=max_failures,
        from_stage=from_stage,
        max_replays=max_replays,
        force=force,
        wait=wait,
    )
    wanted = letter_filter(
        tenant=tenant,
        stage=stage,
        reason=reason,
        error_code=error_code,
        older_than=older_than,
        newer_than=newer_than,
        text=text,
        default_states=LETTER_STATES if ids else ("open",),
        ids=ids,
    )
    with connected(state_dir) as settings:
        check_words(settings, wanted, held=hold or ())
        desk = wiring.desk(settings)
        if dry_run:
            _print_dry_run(_plan(desk, wanted, options, hold), as_json=as_json)
            return
        replay_letters(desk, wanted, options, hold=hold, is_confirmed=yes or bool(ids), as_json=as_json)


def replay_letters(
    desk: Desk,
    wanted: LetterFilter,
    options: ReplayOptions,
    *,
    hold: list[str] | None = None,
    is_confirmed: bool = True,
    as_json: bool = False,
) -> None:
    """Plan, ask, run, and say how it ended. Raises `typer.Exit(1)` when anything remains."""
    from shared.desk_replay import ReplayDesk

    plan = _plan(desk, wanted, options, hold)
    console = Console(stderr=True)
    if not plan.letters:
        _end_without_letters(plan, as_json=as_json)
        return
    if not is_confirmed:
        dead_letter_screens.print_plan(plan, console)
        typer.confirm("replay them?", abort=True, err=True)
    with console.status(f"writing down {len(plan.letters)} letters"):
        job = ReplayDesk(desk).create(plan, actor=actor())
    _run(desk, job.job_id, console, as_json=as_json)


def resume(job_id: JobArgument, *, as_json: JsonOption = False, state_dir: StateDirOption = None) -> None:
    """Go on with a replay that was stopped or whose process died."""
    from handlers import wiring

    with connected(state_dir) as settings:
        _run(wiring.desk(settings), job_id, Console(stderr=True), as_json=as_json)


def stop(job_id: JobArgument, *, state_dir: StateDirOption = None) -> None:
    """Stop a replay that runs somewhere else; it ends within seconds and can be resumed."""
    from handlers import wiring
    from shared.desk_replay import ReplayDesk

    with connected(state_dir) as settings:
        ReplayDesk(wiring.desk(settings)).stop(job_id, actor=actor())
    typer.echo(f"{job_id}: told to stop")


def jobs(
    *,
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=1000)] = 20,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """The latest replays and what became of their letters, also after they ended."""
    from handlers import wiring
    from shared.desk_replay import ReplayDesk

    with connected(state_dir) as settings:
        reports = ReplayDesk(wiring.desk(settings)).jobs(limit=limit)
    if as_json:
        dead_letter_screens.print_json([report.document() for report in reports])
        return
    dead_letter_screens.print_jobs(reports)


# --- parts --------------------------------------------------------------------------------------------


def _check_selection(ids: tuple[str, ...], *, tenant: str | None, has_filter: bool, everything: bool) -> None:
    if ids and tenant is None:
        raise ConfigurationError("no_tenant", "ids need --tenant: whose letters are they?")
    if not ids and not has_filter and not everything:
        raise ConfigurationError("no_selection", "say which letters", fix="give ids, a filter, or --all")


def _options(
    *,
    rate: float,
    max_slowdown: float,
    steps: str | None,
    max_failures: float,
    from_stage: str | None,
    max_replays: int,
    force: bool,
    wait: str,
) -> ReplayOptions:
    wait_s = age_of(wait).total_seconds()
    sizes = _sizes(steps)
    if sizes and not wait_s:
        raise ConfigurationError("steps_need_outcomes", "--steps waits for outcomes", fix="give a longer --wait")
    return ReplayOptions(
        rate=rate,
        max_slowdown=max_slowdown,
        steps=sizes,
        max_failures=max_failures,
        from_stage=from_stage,
        max_replays=max_replays,
        is_forced=force,
        wait_s=wait_s,
    )


def _sizes(steps: str | None) -> tuple[int, ...]:
    if steps is None:
        return ()
    try:
        sizes = tuple(int(part) for part in steps.split(","))
    except ValueError:
        sizes = ()
    if not sizes or min(sizes) < 1:
        raise ConfigurationError("bad_steps", f"{steps!r} are no steps", fix="write 1,5,25")
    return sizes


def _plan(desk: Desk, wanted: LetterFilter, options: ReplayOptions, hold: list[str] | None) -> ReplayPlan:
    from shared.desk_replay import ReplayDesk

    return ReplayDesk(desk).plan(wanted, options, words=filter_words(wanted), held=tuple(hold or ()))


def _print_dry_run(plan: ReplayPlan, *, as_json: bool) -> None:
    if as_json:
        dead_letter_screens.print_json(dead_letter_screens.plan_document(plan))
        return
    dead_letter_screens.print_plan(plan, Console())


def _end_without_letters(plan: ReplayPlan, *, as_json: bool) -> None:
    """Letters that had arrived before are no work left; letters held, guarded or discarded are."""
    if as_json:
        dead_letter_screens.print_json(dead_letter_screens.plan_document(plan))
    else:
        dead_letter_screens.print_plan(plan, Console())
    if any(count for reason, count in plan.left_out.items() if reason != "closed"):
        raise typer.Exit(1)


def _run(desk: Desk, job_id: str, console: Console, *, as_json: bool) -> None:
    from shared.desk_replay import ReplayDesk
    from shared.desk_replay_run import JobRun

    replays = ReplayDesk(desk)
    asked_rate = replays.job(job_id).options.rate
    with stop_signal() as stopping, _progress(console) as bar:
        task = bar.add_task("replay", total=None, said="")

        def tell(progress: ReplayProgress) -> None:
            settled = progress.total - progress.counts["pending"]
            said = ", ".join(f"{count} {state}" for state, count in sorted(progress.counts.items()))
            if progress.rate < asked_rate:
                said += f"; {progress.rate:.2g}/s, live calls come first"
            step = f"step {progress.step}/{progress.steps}" if progress.steps > 1 else "replay"
            bar.update(task, total=progress.total, completed=settled, description=step, said=said)

        report = JobRun(replays, pause=stopping.wait, report=tell).run(job_id)
    _print_report(report, as_json=as_json)
    if report.remaining:
        raise typer.Exit(1)


def _print_report(report: JobReport, *, as_json: bool) -> None:
    if as_json:
        dead_letter_screens.print_json(report.document())
        return
    for line in dead_letter_screens.report_lines(report):
        typer.echo(line)


def _progress(console: Console) -> Progress:
    columns: tuple[Any, ...] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}", markup=False),
        TextColumn("{task.fields[said]}", markup=False),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=console)


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set: the letter in hand is finished, and the job can be resumed.

    The second one ends the process as if nobody had caught the first: a database that does not answer must not hold the
    person who waits. A job bears that as it bears a crash.
    """
    stopping = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def stop(number: int, _frame: object) -> None:
        stopping.set()
        signal.signal(number, before[signal.Signals(number)])

    for number in before:
        signal.signal(number, stop)
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
