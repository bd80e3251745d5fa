"""The `pipeline` command: one program for engineers and operators; each group of verbs lives in its own module."""

from __future__ import annotations

import sys

import structlog
import typer

from handlers.cli import calls, dead_letters, environments, keys, local, privacy, tenant, webhook
from handlers.cli.backfill import backfill, reconciliation
from handlers.cli.bench import bench
from handlers.cli.chaos import chaos
from handlers.cli.cost import cost
from handlers.cli.demo import demo
from handlers.cli.load import load
from handlers.cli.migrate import migrate
from handlers.cli.sweep import sweep
from handlers.cli.trace import trace
from handlers.cli.why import why
from shared.errors import PipelineError

app = typer.Typer(
    name="pipeline",
    help="Run, look after and try the call ingestion pipeline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _everywhere(env: environments.EnvOption = None) -> None:
    environments.use(env)


app.command()(demo)
app.command()(migrate)
app.command()(sweep)
app.command()(backfill)
app.command()(reconciliation)
app.command()(bench)
app.command()(chaos)
app.command()(load)
app.command()(cost)
app.command()(why)
app.command()(trace)
app.add_typer(calls.app, name="calls")
app.add_typer(keys.app, name="keys")
app.add_typer(local.app, name="local")
app.add_typer(privacy.app, name="privacy")
app.add_typer(tenant.app, name="tenant")
app.add_typer(webhook.app, name="webhook")
app.add_typer(dead_letters.app, name="dead-letters")


def main() -> None:
    """Entry point: our errors become one clear line and exit status 1, never a traceback.

    Log lines go to standard error: standard output belongs to what was asked for, often a JSON document.
    """
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    try:
        app()
    except PipelineError as error:
        sys.stderr.write(f"pipeline: {error.detail}\n")
        if error.fix:
            sys.stderr.write(f"  what to do: {error.fix}\n")
        sys.exit(1)


if __name__ == "__main__":
    # The image installs what we depend on, not ourselves: its jobs run `python -m handlers.cli.main migrate`.
    main()
