"""A Salesforce stand-in on a socket with two tenants' orgs, and what tests do to it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, Literal

import httpx

from infra.local.standins.salesforce import create_app
from infra.local.standins.serving import serve_in_thread
from schemas.calls import Provider
from schemas.tenant import SalesforceConfig
from shared.crm_erasure import CrmEraser
from shared.gateways.http import tls_context
from shared.gateways.salesforce import SalesforceGateway
from shared.ports import Clock
from tests.support.crm_calls import HeldSecrets
from tests.support.crm_harness import CallView, Owner, PersonView, Step

KEYS: dict[Owner, str] = {"own": "3MVG9own", "other": "3MVG9other"}
FIRST_SECRET = "first-consumer-secret"
NEWER_SECRET = "newer-consumer-secret"
SECRET_NAMES: dict[Owner, str] = {"own": "own-salesforce", "other": "other-salesforce"}
_OPERATIONS: dict[Step, str] = {"search": "search", "person": "composite", "call": "composite"}


def utc_now() -> datetime:
    return datetime.now(UTC)


def client_credentials(consumer_key: str, consumer_secret: str) -> str:
    """The credentials document of a tenant's secret."""
    return json.dumps(
        {
            "flow": "client_credentials",
            "domain": "acme.my",
            "consumer_key": consumer_key,
            "consumer_secret": consumer_secret,
        }
    )


class SalesforceOrgs:
    """The `CrmHarness` of Salesforce, with more for its own tests."""

    provider: Provider = "salesforce"
    body_limit = 32_000

    def __init__(self, url: str) -> None:
        self.url = url
        self._admin = httpx.Client(base_url=f"{url}/_standin", trust_env=False, verify=tls_context())
        self.secrets = HeldSecrets(
            **{SECRET_NAMES[owner]: client_credentials(key, FIRST_SECRET) for owner, key in KEYS.items()}
        )
        self._gateways: list[SalesforceGateway] = []
        for owner in KEYS:
            self.configure(owner, consumer_secret=FIRST_SECRET)

    def close(self) -> None:
        for gateway in self._gateways:
            gateway.close()
        self._admin.close()

    # --- the suite's harness ----------------------------------------------------------------------

    def gateway(
        self, owner: Owner = "own", *, person_type: Literal["lead", "contact"] = "lead", clock: Clock = utc_now
    ) -> SalesforceGateway:
        config = SalesforceConfig(credentials_secret=SECRET_NAMES[owner], person_type=person_type)
        gateway = SalesforceGateway(config, self.secrets, clock=clock, login_url_override=self.url)
        self._gateways.append(gateway)
        return gateway

    def eraser(self, owner: Owner = "own") -> CrmEraser:
        return self.gateway(owner)

    def persons(self, owner: Owner = "own") -> list[PersonView]:
        state = self.state(owner)
        return [
            PersonView(
                person_id=record["Id"],
                name=" ".join(part for part in (record.get("FirstName"), record["LastName"]) if part),
                phone=record.get("Phone") or "",
            )
            for record in [*state["leads"], *state["contacts"]]
        ]

    def calls(self, owner: Owner = "own") -> list[CallView]:
        return [
            CallView(
                call_id=task["Ext_Call_Id__c"],
                person_ids=(task["WhoId"],) if task.get("WhoId") else (),
                title=task["Subject"],
                body=task["Description"],
                body_text=task["Description"],
                markup=frozenset(),
                score=str(task["Ext_Lead_Score__c"]),
            )
            for task in self.state(owner)["tasks"]
        ]

    def seed_person(self, *, phone: str, name: str) -> str:
        return self.seed("Lead", LastName=name, Company="Example Ltd", Phone=phone)

    def delete_person(self, person_id: str) -> None:
        self.delete("Lead" if person_id.startswith("00Q") else "Contact", person_id)

    def lag_search(self) -> None:
        self.configure("own", consumer_secret=FIRST_SECRET, search_lag_s=3600)

    def fault(self, step: Step, **rule: Any) -> None:
        self.fault_on(_OPERATIONS[step], **rule)

    def clear_faults(self) -> None:
        self._admin.delete("/faults").raise_for_status()

    def requests(self, step: Step) -> int:
        return self.count(_OPERATIONS[step])

    def rotate_secret(self) -> None:
        self.secrets.write(SECRET_NAMES["own"], client_credentials(KEYS["own"], NEWER_SECRET))
        self.configure("own", consumer_secret=NEWER_SECRET)
        self.expire_sessions()

    def revoke_secret(self) -> None:
        self.configure("own", consumer_secret="known-to-nobody")
        self.expire_sessions()

    # --- Salesforce's own -------------------------------------------------------------------------

    def state(self, owner: Owner = "own") -> dict[str, Any]:
        return dict(self._admin.get("/state").raise_for_status().json()["orgs"][KEYS[owner]])

    def count(self, operation: str) -> int:
        return int(self.state()["requests"].get(operation, 0))

    def configure(self, owner: Owner = "own", **settings: Any) -> None:
        """Replace the org's settings (`OrgSettings`)."""
        settings.setdefault("consumer_secret", FIRST_SECRET)
        self._admin.post("/orgs", json={"consumer_key": KEYS[owner], **settings}).raise_for_status()

    def seed(self, object_name: str, **fields: Any) -> str:
        document = {"consumer_key": KEYS["own"], "object": object_name, "fields": fields}
        return str(self._admin.post("/persons", json=document).raise_for_status().json()["id"])

    def delete(self, object_name: str, record_id: str) -> None:
        document = {"consumer_key": KEYS["own"], "object": object_name, "id": record_id}
        self._admin.request("DELETE", "/persons", json=document).raise_for_status()

    def convert(self, lead_id: str) -> str:
        """A human converts the Lead; returns the Contact's id."""
        document = {"consumer_key": KEYS["own"], "id": lead_id}
        return str(self._admin.post("/conversions", json=document).raise_for_status().json()["id"])

    def expire_sessions(self) -> None:
        self._admin.post("/sessions/expire", json={"consumer_key": KEYS["own"]}).raise_for_status()

    def fault_on(self, operation: str, **rule: Any) -> None:
        self._admin.post("/faults", json=[{"operation": operation, **rule}]).raise_for_status()

    def refuse(self, operation: str, code: str, message: str = "refused", *, status: int = 400, **rule: Any) -> None:
        """Let an operation answer with one error code."""
        body = [{"errorCode": code, "message": message, "fields": []}]
        self.fault_on(operation, kind="status", status=status, body=body, **rule)


@contextmanager
def salesforce_orgs() -> Iterator[SalesforceOrgs]:
    """A fresh stand-in for one test."""
    with serve_in_thread(create_app()) as url:
        orgs = SalesforceOrgs(url)
        try:
            yield orgs
        finally:
            orgs.close()
