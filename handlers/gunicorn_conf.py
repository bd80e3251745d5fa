"""gunicorn's settings for every service, in the container and in the local stack: one process, a few threads.

Read by `gunicorn --config handlers/gunicorn_conf.py "functions_framework:create_app()"`; the names are gunicorn's.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

_PIPELINE = Path(__file__).resolve().parents[1] / "infra" / "pipeline.json"


def _threads_of(service: str) -> int:
    """As many threads as Cloud Run sends requests at once: what does not fit waits in Pub/Sub, not in our queue."""
    services = json.loads(_PIPELINE.read_text(encoding="utf-8"))["services"]
    if service not in services:
        raise SystemExit(
            f"FUNCTION_TARGET={service!r} is none of the services in {_PIPELINE.name}: {', '.join(services)}"
        )
    return int(services[service]["concurrency"])


# Cloud Run reaches the container from outside; the local stack says 127.0.0.1.
bind = f"{os.environ.get('PIPELINE_BIND_HOST', '0.0.0.0')}:{os.environ.get('PORT', '8080')}"  # noqa: S104
workers = 1
worker_class = "gthread"
threads = _threads_of(os.environ.get("FUNCTION_TARGET", ""))

# The ack deadline and the gateways' own deadlines bound each request; a worker time-out would kill its neighbours.
timeout = 0
# Cloud Run kills 10 s after SIGTERM.
graceful_timeout = 8
# gRPC channels do not survive a fork.
preload_app = False
# By default a socket appears in $HOME, which is read-only in the container and shared in the local stack.
control_socket_disable = True
# The heartbeat file must not wait for a disk.
if Path("/dev/shm").is_dir():  # noqa: S108 - a memory file system, for a file that gunicorn unlinks at once
    worker_tmp_dir = "/dev/shm"  # noqa: S108

# Pub/Sub keeps its connections open between pushes; closing them early makes pushes fail in flight. An idle connection
# occupies no thread, and on SIGTERM gunicorn closes it within 2 s.
keepalive = 75

# Requests are logged by our own handlers, as JSON with the call's ids.
accesslog = None
loglevel = "warning"
