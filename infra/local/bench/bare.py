"""The yardstick: a bare Flask handler that checks the signature and waits for a publish, and nothing else.

Run by gunicorn with the receiver's own configuration. No body is parsed, no tenant looked up, nothing logged: what
is left is what anybody's receiver on Flask and Google's publisher client must pay.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from flask import Flask, Response, request
from google.api_core.retry import Retry
from google.cloud.pubsub_v1 import PublisherClient
from google.cloud.pubsub_v1.types import BatchSettings, PublisherOptions

from shared.settings import load_settings

KEY_VARIABLE = "BENCH_WEBHOOK_SECRET"
WINDOW_S = 0.002
"""The client's batching window, where the yardstick is at its best: of nine from 0 to 20 ms the fastest at 32
connections, and within 5% of the fastest at 128 and 512 (docs/operations/bench.md)."""


def create_app() -> Flask:
    """The application; project, topic prefix and signing key come from the environment."""
    app = Flask(__name__)
    settings = load_settings()
    key = os.environ[KEY_VARIABLE].encode()
    topic = f"projects/{settings.project_id}/topics/{settings.topic_prefix}call-received"
    timeout_s = settings.publish_timeout_s
    publisher = PublisherClient(
        batch_settings=BatchSettings(max_messages=1000, max_bytes=1_000_000, max_latency=WINDOW_S),
        publisher_options=PublisherOptions(retry=Retry(initial=0.1, maximum=1.0, timeout=timeout_s), timeout=timeout_s),
    )

    @app.post("/v1/callrail/webhook")
    def webhook() -> Response:
        body = request.get_data()
        expected = base64.b64encode(hmac.new(key, body, hashlib.sha1).digest())
        if not hmac.compare_digest(expected, request.headers.get("Signature", "").encode()):
            return Response(status=401)
        publisher.publish(topic, body).result(timeout_s)
        return Response(status=202)

    @app.get("/livez")
    def livez() -> Response:
        return Response("ok")

    return app
