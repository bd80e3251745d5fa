"""The HTTP services as they run: requests that schemathesis makes of docs/api/openapi.yaml, and our own worse ones.

Every answer must be one that the document declares for that operation, in its shape; never a 500, never late, and
nobody's data in an answer or in any service's log.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
import schemathesis
from hypothesis import assume
from hypothesis import strategies as st
from schemathesis.checks import CHECKS, load_all_checks
from schemathesis.core.failures import FailureGroup

from handlers.main import TARGETS as SERVICES
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH
from handlers.webhook_body import JSON_TYPE
from infra.openapi.document import of_service
from tests.fuzz.incoming import push_bodies, webhook_bodies
from tests.fuzz.material import leaked
from tests.fuzz.target import DEADLINE_S, Finding, Target

Sent = tuple[str, str, str, tuple[tuple[str, str], ...], bytes]
"""Path in the document, method, path and query as sent, headers, body."""
Send = Callable[[Sent], Any]
"""Returns a response of requests or of werkzeug's test client."""

NAMES = tuple(f"service_{name}" for name in SERVICES)
_CHECKS = (
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
)
_PLACEHOLDER = "http://service.invalid"
_PUSH = "/"
_OPERATOR_DEADLINE_S = 60.0
"""A sweep and a reconciliation look at every tenant."""


@dataclass(frozen=True)
class Signer:
    """A tenant that exists: its bodies are signed, so that more than the refusal is fuzzed."""

    tenant_id: str
    company_id: str
    key: str
    token: str

    def own(self, sent: Sent) -> Sent:
        """The same webhook as this tenant would send it, whatever it is otherwise."""
        path, method, _url, headers, body = sent
        with suppress(ValueError, RecursionError):
            document = json.loads(body)
            if isinstance(document, dict):
                document = {**document, "company_resource_id": self.company_id}
                for name in ("company_id", "callrail_company_id", "tenant_id"):
                    document.pop(name, None)
                body = json.dumps(document).encode()
        url = path.replace("{token}", self.token).replace("{event}", "post-call")
        kept = tuple(pair for pair in headers if pair[0].lower() != "signature")
        return path, method, url, (*kept, ("Signature", callrail_signature(self.key, body))), body


@dataclass(frozen=True)
class Service:
    """One service, and how to reach it."""

    name: str
    send: Send
    signer: Signer
    written: Callable[[], str] = lambda: ""
    """What was logged since it was last asked."""
    _schema: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        load_all_checks()
        object.__setattr__(self, "_schema", schemathesis.openapi.from_dict(of_service(self.name)))

    def target(self) -> Target:
        deadline_s = _OPERATOR_DEADLINE_S if self.name == "operator" else DEADLINE_S
        return Target(f"service_{self.name}", self._inputs(), self.check, deadline_s=deadline_s)

    def check(self, given: Sent) -> None:
        """Send it and look at the answer. Raises `Finding`."""
        response = self.send(given)
        if response.status_code == 500:
            raise Finding(f"{given[1]} {given[0]} answered 500")
        places = {"token": self.signer.token, "event": "post-call"} if "{" in given[0] else {}
        case = self._schema[given[0]][given[1]].Case(path_parameters=places)
        try:
            case.validate_response(response, checks=CHECKS.get_by_names(_CHECKS))
        except FailureGroup as failures:  # no `Exception` of Python's
            raise Finding(f"{given[1]} {given[0]}: {failures.exceptions[0]}") from None
        text = response.text if isinstance(response.text, str) else response.text()
        if found := leaked(text):
            raise Finding(f"the answer repeats its input: {sorted(found)}")
        if found := leaked(self.written()):
            raise Finding(f"a service's log repeats the input: {sorted(found)}")

    def _inputs(self) -> st.SearchStrategy[Sent]:
        options = [self._made_of(found.ok()) for found in self._schema.get_all_operations()]
        if self.name == "webhook":
            signed = st.one_of(self._made_of(self._schema[SHARED_PATH]["POST"]), _posts(webhook_bodies()))
            options += [signed.map(self.signer.own)] * 2
        elif self.name != "operator":
            options += [push_bodies(tenant_id=self.signer.tenant_id).map(_as_push)] * 2
        return st.one_of(options)

    def _made_of(self, operation: Any) -> st.SearchStrategy[Sent]:
        """What the document allows, and where there is something to get wrong, what it does not."""
        modes = schemathesis.GenerationMode
        wrong = [modes.NEGATIVE] if operation.body or list(operation.iter_parameters()) else []
        path, method = operation.path, operation.method.upper()
        cases = [operation.as_strategy(generation_mode=mode) for mode in (modes.POSITIVE, *wrong)]
        return st.one_of(cases).map(lambda case: _serialised(case, path, method))


