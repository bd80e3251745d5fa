"""A call's audio from CallRail: a fresh link from its API when the tenant gave a key, else the webhook's link."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import quote

import httpx

from schemas.tenant import Tenant
from shared.errors import NotReady, PermanentFailure, PipelineError, TenantBlocked, Throttled, TransientFailure
from shared.gateways.http import retry_after_s
from shared.gateways.recordings_http import Answer, Deadline, GuardedHttp, Resolver, resolve
from shared.gateways.recordings_links import API_HOST, CALLRAIL_HOSTS, LinkRules
from shared.gateways.retry import with_short_retries
from shared.ports import RecordingStream, Secrets

TOTAL_TIMEOUT_S = 400.0
"""For everything from the first request to the last byte; the push request's ack deadline is 600 s."""
READ_TIMEOUT_S = 20.0
OPENING_BUDGET_S = 30.0
"""How long the opening may be tried again before the outer ring takes over."""
THROTTLED_S = 300.0
"""CallRail's 429 carries no Retry-After, and its budget is by the hour: only minutes help (callrail.md §4.5)."""
PAGE_BYTES = 64 * 1024
"""How much of a page that is not audio is read to tell what it is."""

_API_LINK = re.compile(rf"^https://{re.escape(API_HOST)}/v3/a/[^/?]+/calls/[^/?]+/recording\.json$")
_NOT_READY_WORDS = re.compile(
    rb"not (yet )?(ready|available)|(still|being) process|processing|try again", re.IGNORECASE
)
_PAGE_TYPES = frozenset({"text/html", "application/json", "text/plain", "text/xml", "application/xml"})
_KEY_FIX = "set callrail_account_id and callrail_api_key_secret, so that fresh links can be asked for"


class _KeyRefused(Exception):
    """CallRail's API answered 401 or 403."""


