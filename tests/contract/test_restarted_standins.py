"""A stand-in that is restarted is the same vendor as before: SIGTERM to a real process, and a new one in its place.

Speech has its own file, tests/contract/speech/test_standin_restart.py.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.api_core.exceptions import FailedPrecondition
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports.grpc import (
    SecretManagerServiceGrpcTransport,
)

from infra.local.standins.callrail_store import LOCAL_API_KEY
from tests.support.standin_process import StandinProcess, standin_process
from tests.support.waiting import eventually

PHONE = "+15035550110"
CONTACTS = "/crm/objects/2026-03/contacts"
CALLS = "/crm/objects/2026-03/calls"
_SENDERS = 6


def client_of(address: str, authorization: str) -> httpx.Client:
    return httpx.Client(base_url=address, headers={"Authorization": authorization}, timeout=30.0, trust_env=False)


def create(client: httpx.Client, path: str, properties: dict[str, str]) -> str:
    return str(client.post(path, json={"properties": properties}).raise_for_status().json()["id"])


def found(client: httpx.Client, phone: str) -> list[str]:
    """Ids of the contacts with this number, by HubSpot's search."""
    filters = [{"propertyName": "phone", "operator": "EQ", "value": phone}]
    answer = client.post(f"{CONTACTS}/search", json={"filterGroups": [{"filters": filters}]})
    return [item["id"] for item in answer.raise_for_status().json()["results"]]


def test_hubspot_keeps_portals_tokens_and_how_far_its_index_is_behind(tmp_path: Path) -> None:
    with standin_process("hubspot", tmp_path) as hubspot, client_of(hubspot.address, "Bearer pat-one") as client:
        hubspot.tell("tokens", {"tokens": {"pat-one": "one"}})
        unique = {"name": "key", "label": "Key", "type": "string", "fieldType": "text", "hasUniqueValue": True}
        client.post("/crm/properties/2026-03/contacts", json={**unique, "groupName": "contactinformation"})
        person = create(client, CONTACTS, {"phone": "+15035550111", "key": "a"})
        call = create(client, CALLS, {"hs_timestamp": "2026-11-28T10:00:00Z"})
        client.put(f"{CALLS}/{call}/associations/default/contacts/{person}").raise_for_status()
        assert found(client, "+15035550111") == [person]
        hubspot.tell("lag", {"searches": 1, "seconds": 0})
        late = create(client, CONTACTS, {"phone": PHONE})
        before = hubspot.state()

        hubspot.restart()

        assert hubspot.state() == before
        assert [item["associations"]["contacts"] for item in before["calls"]] == [[person]]
        assert found(client, PHONE) == []
        assert found(client, PHONE) == [late]
        assert create(client, CONTACTS, {"phone": "+15035550112"}) == str(int(late) + 1)
        conflict = client.post(CONTACTS, json={"properties": {"key": "a"}})
        assert "CONFLICTING_UNIQUE_VALUE" in conflict.text
        assert client.get(f"{CONTACTS}/1", headers={"Authorization": "Bearer pat-two"}).status_code == 401


def test_salesforce_keeps_orgs_records_and_who_is_logged_in(tmp_path: Path) -> None:
    data = "/services/data/v66.0/sobjects"
    with standin_process("salesforce", tmp_path) as salesforce:
        salesforce.tell("orgs", {"consumer_key": "key", "consumer_secret": "made-up", "search_lag_s": 600})
        form = {"grant_type": "client_credentials", "client_id": "key", "client_secret": "made-up"}
        login = httpx.post(f"{salesforce.address}/services/oauth2/token", data=form, trust_env=False)
        with client_of(salesforce.address, f"Bearer {login.json()['access_token']}") as client:
            lead = {"LastName": "Doe", "Company": "Example", "Phone": PHONE}
            kept, deleted = (client.post(f"{data}/Lead", json=lead).json()["id"] for _ in range(2))
            client.delete(f"{data}/Lead/{deleted}").raise_for_status()
            before = salesforce.state()

            salesforce.restart()

            assert salesforce.state() == before
            assert client.get(f"{data}/Lead/{kept}").json()["Phone"] == PHONE
            assert "ENTITY_IS_DELETED" in client.get(f"{data}/Lead/{deleted}").text
            search = "FIND {5035550110} IN PHONE FIELDS RETURNING Lead(Id)"
            sought = client.get("/services/data/v66.0/search", params={"q": search})
            assert sought.json() == {"searchRecords": []}  # the index is still ten minutes behind
            assert client.post(f"{data}/Lead", json=lead).json()["id"] not in {kept, deleted}
            wrong = httpx.post(
                f"{salesforce.address}/services/oauth2/token", data=form | {"client_secret": "x"}, trust_env=False
            )
            assert wrong.json()["error"] == "invalid_client"
            usage = client.get(f"{data}/Lead/{kept}").headers["Sforce-Limit-Info"]
            assert usage.startswith(f"api-usage={before['orgs']['key']['api_calls'] + 5}/")


