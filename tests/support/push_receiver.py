"""A worker that an engineer might start by hand: takes pushes on a given port and answers as told."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass
class PushReceiver:
    """Pushes in the order of arrival; `answers` are used up first, then it is 204 for all."""

    answers: list[int] = field(default_factory=list)
    pushes: list[dict[str, Any]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, push: dict[str, Any]) -> int:
        with self.lock:
            self.pushes.append(push)
            return self.answers.pop(0) if self.answers else 204


def body_of(push: dict[str, Any]) -> bytes:
    """The message's own bytes."""
    return base64.b64decode(push["message"]["data"])


@contextmanager
def push_receiver(port: int, *, answers: list[int] | None = None) -> Iterator[PushReceiver]:
    """Serve on 127.0.0.1:`port` while the block runs."""
    receiver = PushReceiver(answers=list(answers or []))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            self.send_response(receiver.take(json.loads(self.rfile.read(length))))
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_args: object) -> None:
            """Silent: the test asserts on what came."""

    with ThreadingHTTPServer(("127.0.0.1", port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield receiver
        finally:
            server.shutdown()
            thread.join()
