"""A TCP proxy that can be cut, frozen and restored: how real connections to emulators and stand-ins break."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

_PIECE_BYTES = 64 * 1024
_JOIN_TIMEOUT_S = 5.0

State = Literal["open", "frozen", "mute", "cut"]


class Proxy:
    """Passes bytes between whoever connects to `address` and `target` (both host:port), unless told otherwise.

    The port stays taken whatever happens: a cut proxy accepts and closes at once, so clients see a dead server.
    """

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._changed = threading.Condition()
        self._state: State = "open"
        self._closed = False
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.breaks = 0
        """How often `after_requests` has struck."""
        self._countdown = 0
        self._then: Callable[[], None] = self.cut
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._start(self._accept)

    # -- what a test does ------------------------------------------------------------------------------

    def cut(self) -> None:
        """Close every connection and every new one, until `restore`."""
        self._become("cut")
        self.drop_connections()

    def freeze(self) -> None:
        """Keep connections open and pass nothing on, until `restore`: a server that hangs, a network that swallows."""
        self._become("frozen")

    def mute(self) -> None:
        """Pass requests on and hold the answers back, until `restore`: the work is done, nobody hears of it."""
        self._become("mute")

    def restore(self) -> None:
        """Work again; what was held back is passed on, and a cut still to come is forgotten."""
        with self._changed:
            self._countdown = 0
        self._become("open")

    def drop_connections(self) -> None:
        """Close every connection; new ones are welcome."""
        with self._changed:
            doomed = list(self._sockets)
            self._changed.notify_all()
        for item in doomed:
            _close(item)

    def after_requests(self, count: int, then: Callable[[], None]) -> None:
        """Call `then` once `count` more pieces of requests have been passed on."""
        with self._changed:
            self._countdown, self._then = count, then

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        _close(self._listener)
        self.drop_connections()
        for thread in self._threads:
            thread.join(_JOIN_TIMEOUT_S)

    # -- how it is done --------------------------------------------------------------------------------

    def _become(self, state: State) -> None:
        with self._changed:
            self._state = state
            self._changed.notify_all()

    def _start(self, work: Callable[..., None], *arguments: object) -> None:
        thread = threading.Thread(target=work, args=arguments, name=f"proxy-{self.address}", daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._connect(client)

    def _connect(self, client: socket.socket) -> None:
        if self._state == "cut":
            _close(client)
            return
        try:
            server = socket.create_connection(self._target, timeout=_JOIN_TIMEOUT_S)
        except OSError:
            _close(client)
            return
        server.settimeout(None)
        with self._changed:
            self._sockets |= {client, server}
        self._start(self._pump, client, server, ("open", "mute"), True)
        self._start(self._pump, server, client, ("open",), False)

    def _pump(self, source: socket.socket, sink: socket.socket, passing: tuple[State, ...], is_request: bool) -> None:
        try:
            while piece := source.recv(_PIECE_BYTES):
                self._wait_for(passing, source)
                sink.sendall(piece)
                if is_request:
                    self._count()
        except OSError:
            pass  # closed under our hands: that is what this proxy is for
        finally:
            with self._changed:
                self._sockets -= {source, sink}
            _close(source)
            _close(sink)

    def _wait_for(self, passing: tuple[State, ...], source: socket.socket) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or source.fileno() < 0 or self._state in passing)
        if source.fileno() < 0:
            raise OSError("closed while it was held back")

    def _count(self) -> None:
        with self._changed:
            if self._countdown == 0:
                return
            self._countdown -= 1
            is_due = self._countdown == 0
            self.breaks += is_due
        if is_due:
            self._then()


def _close(item: socket.socket) -> None:
    with contextlib.suppress(OSError):
        item.shutdown(socket.SHUT_RDWR)
    item.close()


@contextmanager
def proxy_to(target: str) -> Iterator[Proxy]:
    """A proxy in front of `target` (host:port) while the block runs."""
    proxy = Proxy(target)
    try:
        yield proxy
    finally:
        proxy.close()
