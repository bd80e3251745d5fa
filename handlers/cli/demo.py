"""`pipeline demo`: the main job on real speech, from a signed webhook to the records in two CRMs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def demo(
    more_audio: Annotated[list[Path] | None, typer.Argument(help="More audio files.", show_default=False)] = None,
    *,
    audio: Annotated[
        list[Path] | None,
        typer.Option(help="A WAV or MP3 of your own instead of the sample calls; may be given several times."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave the stack running afterwards.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the calls.", min=1)] = 300.0,
) -> None:
    """Bring the stack up, post signed webhooks for recorded calls, and show what the CRMs hold afterwards."""
    from infra.local.demo.run import DemoOptions, run_demo
    from infra.local.demo.screens import print_results
    from infra.local.senders import check_audio

    files = (*(audio or ()), *(more_audio or ()))
    for path in files:
        check_audio(path)
    progress = Console(stderr=True)
    results = run_demo(DemoOptions(audio=files, keep=keep, timeout_s=timeout), progress)
    if as_json:
        sys.stdout.write(json.dumps([result.document() for result in results], indent=2, default=str) + "\n")
    else:
        print_results(Console(), results)
    unfinished = [result.view for result in results if result.view.status != "done"]
    if unfinished:
        for view in unfinished:
            problems = "; ".join(stage.problem for stage in view.stages.values() if stage.problem)
            progress.print(f"{view.posted.call.title}: {view.status} {problems}", style="red", markup=False)
        raise typer.Exit(1)
