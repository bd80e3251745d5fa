"""An HTTP server on a socket that answers what an input says: the fuzzed side of every vendor's interface."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

_MOST_REQUESTS = 400
"""For one input: a client that asks on for ever is stopped and found out."""


class Reply(NamedTuple):
    """An answer to the first request whose path holds `to`. Headers are bytes, as a hostile server sends them."""

    to: str
    status: int
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes


Replies = tuple[tuple[str, int, tuple[tuple[bytes, bytes], ...], bytes], ...]
"""`Reply`s as plain tuples: inputs are literals."""


class Canned:
    """Told before each input what to answer; everything else gets the vendor's good answer."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.requests = 0
        self._good: Mapping[str, bytes] = {}
        self._replies: list[Reply] = []
        self._lock = threading.Lock()

    def say(self, replies: Replies, *, otherwise: Mapping[str, bytes]) -> None:
        with self._lock:
            self._replies, self._good, self.requests = [Reply(*reply) for reply in replies], otherwise, 0

    @property
    def is_flooded(self) -> bool:
        return self.requests >= _MOST_REQUESTS

    def answer(self, path: str) -> Reply:
        with self._lock:
            self.requests += 1
            for number, reply in enumerate(self._replies):
                if reply.to in path:
                    return self._replies.pop(number)
            body = next((body for part, body in self._good.items() if part in path), b"{}")
            return Reply(path, 410 if self.is_flooded else 200, ((b"Content-Type", b"application/json"),), body)


@contextmanager
def canned_server() -> Iterator[Canned]:
    """Serve while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    canned = Canned(f"http://127.0.0.1:{server.server_port}")
    server.canned = canned  # type: ignore[attr-defined] # the handler class has no other way to its vendor
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield canned
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # the client had enough
            super().handle()

    def _reply(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        canned: Canned = self.server.canned  # type: ignore[attr-defined] # see above
        reply = canned.answer(self.path)
        head = [b"HTTP/1.1 %d Some Reason" % reply.status]
        head += [name + b": " + value for name, value in reply.headers]
        has_body = reply.status not in {204, 304}
        head += [b"Content-Length: %d" % (len(reply.body) if has_body else 0), b"", b""]
        self.wfile.write(b"\r\n".join(head) + (reply.body if has_body else b""))

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _reply  # noqa: N815 - the names that http.server looks for

    def log_message(self, *_args: object) -> None:
        return
