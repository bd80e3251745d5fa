"""What a call became: the pipeline's record of it, and the records that the CRMs now hold, read back from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from infra.local.demo.watch import CallView
from schemas.calls import CallRecord, CrmRecord
from shared.gateways.calls import SpannerCalls
from shared.gateways.http import tls_context

_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class CallResult:
    """One call of the demo, ready to be shown or printed as JSON."""

    view: CallView
    record: CallRecord | None
    crm: Mapping[str, Mapping[str, Any]]

    def document(self) -> dict[str, Any]:
        """The JSON form that docs/operations/demo.md describes."""
        record = self.record
        turns = record.transcript.turns if record and record.transcript else ()
        return {
            "call_id": self.view.posted.call.call_id,
            "title": self.view.posted.call.title,
            "request_id": self.view.posted.request_id,
            "status": self.view.status,
            "transcript": [turn.model_dump() for turn in turns],
            "analysis": record.analysis.model_dump(mode="json") if record and record.analysis else None,
            "crm": self.crm,
            "timings_s": self.view.timings_s(),
            "problems": {name: stage.problem for name, stage in self.view.stages.items() if stage.problem},
        }


def collect(calls: SpannerCalls, tenant_id: str, views: Sequence[CallView], env: Mapping[str, str]) -> list[CallResult]:
    """Read everything back, from the database and from the CRMs' stand-ins."""
    hubspot = _state(env["HUBSPOT_URL"])
    salesforce = _state(env["SALESFORCE_URL"])
    results = []
    for view in views:
        record = calls.get(tenant_id, view.posted.call.call_id)
        crm: dict[str, Any] = {one.provider: _held(one, hubspot, salesforce) for one in (record.crm if record else ())}
        results.append(CallResult(view, record, crm))
    return results


def _state(url: str) -> dict[str, Any]:
    answer = httpx.get(f"{url}/_standin/state", timeout=_TIMEOUT_S, trust_env=False, verify=tls_context())
    answer.raise_for_status()
    document: dict[str, Any] = answer.json()
    return document


def _held(record: CrmRecord, hubspot: Mapping[str, Any], salesforce: Mapping[str, Any]) -> dict[str, Any]:
    if record.provider == "hubspot":
        return {
            "call": _by_id(hubspot["calls"], record.activity_id),
            "contact": _by_id(hubspot["contacts"], record.person_id),
        }
    people = _all(salesforce, "leads") + _all(salesforce, "contacts")
    return {"task": _by_id(_all(salesforce, "tasks"), record.activity_id), "person": _by_id(people, record.person_id)}


def _all(state: Mapping[str, Any], kind: str) -> list[dict[str, Any]]:
    """Salesforce's stand-in keeps its records by org."""
    return [item for org in state["orgs"].values() for item in org.get(kind, [])]


def _by_id(items: Sequence[Mapping[str, Any]], record_id: str) -> dict[str, Any] | None:
    return next(
        (dict(item) for item in items if record_id and str(item.get("id") or item.get("Id")) == record_id), None
    )
