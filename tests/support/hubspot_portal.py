"""The HubSpot stand-in on a socket, with two tenants' portals prepared: the contract suite's harness."""

from __future__ import annotations

from contextlib import ExitStack
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import httpx

from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.hubspot import create_app
from infra.local.standins.serving import serve_in_thread
from schemas.calls import Provider
from shared.crm_erasure import CrmEraser
from shared.gateways.http import json_client, tls_context
from shared.gateways.hubspot import HubSpotGateway
from shared.ports import CrmGateway
from tests.support.crm_calls import HeldSecrets
from tests.support.crm_harness import CallView, Owner, PersonView, Step

NOW = datetime(2026, 11, 23, 18, 30, tzinfo=UTC)
TOKENS = {"pat-own-1": "own", "pat-other-1": "other"}
_OPERATIONS: dict[Step, str] = {"search": "contacts.search", "person": "contacts.upsert", "call": "calls.upsert"}


class _Rendered(HTMLParser):
    """What a browser would show of a rich-text field, and which elements it would make."""

    def __init__(self, body: str) -> None:
        super().__init__()
        self.text = ""
        self.elements: set[str] = set()
        self.open: list[str] = []
        self.feed(body)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        if tag != "br":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


class HubSpotHarness:
    """The stand-in on a socket, two portals. The other tenant's has our properties once its gateway was asked for.

    With `both`, from the beginning: for tests that make their gateways themselves.
    """

    provider: Provider = "hubspot"
    body_limit = 65_536

    def __init__(self, stack: ExitStack, *, both: bool = False) -> None:
        self.plan = FaultPlan()
        self.url = stack.enter_context(serve_in_thread(create_app(tokens=TOKENS, plan=self.plan)))
        self.client = stack.enter_context(json_client(self.url))
        self.admin = stack.enter_context(httpx.Client(base_url=self.url, trust_env=False, verify=tls_context()))
        self.secrets = HeldSecrets(own="pat-own-1", other="pat-other-1")
        self.bare_gateway().prepare()
        if both:
            self.gateway("other")

    def bare_gateway(self, owner: str = "own", **options: Any) -> HubSpotGateway:
        return HubSpotGateway(self.client, secrets=self.secrets, token_secret=owner, clock=lambda: NOW, **options)

    def gateway(self, owner: Owner = "own") -> CrmGateway:
        gateway = self.bare_gateway(owner)
        if owner != "own":
            # Few tests need it, and its sixty requests would cost more than most tests.
            gateway.prepare()
        return gateway

    def eraser(self, owner: Owner = "own") -> CrmEraser:
        return self.bare_gateway(owner)

    def held(self, kind: str, owner: str = "own") -> list[dict[str, Any]]:
        return [record for record in self.state()[kind] if record["portal"] == owner]

    def persons(self, owner: Owner = "own") -> list[PersonView]:
        return [_person_view(record["id"], record["properties"]) for record in self.held("contacts", owner)]

    def calls(self, owner: Owner = "own") -> list[CallView]:
        return [_call_view(record) for record in self.held("calls", owner)]

    def seed_person(self, *, phone: str, name: str) -> str:
        first, _, last = name.rpartition(" ")
        return self.seed_contact(phone=phone, firstname=first, lastname=last)

    def seed_contact(self, **properties: str) -> str:
        answer = self.admin.post("/_standin/contacts", json={"portal": "own", "properties": properties})
        return str(answer.raise_for_status().json()["id"])

    def delete_person(self, person_id: str) -> None:
        self.as_human("DELETE", f"/crm/objects/2026-09/contacts/{person_id}")

    def as_human(self, method: str, path: str, **options: Any) -> httpx.Response:
        headers = {"Authorization": "Bearer pat-own-1"}
        return self.admin.request(method, path, headers=headers, **options).raise_for_status()

    def lag_search(self) -> None:
        self.admin.post("/_standin/lag", json={"searches": 1_000_000}).raise_for_status()

    def fault(self, step: Step, **rule: Any) -> None:
        self.plan.add(FaultRule(operation=_OPERATIONS[step], **rule))

    def clear_faults(self) -> None:
        self.plan.clear()

    def requests(self, step: Step) -> int:
        return self.asked(_OPERATIONS[step])

    def asked(self, operation: str) -> int:
        return int(self.state()["requests"].get(operation, 0))

    def rotate_secret(self) -> None:
        self.secrets.write("own", "pat-own-2")
        self.accept({"pat-own-2": "own", "pat-other-1": "other"})

    def revoke_secret(self) -> None:
        self.accept({"pat-other-1": "other"})

    def accept(self, tokens: dict[str, str]) -> None:
        self.admin.post("/_standin/tokens", json={"tokens": tokens}).raise_for_status()

    def state(self) -> dict[str, Any]:
        return dict(self.admin.get("/_standin/state").raise_for_status().json())


def _person_view(contact_id: str, properties: dict[str, str]) -> PersonView:
    name = " ".join(filter(None, (properties.get("firstname"), properties.get("lastname"))))
    return PersonView(person_id=contact_id, name=name, phone=properties.get("phone", ""))


def _call_view(record: dict[str, Any]) -> CallView:
    properties = record["properties"]
    rendered = _Rendered(properties["hs_call_body"])
    assert rendered.open == []
    return CallView(
        call_id=properties["ext_call_id"],
        person_ids=tuple(record["associations"]["contacts"]),
        title=properties["hs_call_title"],
        body=properties["hs_call_body"],
        body_text=rendered.text,
        markup=frozenset(rendered.elements),
        score=properties["ext_lead_score"],
    )
