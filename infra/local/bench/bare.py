"""The yardstick: a bare Flask handler that checks the signature and waits for the same publish, and nothing else.

Run by gunicorn with the receiver's own configuration. No body is parsed, no tenant looked up, nothing logged: what
is left is what any Flask receiver on this machine must pay.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import os

from flask import Flask, Response, request

from handlers.wiring import publisher_of
from shared.settings import load_settings

TOPIC = "call-received"
KEY_VARIABLE = "BENCH_WEBHOOK_SECRET"


def create_app() -> Flask:
    """The application; the topic prefix, the publisher's settings and the signing key come from the environment."""
    app = Flask(__name__)
    settings = load_settings()
    key = os.environ[KEY_VARIABLE].encode()
    # The receiver's own publisher, with the receiver's own settings: the batching is the same by construction.
    publisher = publisher_of(settings)

    @app.post("/v1/callrail/webhook")
    def webhook() -> Response:
        body = request.get_data()
        expected = base64.b64encode(hmac.new(key, body, hashlib.sha1).digest())
        if not hmac.compare_digest(expected, request.headers.get("Signature", "").encode()):
            return Response(status=401)
        publisher.publish(TOPIC, body, {})
        return Response(status=202)

    @app.get("/livez")
    def livez() -> Response:
        return Response("ok")

    return app