def test_callrail_keeps_calls_recordings_keys_and_its_budget(tmp_path: Path) -> None:
    with (
        standin_process("callrail", tmp_path) as callrail,
        client_of(callrail.address, f'Token token="{LOCAL_API_KEY}"') as client,
    ):
        call = {"id": "CAL1", "start_time": "2026-11-28T10:00:00Z", "duration": 3}
        callrail.tell("calls", {"account_id": "ACC1", "call": call})
        company = {"account_id": "ACC1", "company_id": "COM1", "signing_key": "made-up"}
        callrail.tell("companies", company | {"api_key": "restricted", "is_restricted": True}, method="PUT")
        callrail.tell("recordings", {"call_id": "CAL1", "synthetic_bytes": 1044, "ready_after": 2})
        link = "/calls/CAL1/recording/redirect?access_key=k"
        assert client.get(link).status_code == 404
        callrail.tell("budget", {"requests": 2}, method="PUT")
        client.get("/v3/a/ACC1/calls/CAL1.json").raise_for_status()
        before = callrail.state()

        callrail.restart()

        assert callrail.state() == before
        assert client.get(link).status_code == 404
        audio = client.get(client.get(link).headers["Location"])
        assert (len(audio.content), audio.content[:4]) == (1044, b"RIFF")
        integrations = "/v3/a/ACC1/integrations.json?company_id=COM1"
        assert client.get(integrations).json()["total_records"] == 1
        assert client.get(integrations).status_code == 429  # the second of two: the first was before the restart
        callrail.tell("budget", {"requests": None}, method="PUT")
        assert client.get(integrations, headers={"Authorization": 'Token token="restricted"'}).status_code == 403


def test_secret_manager_keeps_versions_and_states_for_clients_that_stay_connected(tmp_path: Path) -> None:
    with (
        standin_process("secret_manager", tmp_path) as standin,
        grpc.insecure_channel(standin.address) as channel,
    ):
        google: Any = SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))
        google.create_secret(parent="projects/p", secret_id="one", secret={"replication": {"automatic": {}}})
        for value in (b"first", b"\xff\x00second"):
            google.add_secret_version(parent="projects/p/secrets/one", payload={"data": value})
        path = "projects/p/secrets/one/versions"
        google.disable_secret_version(name=f"{path}/1")
        google.access_secret_version(name=f"{path}/latest")
        before = standin.state()

        standin.restart()

        assert standin.state() == before
        assert google.access_secret_version(name=f"{path}/latest").payload.data == b"\xff\x00second"
        with pytest.raises(FailedPrecondition, match="DISABLED"):
            google.access_secret_version(name=f"{path}/1")
        added = google.add_secret_version(parent="projects/p/secrets/one", payload={"data": b"third"})
        assert added.name.endswith("/versions/3")
        assert standin.state()["accesses"] == before["accesses"] + 2


def test_a_request_in_flight_is_not_answered_or_its_work_is_kept(tmp_path: Path) -> None:
    """Whoever was told of a record finds it again; of the others' work at most the answer is lost."""
    with standin_process("hubspot", tmp_path) as hubspot, ThreadPoolExecutor(_SENDERS) as pool:
        told: list[tuple[str, str]] = []
        senders = [pool.submit(_create_until_cut_off, hubspot, number, told) for number in range(_SENDERS)]
        eventually(lambda: len(told) > 5 * _SENDERS or senders[0].done(), what="senders at work")

        hubspot.end()
        for sender in senders:
            sender.result(timeout=30)
        assert hubspot.kept.stat().st_mode & 0o777 == 0o600
        hubspot.start()

        held = [(item["id"], item["properties"]["email"]) for item in hubspot.state()["contacts"]]
        assert set(told) <= set(held)
        assert len(held) - len(told) <= _SENDERS
        assert len({record_id for record_id, _ in held}) == len(held)
        assert not hubspot.kept.exists(), "it would be taken up again after a death that kept nothing"


def _create_until_cut_off(hubspot: StandinProcess, sender: int, told: list[tuple[str, str]]) -> None:
    with client_of(hubspot.address, "Bearer pat-one") as client:
        for number in itertools.count():
            email = f"{sender}-{number}@example.com"
            try:
                told.append((create(client, CONTACTS, {"email": email}), email))
            except httpx.TransportError:
                return
