"""Service `webhook`: routes of the receiver, and nothing heavy at start (no Spanner, Speech or Vertex AI client)."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from flask import Request, Response
from werkzeug.exceptions import RequestEntityTooLarge

from handlers.framework import without_rereading
from handlers.health import HealthPage
from handlers.receiver import MAX_BODY_BYTES, RETRY_AFTER_S, Post, Receiver, Reply, is_known_event
from handlers.warm_up import WarmUp
from handlers.webhook_body import CONTENT_TYPES

log = structlog.get_logger()

UTF8_NAMES = frozenset({"utf-8", "utf8", "us-ascii", "ascii"})
"""Charsets that UTF-8 reads as they are meant. Any other's body would mean to its sender what it does not to us."""
SHARED_PATH = "/v1/callrail/webhook"
TOKEN_PATTERN = "[A-Za-z0-9_-]{22,64}"  # noqa: S105 - what a token looks like
_TENANT_PATH = re.compile(rf"{SHARED_PATH}/(?P<token>{TOKEN_PATTERN})/(?P<event>[a-z-]{{1,40}})")
_TRACEPARENT = re.compile(r"00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]")


@dataclass(frozen=True)
class WebhookService:
    """The HTTP face of the receiver."""

    receiver: Receiver
    health: HealthPage
    warm_up: WarmUp | None = None

    def __call__(self, request: Request) -> Response:
        if self.warm_up:
            self.warm_up.begin()
        return without_rereading(request, self._route)

    def _route(self, request: Request) -> Response:
        path = request.path
        if path == SHARED_PATH:
            return self._webhook(request, token=None, event=None)
        if path == "/livez":
            return Response("ok", 200, content_type="text/plain")
        if path == "/v1/health":
            return _only("GET", request, lambda: _answer(self.health.reply()))
        match = _TENANT_PATH.fullmatch(path)
        if match and is_known_event(match["event"]):
            return self._webhook(request, token=match["token"], event=match["event"])
        return _problem(404, "not_found", "no such address")

    def _webhook(self, request: Request, *, token: str | None, event: str | None) -> Response:
        return _only("POST", request, lambda: self._post(request, token, event))

    def _post(self, request: Request, token: str | None, event: str | None) -> Response:
        if request.headers.get("Content-Encoding", "identity") != "identity":
            return _problem(415, "unsupported_encoding", "send the body without Content-Encoding")
        content_type = request.mimetype
        if content_type not in CONTENT_TYPES:
            return _problem(415, "unsupported_content_type", f"send one of: {', '.join(sorted(CONTENT_TYPES))}")
        if request.mimetype_params.get("charset", "utf-8").lower() not in UTF8_NAMES:
            return _problem(415, "unsupported_charset", "send UTF-8")
        # One byte more than allowed: at its limit werkzeug ends a chunked body without a word.
        request.max_content_length = MAX_BODY_BYTES + 1
        try:
            body = request.get_data(cache=False)
        except RequestEntityTooLarge:
            return _too_large()
        except Exception:
            # The connection broke off (werkzeug's error) or a chunk is none (gunicorn's, of no common class).
            return _problem(400, "body_incomplete", "the body ended early or is not well chunked")
        if len(body) > MAX_BODY_BYTES:
            return _too_large()
        post = Post(
            content_type=content_type,
            body=body,
            headers=request.headers,  # type: ignore[arg-type] # werkzeug's Headers is a Mapping in all but name
            token=token,
            event_name=event,
        )
        traceparent = _traceparent(request)
        # What `bound_contextvars` does, at half its price. The receiver's own lines name the call's trace instead.
        bound = structlog.contextvars.bind_contextvars(traceparent=traceparent)
        try:
            return _answer(self.receiver.receive(post, traceparent=traceparent))
        finally:
            structlog.contextvars.reset_contextvars(**bound)


def _only(method: str, request: Request, view: Callable[[], Response]) -> Response:
    if request.method == method:
        return view()
    answer = _problem(405, "method_not_allowed", f"only {method} here")
    answer.headers["Allow"] = method
    return answer


def _too_large() -> Response:
    return _problem(413, "body_too_large", f"at most {MAX_BODY_BYTES} bytes")


def _traceparent(request: Request) -> str:
    """The HTTP request's own trace, which Cloud Run's front end begins; empty where there is none."""
    given = request.headers.get("traceparent", "")
    return given if _TRACEPARENT.fullmatch(given) else ""


def _problem(status: int, code: str, message: str) -> Response:
    request_id = secrets.token_hex(16)
    log.warning("webhook_refused", code=code, status=status, request_id=request_id)
    body = {"status": "error", "error": code, "message": message, "request_id": request_id}
    return _answer(Reply(status, body))


def _answer(reply: Reply) -> Response:
    response = Response(json.dumps(reply.body), reply.status, content_type="application/json")
    request_id = reply.body.get("request_id")
    if request_id:
        response.headers["X-Request-Id"] = str(request_id)
    retry_after_s = RETRY_AFTER_S if reply.status == 503 else reply.retry_after_s
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(retry_after_s)
    return response
