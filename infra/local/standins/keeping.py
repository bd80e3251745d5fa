"""How a stand-in outlives its process: on SIGTERM it writes all it holds to a file and ends; the next one reads it.

What a vendor's restart looks like from outside: connections are reset in the middle of whatever they did, then refused
for a while, and afterwards everything that was done is still there. Ordered misbehaviour (`faults.py`) is an order to
one process and ends with it.
"""

from __future__ import annotations

import argparse
import os
import pickle
import signal
import tempfile
import traceback
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Protocol


class Keepable(Protocol):
    """A store that a restart must not empty.

    Moments may be kept as `time.monotonic()` tells them: on Linux it counts for the machine, not for the process.
    """

    def standing_still(self) -> AbstractContextManager[Any]:
        """Everything it holds, as something to pickle; while the block runs nobody changes it, all others wait."""
        ...

    def take_up(self, kept: Any) -> None:
        """Hold what a store of before held; called before anybody is served."""
        ...


def add_state_argument(parser: argparse.ArgumentParser) -> None:
    """`--state FILE`, the `file` of `keep`."""
    parser.add_argument("--state", type=Path, help="on SIGTERM what is held goes there, for the next process")


def keep(file: Path | None, stores: Mapping[str, Keepable]) -> None:
    """Take up what `file` holds, if it is there, and from now on answer SIGTERM by writing it. None keeps nothing.

    Stores are taken up in the order given: one that goes on with its work comes after those which it works with. To be
    called by the main thread before anybody is served. A file is taken up once: after a death that wrote none
    the next process begins empty, which everybody sees, and not with what was true some time ago, which nobody would.
    """
    if file is None:
        return
    if file.exists():
        # Unpickling runs what the file says. This one was written below, by this user, readable for nobody else.
        kept = pickle.loads(file.read_bytes())  # noqa: S301
        for name, store in stores.items():
            store.take_up(kept[name])
    signal.signal(signal.SIGTERM, lambda *_: _end(file, stores))
    file.unlink(missing_ok=True)


def _end(file: Path, stores: Mapping[str, Keepable]) -> None:
    """The main thread's last act; it serves nobody, so that it holds no store's lock when the signal comes.

    The stores stand still until the process is gone: what was done is in the file, and nobody can be told of
    something that is not.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with ExitStack() as still:
            _write(file, {name: still.enter_context(store.standing_still()) for name, store in stores.items()})
            os._exit(0)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def _write(file: Path, kept: Mapping[str, Any]) -> None:
    """In one step: a death on the way leaves no half of a file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    descriptor, fresh = tempfile.mkstemp(dir=file.parent, prefix=f"{file.name}-")  # mkstemp makes files of mode 600
    with os.fdopen(descriptor, "wb") as opened:
        pickle.dump(kept, opened)
    Path(fresh).replace(file)
