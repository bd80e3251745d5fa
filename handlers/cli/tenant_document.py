"""Reads a tenant's JSON file, in the production guide's shape or ours, and reports every mistake at once.

Values are never repeated in a message: a mistake is often a secret in the wrong place.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError

from schemas.tenant import (
    TENANT_ID_PATTERN,
    AiConfig,
    CrmConfig,
    HubSpotConfig,
    RecordingConfig,
    SalesforceConfig,
    Tenant,
    TenantConfig,
)
from shared.errors import ConfigurationError

CURRENT_MODELS = ("gemini-3.5-flash-lite", "gemini-3.8-flash", "gemini-3.7-flash", "gemini-3.6-flash")
"""Generally available on Vertex AI in November 2026; the first is the deployment's default."""
_RETIRED_MODEL = re.compile(
    r"^(gemini-(pro|ultra)(-.*)?|gemini-(1|1\.0|1\.5|2\.0|2\.5)-.*|(text|chat|code|codechat)-(bison|unicorn).*)$"
)
MIN_SECRET_LENGTH = 16
PUBLISHED_SECRETS = frozenset({"demo_webhook_secret_change_in_prod"})
"""Signing keys that stand in public documents: with one of them anybody could sign a webhook."""

_TOP_FIELDS = ("tenant_id", "name", "status")
_SECRET_FIELDS = ("webhook_secret_names", "webhook_secret_name")
_FLAT_PATHS = {
    "crm_config.hubspot.token_secret": "crm_config.hubspot_api_key_secret",
    "crm_config.hubspot.portal_id": "crm_config.hubspot_portal_id",
    "crm_config.salesforce.credentials_secret": "crm_config.salesforce_credentials_secret",
}
_ADVICE = {
    "tenant_id": "give it with --tenant-id: 3 to 40 lower-case letters, digits and dashes",
    "callrail_company_id": "use CallRail's company id: COM followed by letters and digits, or the old number",
    "callrail_account_id": "use CallRail's account id: ACC followed by letters and digits, or the old number",
    "webhook_secret_names": "give webhook_secret (the signing key itself, it goes to Secret Manager) "
    "or webhook_secret_name (a secret that is there)",
    "webhook_token": "use 22 to 64 letters, digits, '-' and '_', such as the output of `openssl rand -hex 16`",
    "analysis_model": f"use {CURRENT_MODELS[0]} or {CURRENT_MODELS[1]}, or leave it out for the default",
    "hubspot_portal_id": "use the number in HubSpot's address bar, in quotes",
    "portal_id": "use the number in HubSpot's address bar, in quotes",
}
_DOCUMENTED = "the fields are listed in docs/api/tenant-configuration.md"


@dataclass(frozen=True)
class TenantDocument:
    """A valid file. `new_secrets` (name → value) were given literally and go to Secret Manager, not into the tenant."""

    tenant: Tenant
    new_secrets: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def has_published_secret(self) -> bool:
        return not PUBLISHED_SECRETS.isdisjoint(self.new_secrets.values())


def read_document(text: str, *, source: str, tenant_id: str | None = None, name: str | None = None) -> TenantDocument:
    """Parse and check. `tenant_id` and `name` win over the file's; without any name, the id is the name.

    Raises `ConfigurationError` with one line for every mistake: path, what is wrong, what to do.
    """
    document = load_json_object(text, source)
    wrapped = "config" in document
    config = document.pop("config") if wrapped else {k: v for k, v in document.items() if k not in _TOP_FIELDS}
    top = document if wrapped else {k: v for k, v in document.items() if k in _TOP_FIELDS}
    if not isinstance(config, dict):
        raise _mistakes(source, ["config: must be a JSON object"])
    top["tenant_id"] = tenant_id or top.get("tenant_id")
    top["name"] = name or top.get("name") or top["tenant_id"]
    if top["tenant_id"] is None:
        del top["tenant_id"], top["name"]

    config, new_secrets, mistakes = _take_secret(config, _secret_name(top.get("tenant_id")))
    mistakes += _model_mistakes(config)
    try:
        tenant = Tenant.model_validate({**top, "config": config})
    except ValidationError as error:
        mistakes += _lines(error, config)
    if mistakes:
        raise _mistakes(source, sorted(set(mistakes)))
    return TenantDocument(tenant, new_secrets)


def load_json_object(text: str, source: str) -> dict[str, Any]:
    """The file's JSON object. Raises `ConfigurationError` naming line and column, or a name that stands twice."""
    repeated: list[str] = []

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        names = [key for key, _ in items]
        repeated.extend(sorted({key for key in names if names.count(key) > 1}))
        return dict(items)

    try:
        document = json.loads(text.removeprefix("\ufeff"), object_pairs_hook=pairs)
    except json.JSONDecodeError as error:
        raise _mistakes(source, [f"line {error.lineno}, column {error.colno}: not JSON ({error.msg})"]) from None
    except (ValueError, RecursionError):
        raise _mistakes(
            source, ["not JSON that can be read: nested too deeply, or a number of thousands of digits"]
        ) from None
    if not isinstance(document, dict):
        raise _mistakes(source, ["the file must hold one JSON object"])
    if repeated:
        raise _mistakes(source, [f"{key}: given twice in one object; keep one" for key in repeated])
    return document


