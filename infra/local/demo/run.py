"""Runs the demo: a stack, a tenant, recordings, signed webhooks, and a look at what became of them."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.live import Live

from infra.local.demo.calls import own_calls, post, sample_calls
from infra.local.demo.results import CallResult, collect
from infra.local.demo.screens import progress_table
from infra.local.demo.watch import CallView, watch
from infra.local.environment import applied
from infra.local.prepare import prepare
from infra.local.stack import DEFAULT_STATE_DIR, Stack, StackOptions
from infra.local.supervisor import start_detached

TIMEOUT_S = 300.0
"""Enough for about half an hour of audio on two cores; `--timeout` gives more."""


@dataclass(frozen=True)
class DemoOptions:
    """What the command line asks for."""

    audio: tuple[Path, ...] = ()
    keep: bool = False
    timeout_s: float = TIMEOUT_S


def run_demo(options: DemoOptions, console: Console) -> list[CallResult]:
    """Everything from an empty machine to read-back CRM records. Progress goes to `console`."""
    begun = time.monotonic()
    with _stack(options, console) as env, applied(env):
        console.print(f"the local stack is ready after {time.monotonic() - begun:.1f} s")
        return _run_calls(options, env, console)


@contextmanager
def _stack(options: DemoOptions, console: Console) -> Iterator[Mapping[str, str]]:
    """A stack for the demo alone; with `keep`, one that goes on afterwards."""
    if options.keep:
        with console.status("starting the local stack (it will stay; `pipeline local down` stops it)"):
            state = start_detached(StackOptions(state_dir=DEFAULT_STATE_DIR))
        yield {**state.env, **state.exports, **state.extra}
        return
    with tempfile.TemporaryDirectory(prefix="pipeline-demo-") as folder:
        with console.status("starting the local stack"):
            stack = Stack(StackOptions(state_dir=Path(folder)), prepare=prepare, report=lambda _line: None)
            state = stack.start()
        try:
            yield {**state.env, **state.exports, **state.extra}
        finally:
            with console.status("stopping the local stack"):
                stack.stop()


def _run_calls(options: DemoOptions, env: Mapping[str, str], console: Console) -> list[CallResult]:
    from handlers import wiring
    from shared.settings import load_settings

    callrail = env["CALLRAIL_URL"]
    calls = own_calls(options.audio, callrail) if options.audio else sample_calls(callrail)
    posted = post(calls, base_url=env["WEBHOOK_URL"], key=env["DEMO_WEBHOOK_SECRET"])
    console.print(f"posted {len(posted)} signed webhooks to {env['WEBHOOK_URL']}")
    reader = wiring.calls(load_settings())
    tenant_id = env["DEMO_TENANT_ID"]
    views = _show(console, watch(reader, tenant_id, posted, timeout_s=options.timeout_s))
    return collect(reader, tenant_id, views, env)


def _show(console: Console, looks: Iterator[list[CallView]]) -> Sequence[CallView]:
    """A live table on a terminal; one line for each change elsewhere."""
    views: list[CallView] = []
    if console.is_terminal:
        with Live(console=console, refresh_per_second=8) as live:
            for views in looks:
                live.update(progress_table(views))
        return views
    told: dict[tuple[str, str], str] = {}
    for views in looks:
        for view in views:
            for name, stage in view.stages.items():
                key = (view.posted.call.call_id, name)
                if told.get(key) != stage.state:
                    told[key] = stage.state
                    console.print(f"{view.posted.call.title}: {name} {stage.state}", highlight=False)
    return views
