"""Companies and their *Webhooks* integrations in the CallRail stand-in (callrail.md §4.1, §4.7).

`PUT /_standin/companies` with `account_id`, `company_id`, `name`, and what the integration holds: `signing_key`, `urls`
(configuration key to list of addresses), `state`. `api_key` adds a key, `is_restricted` makes it no administrator's.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any

from flask import Flask, Response, abort, jsonify, request

from infra.local.standins.callrail_store import CallRailStore, Company

Wrapper = Callable[[str], Callable[[Callable[..., Any]], Callable[..., Any]]]


def add_companies(app: Flask, store: CallRailStore, api: Wrapper, *, key_of_request: Callable[[], str]) -> None:
    """`api` wraps a view with what the API checks first: key, budget, faults."""

    def forbid_restricted() -> None:
        if key_of_request() in store.restricted_keys:
            abort(403)

    @app.get("/v3/a/<account_id>/companies/<company_id>.json")
    @api("companies.get")
    def get_company(account_id: str, company_id: str) -> Response:
        company = store.companies.get((account_id, company_id)) or abort(404)
        return jsonify(company.as_json())

    @app.get("/v3/a/<account_id>/integrations.json")
    @api("integrations.list")
    def list_integrations(account_id: str) -> Response:
        forbid_restricted()
        company_id = request.args.get("company_id") or abort(400)
        company = store.companies.get((account_id, company_id)) or abort(404)
        found = [company.integration()] if company.integration_id else []
        return jsonify(page=1, per_page=100, total_pages=1, total_records=len(found), integrations=found)

    @app.get("/v3/a/<account_id>/integrations/<integration_id>.json")
    @api("integrations.get")
    def get_integration(account_id: str, integration_id: str) -> Response:
        forbid_restricted()
        company = store.integration(account_id, integration_id) or abort(404)
        asked_for = request.args.get("fields", "").split(",")
        key = {"signing_key": company.signing_key} if "signing_key" in asked_for else {}
        return jsonify({**company.integration(), **key})


def add_companies_admin(app: Flask, store: CallRailStore) -> None:
    @app.put("/_standin/companies")
    def put_company() -> tuple[str, int]:
        document = request.get_json()
        key = document.get("signing_key", "")
        company = Company(
            company_id=str(document["company_id"]),
            name=str(document.get("name", "A company")),
            status=str(document.get("status", "active")),
            integration_id=str(secrets.randbelow(10**9)) if key else "",
            signing_key=key,
            state=str(document.get("state", "active")),
            urls=document.get("urls", {}),
        )
        store.put_company(str(document["account_id"]), company)
        if "api_key" in document:
            store.add_key(str(document["api_key"]), is_restricted=bool(document.get("is_restricted")))
        return "", 204