def _secret_name(tenant_id: Any) -> str:
    """`<tenant id>-webhook-secret`; an id that is a mistake itself must not cause a second one here."""
    sound = isinstance(tenant_id, str) and TENANT_ID_PATTERN.fullmatch(tenant_id)
    return f"{tenant_id if sound else 'tenant'}-webhook-secret"


def _take_secret(config: dict[str, Any], secret_name: str) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    """Replace a literal `webhook_secret` by the name under which it will be stored."""
    if "webhook_secret" not in config:
        return config, {}, []
    rest = {key: value for key, value in config.items() if key not in ("webhook_secret", *_SECRET_FIELDS)}
    rest["webhook_secret_names"] = [secret_name]
    mistakes = [
        f"webhook_secret: given beside {other}; keep one of them" for other in _SECRET_FIELDS if other in config
    ]
    value = config["webhook_secret"]
    if not isinstance(value, str) or len(value.strip()) < MIN_SECRET_LENGTH:
        mistakes.append(
            f"webhook_secret: must be a text of at least {MIN_SECRET_LENGTH} characters; "
            "copy the signing key from CallRail's webhook settings"
        )
        return rest, {}, mistakes
    return rest, {secret_name: value.strip()}, mistakes


def _model_mistakes(config: Mapping[str, Any]) -> list[str]:
    ai_config = config.get("ai_config")
    model = ai_config.get("analysis_model") if isinstance(ai_config, dict) else None
    if not isinstance(model, str) or not model:
        return []
    if _RETIRED_MODEL.match(model):
        return [f"ai_config.analysis_model: {model} has been retired by Google; {_ADVICE['analysis_model']}"]
    if not model.startswith("gemini-"):
        return [f"ai_config.analysis_model: this is not a Gemini model; {_ADVICE['analysis_model']}"]
    return []


def _lines(error: ValidationError, config: Mapping[str, Any]) -> list[str]:
    """Pydantic's errors in the words of the file's author."""
    items = error.errors(include_input=False, include_url=False)
    places = [item["loc"] for item in items]
    # A list whose only entry is wrong is reported as too short as well.
    own = [item for item in items if not any(place[:-1] == item["loc"] for place in places)]
    return [_line(item, _path(item["loc"], config)) for item in own]


def _line(item: Any, path: str) -> str:
    if item["type"] == "value_error":  # our own validators say what is wanted
        return f"{path}: {str(item['msg']).removeprefix('Value error, ')}"
    return f"{path}: {_what(item, path)}; {_advice(item, path)}"


def _path(loc: tuple[int | str, ...], config: Mapping[str, Any]) -> str:
    parts = loc[1:] if loc[:1] == ("config",) and len(loc) > 1 else loc
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts).lstrip(".")
    crm = config.get("crm_config")
    flat = _FLAT_PATHS.get(path)
    return flat if flat and isinstance(crm, dict) and flat.rpartition(".")[2] in crm else path


def _what(item: Any, path: str) -> str:
    context = item.get("ctx", {})
    kind = item["type"]
    if kind == "missing":
        return "is missing"
    if kind == "extra_forbidden":
        return "is given twice under two names" if _field(path) in _twins() else "is not a known field"
    if kind == "string_pattern_mismatch":
        return "has the wrong form"
    if kind == "literal_error":
        return f"must be one of {context['expected']}"
    if kind in {"greater_than_equal", "less_than_equal"}:
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        return f"must be {bound}"
    if kind == "too_short":
        return "must not be empty"
    message = str(item["msg"])
    return message[:1].lower() + message[1:]


def _advice(item: Any, path: str) -> str:
    name = _field(path)
    if item["type"] == "extra_forbidden":
        if name == "hubspot_portal_id":
            return "it needs hubspot_api_key_secret beside it"
        if name in _twins():
            return "keep one of them"
        close = difflib.get_close_matches(name, _known_fields(), n=1, cutoff=0.75)
        return f"did you mean {close[0]}?" if close else _DOCUMENTED
    return _ADVICE.get(name) or _ADVICE.get(name.removesuffix("s")) or _DOCUMENTED


def _field(path: str) -> str:
    return re.sub(r"\[\d+\]", "", path).rpartition(".")[2]


def _twins() -> frozenset[str]:
    """Fields with a singular and a plural name; the schema reads one and finds the other too much."""
    return frozenset({"callrail_company_id", "callrail_company_ids", *_SECRET_FIELDS})


def _known_fields() -> list[str]:
    models = (TenantConfig, CrmConfig, HubSpotConfig, SalesforceConfig, AiConfig, RecordingConfig)
    names = {name for model in models for name in model.model_fields}
    flat = {path.rpartition(".")[2] for path in _FLAT_PATHS.values()}
    return sorted(names | flat | _twins() | {"webhook_secret"})


def _mistakes(source: str, lines: list[str]) -> ConfigurationError:
    count = "one mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return ConfigurationError(
        "bad_tenant_file",
        f"{source} has {count}:\n" + "\n".join(f"  {line}" for line in lines),
        fix="correct the file and run the command again; nothing was written",
    )
