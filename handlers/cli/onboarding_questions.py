"""Asks a person for what an onboarding file would say. Secrets are typed unseen and never shown again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from handlers.cli.onboarding_file import SIGNING_KEY, Source, assemble
from shared.errors import ConfigurationError
from shared.onboarding import Application

_SOURCE = "your answers"


def ask(tenant_id: str) -> Application:
    """Question by question; an empty answer to an optional one leaves it out. Raises `ConfigurationError`."""
    document: dict[str, Any] = {"tenant_id": tenant_id, "name": _text("Customer's name")}
    config: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    document["config"] = config
    companies = _text("CallRail company ids, separated by commas (COM…)")
    config["callrail_company_ids"] = [part.strip() for part in companies.split(",") if part.strip()]
    account = _text("CallRail account id (ACC…; empty: none)", optional=True)
    if account:
        config["callrail_account_id"] = account
    _take(sources, "callrail_api_key", "CallRail API key (empty: none)")
    _ask_signing_key(sources, has_api=bool(account) and "callrail_api_key" in sources)
    _take(sources, "hubspot_token", "HubSpot service key or private-app token (empty: no HubSpot)")
    _ask_salesforce(config, sources)
    config["ai_config"] = {
        "lead_scoring_threshold": typer.prompt("A good lead scores at least", default=70, type=int, err=True)
    }
    return assemble(document, sources, source=_SOURCE, tenant_id=tenant_id)


def _ask_signing_key(sources: dict[str, Source], *, has_api: bool) -> None:
    if not has_api:
        _take(sources, SIGNING_KEY, "Signing key of the company's webhooks", optional=False)
        return
    _take(sources, SIGNING_KEY, "Signing key of the company's webhooks (empty: ask CallRail for it)")
    sources.setdefault(SIGNING_KEY, Source(is_callrail=True))


def _ask_salesforce(config: dict[str, Any], sources: dict[str, Source]) -> None:
    flow = _text("Salesforce: none, client_credentials or jwt_bearer", default="none")
    if flow == "none":
        return
    if flow not in {"client_credentials", "jwt_bearer"}:
        raise ConfigurationError(
            "bad_onboarding_file", f"{flow!r} is no way to log in to Salesforce", fix="client_credentials or jwt_bearer"
        )
    credentials = {"flow": flow, "consumer_key": _text("Consumer key")}
    if flow == "client_credentials":
        credentials["domain"] = _text("My Domain (acme.my)")
        credentials["consumer_secret"] = _hidden("Consumer secret")
    else:
        credentials["username"] = _text("Integration user's name")
        credentials["private_key_pem"] = _key_file(_text("File with the private key (PEM)"))
    sources["salesforce_credentials"] = Source(json.dumps(credentials))
    person = _text("New callers become: lead or contact", default="lead")
    config["crm_config"] = {"salesforce": {"person_type": person}}


def _key_file(path: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError("unreadable_file", f"cannot read {path}", fix="give the PEM file's path") from error


def _take(sources: dict[str, Source], role: str, question: str, *, optional: bool = True) -> None:
    value = _hidden(question, optional=optional)
    if value:
        sources[role] = Source(value)


def _text(question: str, *, optional: bool = False, default: str | None = None) -> str:
    given = "" if optional else default
    return str(typer.prompt(question, default=given, show_default=bool(given), err=True)).strip()


def _hidden(question: str, *, optional: bool = False) -> str:
    options: Mapping[str, Any] = {"default": "", "show_default": False} if optional else {}
    return str(typer.prompt(question, hide_input=True, err=True, **options)).strip()
