"""What the internet and Pub/Sub send us: webhooks, signed ones, push requests, events, tokens; and tenant files."""

from __future__ import annotations

import base64
import json
import re
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from hypothesis import strategies as st

from handlers.cli.tenant_document import read_document
from handlers.push import BadEnvelope, read_envelope
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH
from handlers.webhook_body import FORM_TYPE, JSON_TYPE, UnreadableBody, read_body
from schemas.events import (
    CallAnalyzed,
    CallLeftIncomplete,
    CallReceived,
    RecordingStored,
)
from schemas.tenant import Tenant
from schemas.webhooks import EVENT_KINDS, WebhookShapeError, check_webhook, company_ids, kind_of, parse_webhook
from shared.dead_letters import GivenUp, dead_letter_attributes
from shared.deliveries import Delivery, decode_event, parse_event
from shared.desk_letters import letter_of, replay_attributes
from shared.errors import ConfigurationError, InvalidEvent, NotReady
from shared.gateways.push_tokens import KeyCache, PlatformVerifier, PushRejected, TokenVerifier
from shared.names import owner_of_transcript
from shared.pipeline import load_pipeline
from tests.fuzz.material import MARKS, as_bytes, changed, json_bytes, leaked, texts
from tests.fuzz.target import Finding, Target
from tests.support.tenants import SIGNING_KEY
from tests.support.webhooks import CALL_MODIFIED, FORM_SUBMISSION, GUIDES_TEST, LEGACY_POST_CALL, POST_CALL, PRE_CALL

WEBHOOKS = (POST_CALL, PRE_CALL, CALL_MODIFIED, LEGACY_POST_CALL, GUIDES_TEST, FORM_SUBMISSION)
_IDS: dict[str, str] = {"tenant_id": "acme-plumbing", "request_id": "r-0123456789abcdef", "call_id": "CAL1"}
_AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
EVENTS = (
    CallReceived(**_IDS, kind="post_call", received_at=_AT, payload=POST_CALL),
    RecordingStored(**_IDS),
    CallAnalyzed(**_IDS),
    CallLeftIncomplete(**_IDS, failed_stage="analyze", received_at=_AT),
)
_EVENT_DOCUMENTS = tuple(json.loads(event.model_dump_json()) for event in EVENTS)
_PIPELINE = load_pipeline()


# -- webhooks ------------------------------------------------------------------------------------------


@st.composite
def webhook_bodies(draw: st.DrawFn) -> tuple[str, bytes]:
    """A content type and a body, of that type or not."""
    if draw(st.booleans()):
        return JSON_TYPE, draw(json_bytes(*WEBHOOKS))
    document = draw(changed(WEBHOOKS))
    if not isinstance(document, dict) or draw(st.integers(0, 9)) == 0:
        return FORM_TYPE, draw(st.binary(max_size=80))
    pairs = [(name, value if isinstance(value, str) else json.dumps(value)) for name, value in document.items()]
    pairs += draw(st.lists(st.tuples(st.sampled_from([name for name, _ in pairs] or ["a"]), texts), max_size=2))
    return FORM_TYPE, urlencode([(k.encode(errors="replace"), v.encode(errors="replace")) for k, v in pairs]).encode()


def check_webhook_body(given: tuple[str, bytes]) -> None:
    """Whatever is read can be published and read again, and the quick check refuses what the parser refuses."""
    content_type, raw = given
    payload = read_body(raw, content_type)
    company_ids(payload)
    for event in (None, *EVENT_KINDS):
        kind_of(payload, event)
    received = CallReceived(**_IDS, kind="post_call", received_at=_AT, payload=payload)
    if received.payload != payload:
        raise Finding("the event holds something else than the body")
    again = parse_event(received.model_dump_json().encode())
    if again != received:
        raise Finding("what was published is not what was received")
    if _shape_of(check_webhook, payload) != _shape_of(parse_webhook, payload):
        raise Finding("the receiver accepts what the first stage refuses, or the other way round")
    details = parse_webhook(payload)
    details.model_validate_json(details.model_dump_json())


def _shape_of(parse: Any, payload: Any) -> str:
    try:
        parse(payload)
    except WebhookShapeError as error:
        return str(error)
    return ""


