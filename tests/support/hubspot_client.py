"""A client of the HubSpot stand-in, as its own tests speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from infra.local.standins.hubspot import create_app
from infra.local.standins.serving import serve_in_thread
from shared.gateways.http import tls_context

CONTACTS = "/crm/objects/2026-09/contacts"
CALLS = "/crm/objects/2026-09/calls"
PROPERTIES = "/crm/properties/2026-09"
TOKEN = "pat-na1-example"


class Portal:
    """A client with a token."""

    def __init__(self, url: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, trust_env=False, verify=tls_context()
        )

    def post(self, path: str, **document: Any) -> httpx.Response:
        return self.http.post(path, json=document)

    def create(self, **properties: str) -> str:
        return str(self.post(CONTACTS, properties=properties).raise_for_status().json()["id"])

    def search(self, *groups: list[dict[str, Any]], **body: Any) -> dict[str, Any]:
        body["filterGroups"] = [{"filters": filters} for filters in groups]
        return dict(self.post(f"{CONTACTS}/search", **body).raise_for_status().json())

    def upsert(self, path: str, key: str, *values: str, **properties: str) -> httpx.Response:
        inputs = [{"id": value, "idProperty": key, "properties": properties} for value in values]
        return self.post(f"{path}/batch/upsert", inputs=inputs)

    def unique(self, object_type: str, name: str) -> None:
        group = "contactinformation" if object_type == "contacts" else "call"
        definition = {"name": name, "label": name, "type": "string", "fieldType": "text", "groupName": group}
        self.post(f"{PROPERTIES}/{object_type}", hasUniqueValue=True, **definition).raise_for_status()


@contextmanager
def running_portal() -> Iterator[Portal]:
    """A client of an empty stand-in."""
    with serve_in_thread(create_app()) as url:
        one = Portal(url, TOKEN)
        with one.http:
            yield one


def eq(name: str, value: str, operator: str = "EQ") -> dict[str, Any]:
    return {"propertyName": name, "operator": operator, "value": value}


def ids(answer: dict[str, Any]) -> list[str]:
    return [record["id"] for record in answer["results"]]
