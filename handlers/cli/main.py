"""The `pipeline` command: one program for engineers and operators; each group of verbs lives in its own module."""

from __future__ import annotations

import sys

import typer

from shared.errors import PipelineError

app = typer.Typer(
    name="pipeline",
    help="Run, look after and try the call ingestion pipeline.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def main() -> None:
    """Entry point: our errors become one clear line and exit status 1, never a traceback."""
    try:
        app()
    except PipelineError as error:
        sys.stderr.write(f"pipeline: {error.detail}\n")
        if error.fix:
            sys.stderr.write(f"  what to do: {error.fix}\n")
        sys.exit(1)