def check_signed_webhook(given: tuple[str, bytes]) -> None:
    """The whole receiver: an answer of its table, and what is published is what was signed, or nothing."""
    from tests.support.receiver_bench import Bench

    content_type, raw = given
    bench = Bench()
    answer = bench.post(raw, content_type=content_type)
    if answer.status_code not in {202, 400, 401, 403, 413, 422}:
        raise Finding(f"answered {answer.status_code}")
    if found := leaked(answer.get_data(as_text=True)):
        raise Finding(f"the answer repeats its input: {sorted(found)}")
    if answer.status_code == 202 and bench.event().payload != read_body(raw, content_type):
        raise Finding("what was published is not what was signed")
    if answer.status_code not in {202, 422} and bench.publisher.messages:
        raise Finding(f"published although it was answered {answer.status_code}")
    signed = {"Signature": callrail_signature(SIGNING_KEY, raw)}
    longer = bench.post(raw + b" ", content_type=content_type, path=SHARED_PATH, headers=signed)
    if longer.status_code in {202, 422}:
        raise Finding("a body that was not signed was accepted")


# -- push ----------------------------------------------------------------------------------------------


@st.composite
def push_bodies(draw: st.DrawFn, *, tenant_id: str = _IDS["tenant_id"]) -> bytes:
    """A push request around an event of this tenant, both changed; the data is right base64, mostly."""
    data = draw(json_bytes(*({**document, "tenant_id": tenant_id} for document in _EVENT_DOCUMENTS)))
    attributes = {
        **_IDS,
        "tenant_id": tenant_id,
        "type": "recording_stored",
        "version": "1",
        "traceparent": f"00-{'a' * 32}-{'b' * 16}-01",
    }
    message = {
        "data": base64.b64encode(data).decode(),
        "attributes": draw(changed((attributes, {**attributes, "objectId": "transcripts/acme-plumbing/r-01234567/o"}))),
        "messageId": "1",
        "publishTime": "2026-11-23T12:00:00Z",
    }
    document = {"message": message, "subscription": "projects/p/subscriptions/s", "deliveryAttempt": 2}
    if draw(st.booleans()):
        return as_bytes(document)
    return draw(json_bytes(document))


def check_push(body: bytes) -> None:
    """A delivery has the types it says and can be given up, whatever was in it; an event can be published again."""
    delivery = read_envelope(body)
    if delivery.attempt is not None and type(delivery.attempt) is not int:
        raise Finding(f"attempt is a {type(delivery.attempt).__name__}")
    check_given_up(delivery)
    event = decode_event(delivery)
    if parse_event(event.model_dump_json().encode()) != event:
        raise Finding("the event changes when it is published again")


def check_given_up(delivery: Delivery) -> None:
    """Its dead letter fits into a message and into a row."""
    given_up = GivenUp("analyze", "some_reason", "detail", "fix", delivery.attempt or 1)
    letter = letter_of(delivery, _PIPELINE)
    for attributes in (dead_letter_attributes(delivery, given_up), replay_attributes(letter.attributes)):
        for name, value in attributes.items():
            name.encode()
            value.encode()
    for text in (letter.event, letter.stage, letter.reason, letter.detail, letter.fix, letter.message_id, letter.topic):
        text.encode()
    if not 0 <= letter.attempts < 2**63:
        raise Finding("attempts do not fit into a column")


@st.composite
def attribute_maps(draw: st.DrawFn) -> tuple[tuple[str, str], ...]:
    """Attributes as Pub/Sub delivers them (UTF-8), those that we read among them."""
    names: tuple[str, ...] = (
        "dl_stage",
        "dl_reason",
        "dl_detail",
        "dl_fix",
        "dl_attempts",
        "dl_subscription",
        "traceparent",
        "swept",
    )
    names = (*names, "CloudPubSubDeadLetterSourceSubscription", "CloudPubSubDeadLetterSourceDeliveryCount", "tenant_id")
    utf8 = texts.map(lambda text: text.encode(errors="replace").decode())
    parts = st.sampled_from(("acme-plumbing", "---", "a", "r-0123456789abcdef", "r-01234567\n", "..", "", "Ä"))
    utf8 |= st.lists(parts, min_size=2, max_size=4).map("/".join)
    found = draw(st.dictionaries(st.sampled_from(names) | utf8, utf8, max_size=6))
    return tuple(found.items())


