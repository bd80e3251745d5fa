"""`pipeline local …`: the whole pipeline on this machine, for engineers."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from shared.errors import ConfigurationError

if TYPE_CHECKING:
    from infra.local.state import ServiceState, StackState, StateDir

app = typer.Typer(
    help="Run the whole pipeline on this machine: emulators, stand-ins and workers.", no_args_is_help=True
)

_FOLLOW_INTERVAL_S = 0.25

StateDirOption = Annotated[
    Path | None,
    typer.Option("--state-dir", help="Where the stack keeps its state and logs (default: .local in the project)."),
]


@app.command()
def up(
    *,
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Return when the stack is ready.")] = False,
    only: Annotated[
        str | None, typer.Option(help="Start just these workers (a,b); start the others by hand, see `local env`.")
    ] = None,
    state_dir: StateDirOption = None,
) -> None:
    """Start the stack; without --detach, stay until Ctrl-C and then stop it."""
    from infra.local.stack import DEFAULT_STATE_DIR, StackOptions
    from infra.local.supervisor import parse_only, start_detached, supervise

    console = Console()
    options = StackOptions(state_dir=state_dir or DEFAULT_STATE_DIR, only=None if only is None else parse_only(only))
    begun = time.monotonic()

    def show(state: StackState) -> None:
        console.print(_table(state))
        console.print(
            f"ready after {time.monotonic() - begun:.1f} s; logs in {options.state_dir / 'logs'}", soft_wrap=True
        )

    if detach:
        with console.status("starting the local stack"):
            state = start_detached(options)
        show(state)
        return

    def show_and_wait(state: StackState) -> None:
        show(state)
        console.print("Ctrl-C stops it")

    supervise(options, report=lambda line: console.print(line, markup=False, soft_wrap=True), on_ready=show_and_wait)


@app.command()
def down(*, state_dir: StateDirOption = None) -> None:
    """Stop the stack, or clear away what a dead one left."""
    from infra.local.leftovers import end_leftovers, end_stack

    directory = _directory(state_dir)
    state = directory.read()
    if state is not None and not state.is_supervised:
        count = end_leftovers(directory)
        typer.echo(f"the stack had ended without cleaning up; ended {count} leftover process(es)")
        return
    end_stack(directory, directory.running())
    typer.echo("stopped")


@app.command()
def status(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Show every service, its address and whether it runs. Exit status 1 when one does not."""
    state = _directory(state_dir).running()
    if as_json:
        typer.echo(json.dumps(_status_document(state), indent=2))
    else:
        Console().print(_table(state))
    if any(_condition(service) == "ended" for service in state.services):
        raise typer.Exit(1)


@app.command()
def env(*, state_dir: StateDirOption = None) -> None:
    """Print `export NAME=value` lines for a shell: `eval "$(pipeline local env)"`."""
    state = _directory(state_dir).running()
    if state.status != "ready":
        raise ConfigurationError(
            "stack_starting", "the local stack is still starting", fix="try again in a few seconds"
        )
    for name, value in {**state.env, **state.exports, **state.extra}.items():
        typer.echo(f"export {name}={shlex.quote(value)}")


@app.command()
def logs(
    service: Annotated[str | None, typer.Argument(help="One service; default: all.")] = None,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on printing until Ctrl-C or the stack ends.")
    ] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Print what the services wrote; each line starts with the service's name when there are several."""
    directory = _directory(state_dir)
    state = directory.running()
    chosen = [state.service(service)] if service else [one for one in state.services if one.log]
    if service and not chosen[0].log:
        raise ConfigurationError("no_log", f"{service} is started by hand: its output is in your own terminal")
    offsets = dict.fromkeys((one.name for one in chosen), 0)
    for line in _new_lines(chosen, offsets):
        typer.echo(line)
    while follow and state.is_supervised:
        time.sleep(_FOLLOW_INTERVAL_S)
        for line in _new_lines(chosen, offsets):
            typer.echo(line)


def _directory(state_dir: Path | None) -> StateDir:
    from infra.local.stack import DEFAULT_STATE_DIR
    from infra.local.state import StateDir

    return StateDir(state_dir or DEFAULT_STATE_DIR)


def _condition(service: ServiceState) -> str:
    if service.is_external:
        return "by hand"
    return "running" if service.is_running else "ended"


def _table(state: StackState) -> Table:
    table = Table(title=f"local stack ({state.status})", title_justify="left")
    for heading in ("service", "kind", "address", "state", "pid"):
        table.add_column(heading, no_wrap=True)
    for service in state.services:
        pid = "" if service.is_external else str(service.pid)
        table.add_row(service.name, service.kind, service.address, _condition(service), pid)
    return table


def _status_document(state: StackState) -> dict[str, object]:
    return {
        "status": state.status,
        "supervisor_pid": state.supervisor_pid,
        "services": [
            {**service.model_dump(include={"name", "kind", "address", "log", "pid"}), "state": _condition(service)}
            for service in state.services
        ],
    }


def _new_lines(services: list[ServiceState], offsets: dict[str, int]) -> Iterator[str]:
    """Whole lines written since the offsets, which are moved forward."""
    for service in services:
        path = Path(service.log)
        if not path.exists():
            continue
        with path.open("rb") as file:
            file.seek(offsets[service.name])
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        offsets[service.name] += len(whole)
        prefix = f"{service.name:>15} | " if len(services) > 1 else ""
        for line in whole.decode(errors="replace").splitlines():
            yield prefix + line
