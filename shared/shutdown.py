"""SIGTERM: work that will not finish in time gives its claims back, so that no call waits for a lease to run out.

Cloud Run kills 10 s after SIGTERM. gunicorn stops accepting and waits 8 s for requests in flight; shortly before that,
whatever still runs has its row set to `retrying`, and the redelivery takes it over at once.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

import structlog

log = structlog.get_logger()

GIVE_BACK_AFTER_S = 6.0


def give_back_on_sigterm(release: Callable[[], int], *, after_s: float = GIVE_BACK_AFTER_S) -> None:
    """Call `release` some seconds after SIGTERM; see `on_sigterm_after`."""
    on_sigterm_after(after_s, lambda: _release(release))


def on_sigterm_after(after_s: float, work: Callable[[], object]) -> None:
    """Do the work in a thread some seconds after SIGTERM, beside whatever else is done with the signal.

    Must be called in the main thread, after the server has installed its own handler.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.getsignal(signal.SIGTERM)

    def on_sigterm(number: int, frame: FrameType | None) -> None:
        timer = threading.Timer(after_s, work)
        timer.daemon = True
        timer.start()
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)

    signal.signal(signal.SIGTERM, on_sigterm)


def _release(release: Callable[[], int]) -> None:
    count = release()
    log.warning("claims_given_back", count=count)