def check_attributes(given: tuple[tuple[str, str], ...]) -> None:
    """Any attributes make a letter that can be kept; object names lead to one tenant's folder or nowhere."""
    attributes = dict(given)
    check_given_up(Delivery("1", EVENTS[1].model_dump_json().encode(), attributes, "s"))
    for text in attributes.values():
        try:
            owner = owner_of_transcript(f"transcripts/{text}")
        except InvalidEvent:
            continue
        RecordingStored(tenant_id=owner.tenant_id, request_id=owner.request_id, call_id="CAL1")


# -- tokens --------------------------------------------------------------------------------------------

_CLAIMS = {
    "iss": "https://accounts.google.com",
    "aud": "https://worker.example.com",
    "email": "push@p.iam.gserviceaccount.com",
    "email_verified": True,
    "exp": 4_000_000_000,
    "iat": 1_700_000_000,
}


@st.composite
def authorizations(draw: st.DrawFn) -> str:
    """An Authorization header: a token of any claims without a signature of Google's, or anything else."""

    def part(document: Any) -> str:
        return base64.urlsafe_b64encode(as_bytes(document)).rstrip(b"=").decode()

    if draw(st.integers(0, 5)) == 0:
        return draw(texts)
    header = draw(changed(({"alg": "RS256", "kid": "k1", "typ": "JWT"},)))
    return f"Bearer {part(header)}.{part(draw(changed((_CLAIMS,))))}.{draw(st.sampled_from(('', 'c2ln', '!', 'é')))}"


def check_token(given: str) -> None:
    """`verify` never accepts what Google did not sign; both modes know one kind of refusal."""
    audience, account = str(_CLAIMS["aud"]), str(_CLAIMS["email"])
    keys = KeyCache()
    keys._certs, keys._fresh_until = {"k1": "no certificate"}, float("inf")
    try:
        TokenVerifier(audience=audience, service_account=account, keys=keys).check(given)
    except PushRejected:
        PlatformVerifier(audience=audience, service_account=account).check(given)
        return
    raise Finding("a token was accepted that nobody signed")


# -- tenants' files ------------------------------------------------------------------------------------

TENANT_FILE = {
    "tenant_id": "acme-plumbing",
    "name": "Acme Plumbing",
    "callrail_company_id": "COM1",
    "webhook_secret_name": "acme-webhook-secret",
    "crm_config": {"hubspot_api_key_secret": "acme-hubspot", "salesforce": {"credentials_secret": "acme-sf"}},
    "ai_config": {"lead_scoring_threshold": 70, "language_codes": ["en-US"], "analysis_model": "gemini-3.8-flash"},
    "recordings": {"allowed_hosts": ["example.com"], "wait_deadline_s": 60},
    "privacy": {"redact": ["card"], "drop_audio": False, "consent_tag": ""},
}


def check_tenant_file(given: bytes) -> None:
    """A tenant that was taken reads the same from the database."""
    document = read_document(given.decode(errors="replace"), source="file")
    tenant = document.tenant
    if Tenant.model_validate_json(tenant.model_dump_json()) != tenant:
        raise Finding("the tenant changes when it is stored")
    if tenant.tenant_id != tenant.tenant_id.strip() or "\n" in "".join(tenant.config.webhook_secret_names):
        raise Finding("an id or a secret's name holds white space")


def names_in(given: bytes) -> frozenset[str]:
    """Marks that stand as names in a file: its author is told which field is none of ours."""
    return frozenset(mark for mark in MARKS if re.search(rf'"[^"]*{re.escape(mark)}[^"]*"\s*:'.encode(), given))


TARGETS = (
    Target("webhook_body", webhook_bodies(), check_webhook_body, (UnreadableBody, WebhookShapeError)),
    Target("webhook_signed", webhook_bodies(), check_signed_webhook),
    Target("push_envelope", push_bodies(), check_push, (BadEnvelope, InvalidEvent, NotReady)),
    Target("pubsub_attributes", attribute_maps(), check_attributes),
    Target("push_token", authorizations(), check_token, (PushRejected,)),
    Target("tenant_file", json_bytes(TENANT_FILE), check_tenant_file, (ConfigurationError,), may_repeat=names_in),
)
