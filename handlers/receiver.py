"""The webhook receiver: whose body is it, is it signed, what is it; then publish, wait, answer.

The order of the checks is the contract of docs/api/webhook.md. The hot path reads neither Spanner nor Secret Manager:
tenants and signing keys are cached.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

import structlog

from handlers.outage import Outage
from handlers.signature import is_signed
from handlers.webhook_body import UnreadableBody, read_body
from schemas.events import CallReceived, WebhookKind
from schemas.tenant import Tenant
from schemas.webhooks import (
    CALL_KINDS,
    EVENT_KINDS,
    WebhookShapeError,
    check_webhook,
    company_ids,
    kind_of,
    subject_id,
)
from shared.crash_points import crash_point
from shared.errors import PipelineError, TenantBlocked, TransientFailure
from shared.inbox import Inbox
from shared.measures import WEBHOOKS
from shared.names import first_request_id, side_request_id
from shared.ports import Clock, Publisher, Secrets, TenantDirectory
from shared.telemetry import OFF, Telemetry
from shared.tenant_limits import TenantLimits
from shared.traces import ATTRIBUTE, read_traceparent

log = structlog.get_logger()

MAX_BODY_BYTES = 1024 * 1024
MAX_EVENT_BYTES = 1_900_000
"""What a row can hold once it is sealed (Spanner: 2,621,440 characters, and base64 makes four of three), less what a
later event may add. Escapes make an event up to six times as long as its body."""
RETRY_AFTER_S = 5
_DECOYS = ("nobody's key", "nobody's other key")
"""As many as a tenant can have. A refusal costs as many digests of the body whether there is a tenant or not: a body of
a megabyte would tell by its milliseconds. What these sign is not asked."""
_SAFE_SUBJECT = re.compile(r"^[A-Za-z0-9_.:-]{1,64}$")


@dataclass(frozen=True)
class Post:
    """One POST as the receiver needs it."""

    content_type: str
    """One of `handlers.webhook_body.CONTENT_TYPES`."""
    body: bytes
    headers: Mapping[str, str]
    token: str | None = None
    """The tenant's part of its own address; None at the shared address."""
    event_name: str | None = None


@dataclass(frozen=True)
class Reply:
    """Status and JSON body; every body has `status` and `request_id`."""

    status: int
    body: Mapping[str, Any]
    retry_after_s: int | None = None


class Refused(Exception):
    """Ends the checks with a status; `code` and `message` are safe to show to anybody, `facts` are for the log."""

    def __init__(self, status: int, code: str, message: str, retry_after_s: int | None = None, /, **facts: str) -> None:
        super().__init__(code)
        self.status = status
        self.retry_after_s = retry_after_s
        self.code = code
        self.message = message
        self.facts = facts


