"""Whether a service answers yet."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from urllib.parse import urlsplit

from infra.local.errors import Report, StackError
from infra.local.processes import Child, Kind

_INTERVAL_S = 0.04
_ANSWER_TIMEOUT_S = 2.0


def answers(target: str, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> bool:
    """True when the target is up: `http://…` must answer 2xx, `tcp://…` must accept a connection.

    `http.client` because it never asks a proxy, which on a developer's machine would answer in the service's place.
    """
    url = urlsplit(target)
    host, port = url.hostname or "", url.port or 0
    try:
        if url.scheme == "tcp":
            socket.create_connection((host, port), timeout=timeout_s).close()
            return True
        connection = http.client.HTTPConnection(host, port, timeout=timeout_s)
        try:
            connection.request("GET", url.path or "/")
            return 200 <= connection.getresponse().status < 300
        finally:
            connection.close()
    except (OSError, http.client.HTTPException):
        return False


def wait_until_ready(child: Child, *, timeout_s: float, cancelled: threading.Event) -> float:
    """Seconds until every target of the service answered. Raises `StackError` when it ends or takes too long."""
    begun = time.monotonic()
    missing = list(child.spec.ready)
    while not cancelled.is_set():
        missing = [target for target in missing if not answers(target)]
        if not missing:
            return time.monotonic() - begun
        if child.exit_status is not None:
            raise StackError("service_ended", child.obituary())
        if time.monotonic() - begun > timeout_s:
            waiting_for = ", ".join(missing)
            raise StackError("service_slow", f"{child.spec.name}: no answer from {waiting_for} in {timeout_s:.0f} s")
        cancelled.wait(_INTERVAL_S)
    raise StackError("start_cancelled", f"{child.spec.name}: the start was given up")


class Readiness:
    """Waits for many services side by side; the first that fails ends the wait for all."""

    def __init__(self, *, timeout_s: float, report: Report) -> None:
        self._timeout_s = timeout_s
        self._report = report
        self._cancelled = threading.Event()
        self._pool = ThreadPoolExecutor(max_workers=32, thread_name_prefix="ready")
        self._waits: dict[Future[None], Kind] = {}

    def __enter__(self) -> Readiness:
        return self

    def __exit__(self, *_error: object) -> None:
        self._cancelled.set()
        self._pool.shutdown()

    def watch(self, child: Child) -> None:
        """Begin to wait for a service."""
        self._waits[self._pool.submit(self._wait, child)] = child.spec.kind

    def wait_for(self, kind: Kind) -> None:
        """Return when all watched services of this kind answer. Raises `StackError` as soon as any service fails."""
        wanted = {future for future, its_kind in self._waits.items() if its_kind == kind}
        open_waits = set(self._waits)
        while wanted:
            done, open_waits = wait(open_waits, return_when=FIRST_COMPLETED)
            for future in done:
                future.result()
            wanted -= done

    def _wait(self, child: Child) -> None:
        seconds = wait_until_ready(child, timeout_s=self._timeout_s, cancelled=self._cancelled)
        self._report(f"{child.spec.name} answers after {seconds:.1f} s")