class CallRailRecordings:
    """`Recordings` over https. `local_base_url` sends CallRail's hosts to the stand-in; empty in production.

    Links and keys appear in no error and no log: whoever holds a recording link can listen.
    """

    def __init__(
        self,
        secrets: Secrets,
        *,
        max_bytes: int,
        local_base_url: str = "",
        total_timeout_s: float = TOTAL_TIMEOUT_S,
        read_timeout_s: float = READ_TIMEOUT_S,
        resolver: Resolver = resolve,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._max_bytes = max_bytes
        self._local_base_url = local_base_url
        self._total_timeout_s = total_timeout_s
        self._read_timeout_s = read_timeout_s
        self._resolver = resolver
        self._clock = clock
        self._ssl_context = httpx.create_ssl_context(trust_env=False)

    @contextmanager
    def open(self, tenant: Tenant, *, call_id: str, recording_url: str) -> Iterator[RecordingStream]:
        """Follow the recording link to the audio; `recording_url` may be empty when only the API can know.

        Raises `NotReady` (not published yet: 404, 202, empty), `PermanentFailure` (not audio, too large,
        forbidden host), `TenantBlocked` (CallRail refused the tenant's key), `TransientFailure`.
        """
        http = self._http(tenant)
        stream, resources = with_short_retries(
            lambda: self._opened(http, tenant, call_id=call_id, recording_url=recording_url),
            budget_s=min(OPENING_BUDGET_S, self._total_timeout_s),
            attempts=3,
        )
        with resources:
            yield stream

    def _http(self, tenant: Tenant) -> GuardedHttp:
        return GuardedHttp(
            LinkRules(
                allowed_hosts=CALLRAIL_HOSTS | {host.lower() for host in tenant.config.recordings.allowed_hosts},
                local_base_url=self._local_base_url,
            ),
            Deadline(self._clock() + self._total_timeout_s, self._clock),
            ssl_context=self._ssl_context,
            read_timeout_s=self._read_timeout_s,
            resolver=self._resolver,
        )

    def _opened(
        self, http: GuardedHttp, tenant: Tenant, *, call_id: str, recording_url: str
    ) -> tuple[RecordingStream, ExitStack]:
        """The API's fresh link first, the webhook's link second.

        The API knows best: when the webhook's link does not lead to audio either, the API's answer is raised.
        """
        api_link = _api_link(tenant, call_id, recording_url)
        webhook_link = "" if _API_LINK.match(recording_url) else recording_url
        if not api_link and not webhook_link:
            raise NotReady("recording_link_missing", "CallRail sent no recording link", fix=_KEY_FIX)
        if not api_link:
            return self._audio(http, webhook_link, refusal=_link_refused())
        try:
            fresh = self._fresh_link(http, tenant, api_link)
            return self._audio(http, fresh, refusal=NotReady("recording_link_refused", "a fresh link was refused"))
        except (NotReady, TransientFailure) as api_error:
            if not webhook_link:
                raise
            try:
                return self._audio(http, webhook_link, refusal=_link_refused())
            except (NotReady, PermanentFailure, TenantBlocked):
                raise api_error from None

    def _fresh_link(self, http: GuardedHttp, tenant: Tenant, api_link: str) -> str:
        """Ask the API; a refused key is read again once, because a person may just have replaced it."""
        name = tenant.config.callrail_api_key_secret
        if name is None:
            raise TenantBlocked("callrail_key_missing", "the recording link needs an API key", fix=_KEY_FIX)
        key = self._secrets.read(name)
        try:
            return _asked_link(http, api_link, key)
        except _KeyRefused:
            fresh_key = self._secrets.reread(name)
        try:
            if fresh_key != key:
                return _asked_link(http, api_link, fresh_key)
        except _KeyRefused:
            pass
        raise TenantBlocked(
            "callrail_key_refused", "CallRail's API refused the tenant's key", fix=f"put a valid key into secret {name}"
        )

    def _audio(self, http: GuardedHttp, link: str, *, refusal: PipelineError) -> tuple[RecordingStream, ExitStack]:
        with ExitStack() as resources:
            answer = resources.enter_context(http.get(link))
            if answer.status in {401, 403}:
                raise refusal
            _require_ok(answer, asked="recording")
            self._require_plain_and_small(answer)
            first = _first_chunk(answer)
            stream = RecordingStream(answer.content_type, self._limited(first, answer.chunks))
            return stream, resources.pop_all()

    def _require_plain_and_small(self, answer: Answer) -> None:
        if answer.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise PermanentFailure("recording_compressed", "the recording came compressed, which was not asked for")
        length = answer.headers.get("Content-Length", "")
        if length.isdigit() and int(length) > self._max_bytes:
            raise self._too_large()

    def _limited(self, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
        received = len(first)
        if received > self._max_bytes:
            raise self._too_large()
        yield first
        for chunk in rest:
            received += len(chunk)
            if received > self._max_bytes:
                raise self._too_large()
            yield chunk

    def _too_large(self) -> PermanentFailure:
        return PermanentFailure("recording_too_large", f"the recording has more than {self._max_bytes} bytes")


def _api_link(tenant: Tenant, call_id: str, recording_url: str) -> str:
    """The API's address of this recording; REST objects carry it themselves. Empty when the tenant has no API."""
    if _API_LINK.match(recording_url):
        return recording_url
    account = tenant.config.callrail_account_id
    if not account or not tenant.config.callrail_api_key_secret:
        return ""
    return f"https://{API_HOST}/v3/a/{quote(account, safe='')}/calls/{quote(call_id, safe='')}/recording.json"


def _asked_link(http: GuardedHttp, api_link: str, key: str) -> str:
    """The `url` of CallRail's answer. Raises `_KeyRefused`, `NotReady`, `TransientFailure`, `PermanentFailure`."""
    headers = {"Authorization": f'Token token="{key}"', "Request-From": "call-ingestion-pipeline"}
    with http.get(api_link, api_headers=headers) as answer:
        if answer.status in {401, 403}:
            raise _KeyRefused
        _require_ok(answer, asked="recording link")
        body = _page(b"", answer)
    try:
        url = json.loads(body).get("url")
    except (ValueError, AttributeError) as error:
        raise TransientFailure("callrail_rubbish", "CallRail's API answered something that is not its JSON") from error
    if not isinstance(url, str) or not url:
        raise NotReady("recording_link_missing", "CallRail's API has no link for this recording yet")
    return url


def _require_ok(answer: Answer, *, asked: str) -> None:
    """Statuses as errors. A recording that is gone (410) counts as not there: the call goes on without audio."""
    status = answer.status
    what = f"asked for the {asked}, got status {status}"
    if status == 200:
        return
    if status in {202, 204, 404, 410}:
        raise NotReady("recording_not_ready", what)
    hint = retry_after_s(httpx.Response(status, headers=answer.headers))
    if status == 429:
        raise Throttled("recording_throttled", what, retry_after_s=THROTTLED_S if hint is None else hint)
    if status == 408 or status >= 500:
        raise TransientFailure("recording_unavailable", what, retry_after_s=hint)
    raise PermanentFailure("recording_refused", what)


def _first_chunk(answer: Answer) -> bytes:
    """The first bytes of audio. Raises `NotReady` for an empty body, and for a page that says so."""
    first = next((chunk for chunk in answer.chunks if chunk), b"")
    if not first:
        raise NotReady("recording_empty", "the recording's body is empty")
    if answer.content_type not in _PAGE_TYPES and first.lstrip()[:1] not in {b"<", b"{"}:
        return first
    if _NOT_READY_WORDS.search(_page(first, answer)):
        raise NotReady("recording_not_ready", "CallRail answered that the recording is not ready")
    raise PermanentFailure(
        "recording_not_audio", "got a page instead of audio: the link may need a login", fix=_KEY_FIX
    )


def _page(start: bytes, answer: Answer) -> bytes:
    """The beginning of a body that is meant to be small."""
    body = bytearray(start)
    for chunk in answer.chunks:
        body += chunk
        if len(body) >= PAGE_BYTES:
            break
    return bytes(body[:PAGE_BYTES])


def _link_refused() -> TenantBlocked:
    return TenantBlocked("recording_link_refused", "the webhook's recording link was refused", fix=_KEY_FIX)
