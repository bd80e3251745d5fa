"""What a chaos run left behind: rows, objects, dead letters, what the CRMs hold and what vendors would bill."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any, NamedTuple

import httpx
from google.cloud.spanner_v1 import param_types

from infra.local.chaos.taps import announcements, listen_for_announcements
from infra.local.chaos.tenants import ChaosTenant
from infra.local.plan import AUDIO_BUCKET
from shared.dead_letters import LETTER_STATES, DeadLetter, LetterFilter
from shared.desk import Desk
from shared.gateways.database import OpenDatabase, read_rows
from shared.gateways.hubspot_schema import CALL_KEY as HUBSPOT_CALL_KEY
from shared.gateways.queries import query
from shared.gateways.salesforce_fields import CALL_KEY as SALESFORCE_CALL_KEY

_TIMEOUT_S = 30.0
_MOST_LETTERS = 10_000


class RequestRow(NamedTuple):
    tenant: str
    request_id: str
    call_id: str
    kind: str
    state: str
    stage: str


class RunRow(NamedTuple):
    tenant: str
    request_id: str
    call_id: str
    stage: str
    state: str
    attempt: int
    error_code: str | None
    error_detail: str | None


class CallRow(NamedTuple):
    tenant: str
    call_id: str
    recording_object: str | None
    has_transcript: bool
    has_analysis: bool


Key = tuple[str, str, str]
"""(tenant, provider, call id or number); the tenant is told by the account the record lies in."""


class CrmEntry(NamedTuple):
    """What one CRM holds of one call: all its fields as text, and whether it is linked to a person."""

    text: str
    has_person: bool


@dataclass(frozen=True)
class Recognition:
    """One operation that Speech started. `usable`: its transcript was written, and lay there until the pipeline had it.

    The stand-in says so: once the transcript is stored, the pipeline removes Speech's output.
    """

    call_id: str
    usable: bool
    billed_s: int
    request_id: str


@dataclass(frozen=True)
class Evidence:
    """Everything the audit looks at, as it stands now."""

    requests: Sequence[RequestRow]
    runs: Sequence[RunRow]
    calls: Sequence[CallRow]
    letters: Sequence[DeadLetter]
    objects: Sequence[str]
    entries: Sequence[tuple[Key, CrmEntry]]
    """Every HubSpot call and Salesforce Task."""
    people: Counter[Key]
    """By number: contacts, or Leads and Contacts."""
    recognitions: Sequence[Recognition]
    model_answers: int
    announced: Set[tuple[str, str]]
    """(tenant, request) of every `call-synced` that a consumer of a customer's would have got."""

    @property
    def activities(self) -> Counter[Key]:
        return Counter(key for key, _ in self.entries)


class Witness:
    """Looks at a stack, and listens from the beginning."""

    def __init__(
        self, env: Mapping[str, str], tenants: Sequence[ChaosTenant], *, open_database: OpenDatabase, desk: Desk
    ) -> None:
        self._env = env
        self._tenants = tenants
        self._open = open_database
        self._desk = desk
        listen_for_announcements(env)

    def rows(self) -> tuple[list[RequestRow], list[RunRow]]:
        """What moves: enough to see whether the stack has settled."""
        requests = [RequestRow(*row) for row in self._select("audit_requests")]
        return requests, [RunRow(*row) for row in self._select("audit_runs")]

    def letters(self) -> list[DeadLetter]:
        """Everybody's dead letters, nobody's included."""
        return self._desk.find(LetterFilter(states=LETTER_STATES, limit=_MOST_LETTERS))

    def objects(self, prefix: str = "") -> list[str]:
        """Names of everything in the bucket."""
        names: list[str] = []
        token = ""
        while True:
            page = self._get(
                f"{self._env['STORAGE_EMULATOR_HOST']}/storage/v1/b/{AUDIO_BUCKET}/o",
                prefix=prefix,
                pageToken=token,
            )
            names += [item["name"] for item in page.get("items", [])]
            token = page.get("nextPageToken", "")
            if not token:
                return sorted(names)

    def everything(self) -> Evidence:
        """The whole picture."""
        requests, runs = self.rows()
        hubspot, salesforce = self._state("HUBSPOT_URL"), self._state("SALESFORCE_URL")
        portals = {tenant.portal: tenant.tenant_id for tenant in self._tenants}
        orgs = {tenant.consumer_key: tenant.tenant_id for tenant in self._tenants}
        answered = self._state("VERTEX_ADMIN_URL")["tenants"].values()
        return Evidence(
            requests=requests,
            runs=runs,
            calls=[CallRow(*row) for row in self._select("audit_calls")],
            letters=self.letters(),
            objects=self.objects(),
            entries=[*_hubspot_calls(hubspot, portals), *_salesforce_tasks(salesforce, orgs)],
            people=_hubspot_contacts(hubspot, portals) + _salesforce_people(salesforce, orgs),
            recognitions=recognitions_of(self._state("SPEECH_ADMIN_URL")),
            model_answers=sum(tenant["answers"] for tenant in answered),
            announced=announcements(self._env),
        )

    def _select(self, name: str) -> list[list[Any]]:
        found = []
        for tenant in self._tenants:
            params, types = {"tenant_id": tenant.tenant_id}, {"tenant_id": param_types.STRING}
            rows = read_rows(self._open, query("audit", name), params, types, what=name)
            found += [[tenant.tenant_id, *row] for row in rows]
        return found

    def _state(self, variable: str) -> dict[str, Any]:
        return self._get(f"{self._env[variable]}/_standin/state")

    def _get(self, url: str, **params: str) -> dict[str, Any]:
        answer = httpx.get(url, params=params, timeout=_TIMEOUT_S, trust_env=False)
        document: dict[str, Any] = answer.raise_for_status().json()
        return document


def recognitions_of(state: Mapping[str, Any]) -> list[Recognition]:
    """Every operation in the Speech stand-in's state."""
    return [
        Recognition(
            call_id=one["audio_uris"][0].rpartition("/")[2].partition(".")[0],
            usable=bool(one["readable_uris"]),
            billed_s=one["billed_s"],
            request_id=one["output_prefix"].rstrip("/").rpartition("/")[2],
        )
        for one in state["operations"]
    ]


Entries = list[tuple[Key, CrmEntry]]


def _hubspot_calls(state: Mapping[str, Any], owners: Mapping[str, str]) -> Entries:
    return [
        (
            (owners.get(item["portal"], item["portal"]), "hubspot", item["properties"].get(HUBSPOT_CALL_KEY, "")),
            CrmEntry(json.dumps(item["properties"]), has_person=bool(item["associations"]["contacts"])),
        )
        for item in state["calls"]
    ]


def _hubspot_contacts(state: Mapping[str, Any], owners: Mapping[str, str]) -> Counter[Key]:
    return Counter(
        (owners.get(item["portal"], item["portal"]), "hubspot", item["properties"].get("phone", ""))
        for item in state["contacts"]
    )


def _salesforce_tasks(state: Mapping[str, Any], owners: Mapping[str, str]) -> Entries:
    return [
        (
            (owners.get(key, key), "salesforce", str(task.get(SALESFORCE_CALL_KEY) or "")),
            CrmEntry(json.dumps(task), has_person=bool(task.get("WhoId"))),
        )
        for key, org in state["orgs"].items()
        for task in org["tasks"]
    ]


def _salesforce_people(state: Mapping[str, Any], owners: Mapping[str, str]) -> Counter[Key]:
    return Counter(
        (owners.get(key, key), "salesforce", str(person.get("Phone") or ""))
        for key, org in state["orgs"].items()
        for person in (*org["leads"], *org["contacts"])
    )