def _serialised(case: Any, path: str, method: str) -> Sent:
    """A case as bytes on the wire; what cannot be one is left out."""
    try:
        prepared = requests.Request(**_request_part(case.as_transport_kwargs(base_url=_PLACEHOLDER))).prepare()
        body = prepared.body or b""
        raw = body if isinstance(body, bytes) else body.encode()
        headers = tuple(
            (str(name), _text(value)) for name, value in prepared.headers.items() if name != "Content-Length"
        )
    except (ValueError, TypeError):
        assume(False)
        raise
    assume(all(value.isprintable() and value.isascii() for _, value in headers))
    return path, method, (prepared.url or "").removeprefix(_PLACEHOLDER), headers, raw


def _request_part(options: Mapping[str, Any]) -> dict[str, Any]:
    names = ("method", "url", "headers", "files", "data", "json", "params", "cookies")
    return {name: options[name] for name in names if name in options}


def _text(value: Any) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)


def _posts(bodies: st.SearchStrategy[tuple[str, bytes]]) -> st.SearchStrategy[Sent]:
    def post(body: tuple[str, bytes]) -> Sent:
        return SHARED_PATH, "POST", SHARED_PATH, (("Content-Type", body[0]),), body[1]

    return bodies.map(post)


def _as_push(body: bytes) -> Sent:
    return _PUSH, "POST", _PUSH, (("Content-Type", JSON_TYPE),), body


# -- on the local stack ----------------------------------------------------------------------------------


@contextmanager
def on_local_stack() -> Iterator[tuple[Target, ...]]:
    """Every service as its own process, with emulators and stand-ins around them."""
    from tempfile import TemporaryDirectory

    from infra.local.prepare import prepare
    from infra.local.stack import Stack, StackOptions

    with TemporaryDirectory() as folder, Stack(StackOptions(state_dir=Path(folder)), prepare=prepare) as stack:
        state = stack.state
        env = {**state.env, **state.exports, **state.extra}
        signer = Signer(
            tenant_id=env["DEMO_TENANT_ID"],
            company_id=env["DEMO_COMPANY_ID"],
            key=env["DEMO_WEBHOOK_SECRET"],
            token=env["DEMO_WEBHOOK_TOKEN"],
        )
        written = _Logs(Path(folder) / "logs")
        addresses = {service.name: service.address for service in state.services}
        with requests.Session() as session:
            session.trust_env = False
            yield tuple(
                Service(name, _over_http(session, addresses[name]), signer, written).target() for name in SERVICES
            )


def _over_http(session: requests.Session, address: str) -> Send:
    def send(sent: Sent) -> requests.Response:
        _path, method, url, headers, body = sent
        return session.request(
            method, f"{address}{url}", headers=dict(headers), data=body, timeout=60, allow_redirects=False
        )

    return send


class _Logs:
    """What all workers have written since the last look: a body's words travel on to the stages."""

    def __init__(self, folder: Path) -> None:
        self._files = [folder / f"{name}.log" for name in SERVICES]
        self._seen: dict[Path, int] = {}

    def __call__(self) -> str:
        return "".join(self._news(path) for path in self._files if path.exists())

    def _news(self, path: Path) -> str:
        with path.open("rb") as file:
            file.seek(self._seen.get(path, 0))
            news = file.read()
        self._seen[path] = self._seen.get(path, 0) + len(news)
        return news.decode(errors="replace")
