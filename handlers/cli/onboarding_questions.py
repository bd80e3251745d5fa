"""Asks a person for what an onboarding file would say. Secrets are typed unseen and never shown again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from handlers.cli.onboarding_file import SIGNING_KEY, Source, assemble
from schemas.tenant import check_tenant_id
from shared.errors import ConfigurationError
from shared.onboarding import Application

_SOURCE = "your answers"
_COMPANIES = re.compile(r"(COM[0-9A-Za-z]{1,61}|[0-9]{1,20})(,(COM[0-9A-Za-z]{1,61}|[0-9]{1,20}))*")
_ACCOUNT = re.compile(r"(ACC[0-9A-Za-z]{1,61}|[0-9]{1,20})?")


def ask_id() -> str:
    """The new tenant's id."""

    def check(answer: str) -> str:
        try:
            return check_tenant_id(answer.strip())
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return str(typer.prompt("Tenant's id (letters a-z, digits, dashes)", value_proc=check, err=True))


def ask(tenant_id: str) -> Application:
    """Question by question; an empty answer to an optional one leaves it out. Raises `ConfigurationError`."""
    document: dict[str, Any] = {"tenant_id": tenant_id, "name": _text("Customer's name")}
    config: dict[str, Any] = {}
    sources: dict[str, Source] = {}
    document["config"] = config
    config["callrail_company_ids"] = _formed("CallRail company ids, separated by commas (COM…)", _COMPANIES).split(",")
    account = _formed("CallRail account id (ACC…; empty: none)", _ACCOUNT, default="")
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


def _formed(question: str, form: re.Pattern[str], *, default: str | None = None) -> str:
    """Asked again until the answer has its form: a slip here would cost all the other answers."""

    def check(answer: str) -> str:
        text = "".join(answer.split())
        if not form.fullmatch(text):
            raise typer.BadParameter("that has another form; copy it from CallRail")
        return text

    return str(typer.prompt(question, default=default, show_default=False, value_proc=check, err=True))


def _hidden(question: str, *, optional: bool = False) -> str:
    options: Mapping[str, Any] = {"default": "", "show_default": False} if optional else {}
    return str(typer.prompt(question, hide_input=True, err=True, **options)).strip()
