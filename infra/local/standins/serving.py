"""How every stand-in is run: Flask on a real socket, in a thread for tests or as a process of the local stack."""

from __future__ import annotations

import argparse
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, request
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from infra.local.standins.keeping import add_state_argument


class QuietHandler(WSGIRequestHandler):
    """Access lines would drown the stack's logs; HTTP/1.1 keeps connections open as vendors do."""

    protocol_version = "HTTP/1.1"

    def log_request(self, *_args: object, **_options: object) -> None:
        return


class ConnectionDropped(Exception):
    """Raised by a view to close the connection without an answer."""


def drop_connection() -> None:
    """Close the socket under the current request, as a dying server would."""
    socket = request.environ.get("werkzeug.socket")
    if socket is not None:
        socket.shutdown(2)
        socket.close()
    raise ConnectionDropped


def make_http_server(app: Flask, port: int = 0) -> BaseWSGIServer:
    """A threaded server on 127.0.0.1; port 0 picks a free one (see `server.server_port`)."""
    return make_server("127.0.0.1", port, app, threaded=True, request_handler=QuietHandler)


@contextmanager
def serve_in_thread(app: Flask) -> Iterator[str]:
    """Serve `app` while the block runs; yields its base URL."""
    server = make_http_server(app)
    thread = threading.Thread(
        target=server.serve_forever,
        kwargs={"poll_interval": 0.02},  # how long a stop may take; the default of 0.5 s is paid by every test
        name=f"standin-{server.server_port}",
        daemon=True,
    )
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join(timeout=5)
        server.server_close()


def http_arguments(name: str) -> argparse.Namespace:
    """The command line that all HTTP stand-ins share: `--port`, and `--state` (keeping.py)."""
    parser = argparse.ArgumentParser(prog=f"python -m infra.local.standins.{name}")
    parser.add_argument("--port", type=int, required=True)
    add_state_argument(parser)
    return parser.parse_args()
