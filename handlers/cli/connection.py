"""Where a command works: the environment's project, or the local stack that is running."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from shared.settings import Settings, load_settings

StateDirOption = Annotated[
    Path | None, typer.Option("--state-dir", help="Work on the local stack kept there instead of the environment's.")
]


@contextmanager
def connected(state_dir: Path | None) -> Iterator[Settings]:
    """Settings to work with.

    The environment decides where it says which project it means; without that, and with a local stack running, the
    local stack is meant. An explicit `--state-dir` always means that stack.
    """
    if state_dir is None and os.environ.get("GOOGLE_CLOUD_PROJECT"):
        yield load_settings()
        return
    from infra.local.environment import applied
    from infra.local.stack import DEFAULT_STATE_DIR
    from infra.local.state import StateDir

    with applied(StateDir(state_dir or DEFAULT_STATE_DIR).running().env):
        yield load_settings()