@dataclass(frozen=True)
class Receiver:
    """Takes one webhook to a reply. Everything it uses is passed in."""

    tenants: TenantDirectory
    secrets: Secrets
    publisher: Publisher
    inbox: Inbox
    now: Clock
    limits: TenantLimits = field(default_factory=lambda: TenantLimits(rate_per_s=200.0, burst=2000.0))
    """Shared by all requests of a process; the settings' defaults."""
    outage: Outage = field(default_factory=Outage)
    """What is known of Pub/Sub; shared by all requests of a process."""
    telemetry: Telemetry = OFF

    def receive(self, post: Post, *, traceparent: str) -> Reply:
        """Never raises; whatever was not published is never answered with success.

        `traceparent` is the HTTP request's own trace, of which the call's says that it began there.
        """
        # Now, because from here until the answer this process has a CPU.
        self.telemetry.nudge()
        try:
            payload, tenant = self._authenticate(post)
            return self._accept(post, payload, tenant, traceparent)
        except Refused as refused:
            reply = replace(_error(refused.status, refused.code, refused.message), retry_after_s=refused.retry_after_s)
            self.telemetry.count(WEBHOOKS, outcome="refused", code=refused.code)
            log.warning("webhook_refused", code=refused.code, status=refused.status, **_id_of(reply), **refused.facts)
            return reply
        except PipelineError as error:
            reply = _error(503, error.code, "nothing was kept; send the same request again")
            self.telemetry.count(WEBHOOKS, outcome="not_kept", code=error.code)
            log.error("webhook_not_kept", code=error.code, detail=error.detail, **_id_of(reply))
            return reply
        except Exception:
            reply = _error(500, "internal_error", "a fault of ours; nothing was kept")
            self.telemetry.count(WEBHOOKS, outcome="failed", code="internal_error")
            log.exception("webhook_failed", **_id_of(reply))
            return reply

    # -- checks, in the order of the contract --------------------------------------------------------

    def _authenticate(self, post: Post) -> tuple[dict[str, Any], Tenant]:
        try:
            payload = read_body(post.body, post.content_type)
        except UnreadableBody as error:
            raise Refused(400, "unreadable_body", str(error)) from error
        tenant = self._tenant_of(post, payload)
        self._check_signature(post, tenant)
        if tenant.status != "active":
            message = "this account is suspended; ask the operator of this service"
            raise Refused(403, "tenant_not_active", message, tenant_id=tenant.tenant_id)
        self._check_share(tenant)
        return payload, tenant

    def _check_share(self, tenant: Tenant) -> None:
        """Last of the checks: only what is signed counts, so nobody uses up another's share by naming it."""
        wait_s = self.limits.wait_s(tenant.tenant_id)
        if wait_s:
            message = "more webhooks than this account's share; nothing was kept, send it again later"
            raise Refused(429, "over_share", message, math.ceil(wait_s), tenant_id=tenant.tenant_id)

    def _tenant_of(self, post: Post, payload: Mapping[str, Any]) -> Tenant:
        """Read from an unsigned body only to choose the key; believed once the signature holds."""
        if post.token is not None:
            tenant = self.tenants.by_webhook_token(post.token)
            candidates = [tenant, *(self.tenants.by_company(company) for company in company_ids(payload))]
        else:
            candidates = [self.tenants.by_company(company) for company in company_ids(payload)]
        found = {candidate.tenant_id: candidate for candidate in candidates if candidate}
        claimed = payload.get("tenant_id")
        is_clear = len(found) == 1 and (claimed in (None, "") or claimed == next(iter(found)))
        if not is_clear or (post.token is not None and candidates[0] is None):
            # The same answer as for a wrong signature, after the same work: who our tenants are is nobody's business.
            is_signed("callrail", _DECOYS, post.body, post.headers, now_s=0)
            raise _unauthorized("unknown_company")
        return next(iter(found.values()))

    def _check_signature(self, post: Post, tenant: Tenant) -> None:
        """One readable key that fits is enough: during a rotation the other may not exist yet, or no more."""
        keys: list[str] = []
        unreadable: PipelineError | None = None
        for name in tenant.config.webhook_secret_names:
            try:
                keys.append(self.secrets.read(name))
            except (TenantBlocked, TransientFailure) as error:
                unreadable = error
        scheme = tenant.config.signature_scheme
        if is_signed(scheme, keys, post.body, post.headers, now_s=self.now().timestamp()):
            return
        if unreadable:
            raise TransientFailure("signing_key_unreadable", unreadable.detail) from unreadable
        is_signed("callrail", _DECOYS[len(keys) :], post.body, post.headers, now_s=0)
        raise _unauthorized("bad_signature", tenant_id=tenant.tenant_id)

    # -- acceptance ----------------------------------------------------------------------------------

    def _accept(self, post: Post, payload: dict[str, Any], tenant: Tenant, traceparent: str) -> Reply:
        kind = kind_of(payload, post.event_name)
        problem = _shape_problem(payload, kind)
        digest = hashlib.sha256(post.body).hexdigest()
        event = self._event(payload, tenant, kind="unknown" if problem else kind, digest=digest)
        crash_point("receiver_before_keep")
        trace, is_published = self._keep_traced(event, linked=traceparent)
        crash_point("receiver_before_answer")
        ids = {"tenant_id": event.tenant_id, "call_id": event.call_id, "request_id": event.request_id}
        if problem:
            self.telemetry.count(WEBHOOKS, outcome="parked", code="wrong_shape")
            log.warning("webhook_parked", problem=problem, **{ATTRIBUTE: trace}, **ids)
            return _error(422, "wrong_shape", f"{problem}; the body was kept, unprocessed", event.request_id)
        self.telemetry.count(WEBHOOKS, outcome="accepted" if is_published else "in_inbox", code="")
        log.info("webhook_accepted", kind=event.kind, published=is_published, **{ATTRIBUTE: trace}, **ids)
        return Reply(
            202,
            {"status": "accepted", "kind": event.kind, "call_id": event.call_id, "request_id": event.request_id},
        )

    def _keep_traced(self, event: CallReceived, *, linked: str) -> tuple[str, bool]:
        """Keep the event inside the first span of its request's trace; the `traceparent` for the log, and as `_keep`.

        Not the sender's trace: anybody could put all calls into one, or have everything recorded.
        """
        trace = self.telemetry.trace_of(event.tenant_id, event.request_id)
        attributes = {**event.attributes(), "kind": event.kind, ATTRIBUTE: trace.header}
        # Not `telemetry.span`, which costs more than the rest of this.
        around = self.telemetry.begin("webhook", kind="server", within=trace)
        is_published = False
        try:
            is_published = self._keep(event, attributes)
        except TransientFailure as error:
            around.fail(error.code)
            raise
        finally:
            if around.is_recorded:
                around.set(kind=event.kind, published=is_published, tenant_id=event.tenant_id)
                around.set(request_id=event.request_id, call_id=event.call_id)
                if sender := read_traceparent(linked):
                    around.links.append(sender)
            self.telemetry.end(around)
        return around.context.header if around.is_recorded and around.context else attributes[ATTRIBUTE], is_published

    def _keep(self, event: CallReceived, attributes: Mapping[str, str]) -> bool:
        """Durable one way or the other: in Pub/Sub, or in the inbox that the sweeper empties (False).

        Raises `TransientFailure` when neither took it, `Refused` when no later stage could store it.
        """
        data = event.model_dump_json().encode()
        if len(data) > MAX_EVENT_BYTES:
            message = f"at most {MAX_EVENT_BYTES} bytes once it is decoded"
            raise Refused(413, "body_too_large", message, tenant_id=event.tenant_id)
        code = "publish_outage"
        if self.outage.may_try():
            try:
                self.publisher.publish(event.topic, data, attributes)
            except TransientFailure as error:
                self.outage.failed()
                code = error.code
            else:
                self.outage.worked()
                return True
        name = self.inbox.keep(event, attributes)
        log.error("webhook_kept_in_inbox", code=code, object_name=name)
        return False

    def _event(self, payload: dict[str, Any], tenant: Tenant, *, kind: WebhookKind, digest: str) -> CallReceived:
        subject = subject_id(payload, body_digest=digest)
        if not _SAFE_SUBJECT.fullmatch(subject):
            subject = f"body-{digest[:32]}"
        if kind == "post_call":
            request_id = first_request_id(tenant.tenant_id, subject)
        else:
            request_id = side_request_id(tenant.tenant_id, subject, kind, digest)
        return CallReceived(
            tenant_id=tenant.tenant_id,
            request_id=request_id,
            call_id=subject,
            kind=kind,
            received_at=self.now(),
            payload=payload,
        )


def _shape_problem(payload: Mapping[str, Any], kind: WebhookKind) -> str:
    """What keeps a body from being processed; empty when nothing does."""
    if kind not in CALL_KINDS:
        return "" if kind != "unknown" or _has_id(payload) else "no id and no known kind"
    try:
        check_webhook(payload)
    except WebhookShapeError as error:
        return str(error)
    return ""


def _has_id(payload: Mapping[str, Any]) -> bool:
    """Whether a body of no known kind at least says what it is about (Voice Assist's bodies do)."""
    return not subject_id(payload, body_digest="0").startswith("body-")


def is_known_event(name: str) -> bool:
    """Whether the last part of a tenant's own address names one of CallRail's triggers."""
    return name in EVENT_KINDS


def _unauthorized(reason: str, **facts: str) -> Refused:
    return Refused(401, "unauthorized", "unknown company or wrong signature", reason=reason, **facts)


def _id_of(reply: Reply) -> dict[str, str]:
    """What the sender was given to ask about; in the log it leads to the reason."""
    return {"request_id": reply.body["request_id"]}


def _error(status: int, code: str, message: str, request_id: str = "") -> Reply:
    return Reply(
        status, {"status": "error", "error": code, "message": message, "request_id": request_id or str(uuid4())}
    )
