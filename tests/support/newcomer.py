"""A customer who comes in: what the vendors hold of them, their secrets, and their onboarding file."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from tests.support.stack import LocalStack

_NUMBERS = itertools.count(1)
LACKED = {
    "Task": ["Ext_Call_Id__c", "Ext_Intent__c"],
    "Lead": ["Ext_Caller_Key__c", "Ext_Lead_Summary__c"],
}
"""Fields of ours that a newcomer's Salesforce org does not have yet."""


@dataclass(frozen=True)
class Newcomer:
    """One customer with accounts of their own everywhere. All values are made up and long enough to be searched for."""

    stack: LocalStack
    folder: Path
    number: int = field(default_factory=lambda: next(_NUMBERS))

    @property
    def tenant_id(self) -> str:
        return f"newcomer-{self.number:03d}"

    @property
    def company_id(self) -> str:
        return f"COM019a44440000700080000000{self.number:08d}"

    @property
    def account_id(self) -> str:
        return f"ACC019a44440000700080000000{self.number:08d}"

    @property
    def signing_key(self) -> str:
        return f"51e2d3c4b5a69788796a5b4c{self.number:08d}"

    @property
    def api_key(self) -> str:
        return f"newcomer-callrail-key-{self.number:08d}"

    @property
    def token(self) -> str:
        return f"pat-na1-newcomer-{self.number:08d}"

    @property
    def consumer_key(self) -> str:
        return f"newcomer-consumer-{self.number:08d}"

    @property
    def consumer_secret(self) -> str:
        return f"newcomer-consumer-secret-{self.number:08d}"

    @property
    def all_secrets(self) -> tuple[str, ...]:
        return (self.signing_key, self.api_key, self.token, self.consumer_secret)

    def arrange(self, *, admin: bool = True, **company: Any) -> None:
        """The vendors know the customer. `admin`: the Salesforce user may make fields."""
        self.arrange_company(**company)
        rights = {"customize_application": admin, "manage_permissions": admin}
        org = {"consumer_key": self.consumer_key, "consumer_secret": self.consumer_secret, "removed_fields": LACKED}
        self.stack.tell("salesforce", "orgs", {**org, **rights})

    def arrange_company(self, **company: Any) -> None:
        """What CallRail holds of the customer; the CRMs stay as they are."""
        document = {"account_id": self.account_id, "company_id": self.company_id, "name": "Newcomer Ltd"}
        given = {**document, "signing_key": self.signing_key, "api_key": self.api_key, **company}
        url = f"{self.stack.standin('callrail')}/_standin/companies"
        httpx.put(url, json=given, trust_env=False).raise_for_status()

    def file(self, *, secrets: dict[str, Any] | None = None, **config: Any) -> str:
        """The onboarding file's path; secrets lie in files beside it."""
        credentials = {
            "flow": "client_credentials",
            "domain": "newcomer.my",
            "consumer_key": self.consumer_key,
            "consumer_secret": self.consumer_secret,
        }
        sources: dict[str, Any] = {
            "webhook_signing_key": self.beside("signing-key", self.signing_key),
            "callrail_api_key": self.beside("callrail-key", self.api_key),
            "hubspot_token": self.beside("hubspot-token", self.token),
            "salesforce_credentials": self.beside("salesforce.json", json.dumps(credentials)),
            **(secrets or {}),
        }
        document = {
            "tenant_id": self.tenant_id,
            "name": "Newcomer Ltd",
            "config": {"callrail_account_id": self.account_id, "callrail_company_ids": [self.company_id], **config},
            "secrets": {role: source for role, source in sources.items() if source is not None},
        }
        path = self.folder / f"{self.tenant_id}.json"
        path.write_text(json.dumps(document))
        return str(path)

    def beside(self, name: str, value: str) -> dict[str, str]:
        """A secret's file, and how the onboarding file names it."""
        (self.folder / name).write_text(value + "\n")
        return {"file": name}
