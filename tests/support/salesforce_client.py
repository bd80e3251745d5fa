"""A client of the Salesforce stand-in, as its own tests speak to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from infra.local.standins.salesforce import create_app
from infra.local.standins.serving import serve_in_thread
from shared.gateways.http import tls_context

DATA = "/services/data/v66.0"
SECRET = "a-consumer-secret"


@contextmanager
def own_org() -> Iterator[httpx.Client]:
    """A client logged in to org `own` of an empty stand-in."""
    with serve_in_thread(create_app()) as url, logged_in(url, "own") as client:
        yield client


@contextmanager
def logged_in(url: str, consumer_key: str) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=url, trust_env=False, verify=tls_context()) as client:
        token = log_in(client, consumer_key).json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        yield client


def log_in(client: httpx.Client, consumer_key: str, secret: str = SECRET) -> httpx.Response:
    form = {"grant_type": "client_credentials", "client_id": consumer_key, "client_secret": secret}
    return client.post("/services/oauth2/token", data=form)


def state(client: httpx.Client, consumer_key: str = "own") -> dict[str, Any]:
    return dict(client.get("/_standin/state").json()["orgs"][consumer_key])


def configure(client: httpx.Client, **settings: Any) -> None:
    client.post("/_standin/orgs", json={"consumer_key": "own", **settings}).raise_for_status()


def seed(client: httpx.Client, object_name: str, **fields: Any) -> str:
    document = {"consumer_key": "own", "object": object_name, "fields": fields}
    return str(client.post("/_standin/persons", json=document).raise_for_status().json()["id"])


def create_lead(client: httpx.Client, **fields: Any) -> httpx.Response:
    return client.post(f"{DATA}/sobjects/Lead", json={"LastName": "Example", "Company": "Example Ltd", **fields})


def error(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()[0]["errorCode"]


def search(client: httpx.Client, sosl: str) -> httpx.Response:
    return client.get(f"{DATA}/search/", params={"q": sosl})


def query(client: httpx.Client, soql: str) -> httpx.Response:
    return client.get(f"{DATA}/query/", params={"q": soql})


def fault(client: httpx.Client, **rule: Any) -> None:
    client.post("/_standin/faults", json=[rule]).raise_for_status()
