"""While a stand-in writes what it holds, nobody is told of anything that would not be in the file."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from functools import partial
from typing import Any

import httpx
import pytest

from infra.local.standins import callrail, hubspot, salesforce
from infra.local.standins.callrail_store import CallRailStore
from infra.local.standins.faults import FaultPlan
from infra.local.standins.hubspot_hub import HubSpot
from infra.local.standins.hubspot_store import IndexLag, Portal
from infra.local.standins.keeping import Keepable
from infra.local.standins.salesforce_oauth import Orgs
from infra.local.standins.secret_manager_store import SecretStore
from infra.local.standins.serving import serve_in_thread
from infra.local.standins.speech_files import FileTranscriber
from infra.local.standins.speech_jobs import OperationBook
from infra.local.standins.speech_rules import Rules
from infra.local.standins.speech_sidecar import RegisteredSidecars, Sidecar
from infra.local.standins.speech_storage import AudioStorage
from tests.contract.speech.calls import request_for

Act = Callable[[], Any]
_PATIENCE_S = 0.3
"""Whoever does not wait for the store is through by then."""


@contextmanager
def hubspot_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    hub = HubSpot(tokens={"pat-one": "one"}, plan=FaultPlan(), lag=IndexLag())
    with serve_in_thread(hubspot.app_of(hub)) as url, _client(url, "Bearer pat-one") as client:
        contacts = "/crm/objects/2026-03/contacts"
        created = client.post(contacts, json={"properties": {"email": "first@example.com"}}).json()["id"]
        yield (
            hub,
            [
                _asking(client, "POST", contacts, {"properties": {"email": "second@example.com"}}),
                _asking(client, "PATCH", f"{contacts}/{created}", {"properties": {"firstname": "A"}}),
                _asking(client, "DELETE", f"{contacts}/{created}", None),
                _asking(client, "POST", f"{contacts}/search", {}),
                _asking(client, "POST", "/_standin/lag", {"searches": 1}),
                _asking(client, "POST", "/_standin/tokens", {"tokens": None}),
            ],
        )


@contextmanager
def portal_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    """A request that the hub has let in before."""
    portal = Portal(first_id=1)
    create = partial(portal.create, "contacts", lag=IndexLag())
    first = create({}).record_id
    call = portal.create("calls", {"hs_timestamp": "0"}, lag=IndexLag()).record_id
    link = partial(portal.link, "calls", call, "contacts", first)
    yield portal, [partial(create, {}), link, partial(portal.indexed, "contacts", lambda _shown: True)]


@contextmanager
def salesforce_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    orgs = Orgs()
    token, _ = orgs.login({"grant_type": "client_credentials", "client_id": "key", "client_secret": "made-up"})
    with serve_in_thread(salesforce.create_app(orgs=orgs)) as url, _client(url, f"Bearer {token}") as client:
        form = {"grant_type": "client_credentials", "client_id": "other", "client_secret": "made-up"}
        yield (
            orgs,
            [
                _asking(client, "POST", "/services/data/v66.0/sobjects/Lead", {"LastName": "Doe", "Company": "A"}),
                _asking(client, "POST", "/_standin/orgs", {"consumer_key": "third"}),
                lambda: client.post("/services/oauth2/token", data=form).raise_for_status(),
            ],
        )


@contextmanager
def callrail_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    store = CallRailStore()
    with serve_in_thread(callrail.create_app(store)) as url, _client(url, "") as client:
        company = {"account_id": "ACC1", "company_id": "COM1", "signing_key": "made-up", "api_key": "another"}
        yield (
            store,
            [
                _asking(client, "POST", "/_standin/calls", {"account_id": "ACC1", "call": {"id": "CAL1"}}),
                _asking(client, "DELETE", "/_standin/calls/CAL2", None),
                _asking(client, "POST", "/_standin/recordings", {"call_id": "CAL1", "synthetic_bytes": 44}),
                _asking(client, "PUT", "/_standin/companies", company),
                _asking(client, "PUT", "/_standin/api_keys", ["new"]),
                _asking(client, "PUT", "/_standin/budget", {"requests": 1}),
                _asking(client, "PUT", "/_standin/webhooks", {}),
            ],
        )


@contextmanager
def secret_manager_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    store = SecretStore()
    path = "projects/p/secrets/one"
    store.create(path)
    store.add(path, b"first")
    yield (
        store,
        [
            partial(store.create, "projects/p/secrets/two"),
            partial(store.add, path, b"second"),
            partial(store.disable, path, "1"),
        ],
    )


@contextmanager
def speech_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    storage, sidecars, plan = AudioStorage("http://127.0.0.1:9"), RegisteredSidecars(), FaultPlan()
    book = OperationBook(FileTranscriber(storage, None, plan, sidecars), plan, workers=1)
    yield book, [partial(book.start, request_for("gs://audio/nothing.mp3")), book.forget]
    book.close()
    storage.close()


@contextmanager
def sidecar_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    sidecars = RegisteredSidecars()
    yield sidecars, [partial(sidecars.add, "*", Sidecar()), sidecars.clear]


@contextmanager
def withdrawal_acts() -> Iterator[tuple[Keepable, list[Act]]]:
    rules = Rules()
    yield rules, [partial(rules.withdraw, ["speaker_diarization"]), rules.restore]


_STORES: Mapping[str, Any] = {
    "hubspot": hubspot_acts,
    "portal": portal_acts,
    "salesforce": salesforce_acts,
    "callrail": callrail_acts,
    "secret_manager": secret_manager_acts,
    "speech": speech_acts,
    "sidecars": sidecar_acts,
    "withdrawn": withdrawal_acts,
}


@pytest.mark.parametrize("name", _STORES)
def test_nobody_changes_a_store_that_stands_still_and_all_go_on_afterwards(name: str) -> None:
    with _STORES[name]() as (store, acts), ThreadPoolExecutor(len(acts)) as pool:
        with store.standing_still():
            asked = [pool.submit(act) for act in acts]
            through, _ = wait(asked, timeout=_PATIENCE_S)
            assert not through, [asked.index(one) for one in through]
        for one in asked:
            one.result(timeout=30)


def _client(url: str, authorization: str) -> httpx.Client:
    return httpx.Client(base_url=url, headers={"Authorization": authorization}, timeout=30.0, trust_env=False)


def _asking(client: httpx.Client, method: str, path: str, document: Any) -> Act:
    def ask() -> None:
        answer = client.request(method, path, json=document)
        assert answer.is_success or answer.status_code == 404, (
            answer.text
        )  # changed or deleted by another one meanwhile

    return ask
