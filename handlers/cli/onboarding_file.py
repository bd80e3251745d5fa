"""Reads an onboarding file: a tenant's configuration, and where its secrets are; they never stand in it themselves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from handlers.cli.tenant_document import MIN_SECRET_LENGTH, PUBLISHED_SECRETS, load_json_object, read_document
from shared.errors import ConfigurationError, PipelineError
from shared.onboarding import SECRET_SUFFIXES, Application

SIGNING_KEY = "webhook_signing_key"
SECRET_ROLES = tuple(SECRET_SUFFIXES)
_VERSION = re.compile(
    r"^(?:projects/[^/]+/secrets/)?(?P<name>[A-Za-z0-9_-]{1,200})/versions/(?P<version>latest|[0-9]+)$"
)
_FORMS = (
    '{"file": PATH}, {"env": NAME}, {"secret_version": "NAME/versions/N"} or {"secret": NAME}'
    f', and for {SIGNING_KEY} {{"callrail": true}}'
)
_MOST_BYTES = 65_536
"""What Secret Manager takes."""


@dataclass(frozen=True)
class Source:
    """Where one secret comes from: its value, a secret that is there already, or CallRail's API."""

    value: str = field(default="", repr=False)
    secret_name: str = ""
    is_callrail: bool = False


@dataclass(frozen=True)
class Places:
    """Where sources may lie: the folder of the file, the environment, Secret Manager's versions."""

    folder: Path
    environ: Mapping[str, str] = field(repr=False)
    read_version: Callable[[str, str], str]


def read_application(text: str, *, source: str, places: Places, tenant_id: str | None = None) -> Application:
    """The file's customer. Raises `ConfigurationError` with every mistake, never with a secret."""
    document = load_json_object(text, source)
    given = document.pop("secrets", {})
    if not isinstance(given, dict):
        raise _mistakes(source, ["secrets: must be an object of sources"])
    sources: dict[str, Source] = {}
    mistakes = []
    for role, place in given.items():
        try:
            sources[role] = _source(role, place, places)
        except ConfigurationError as error:
            mistakes.append(f"secrets.{role}: {error.detail}")
    inner = document.get("config")
    if "webhook_secret" in document or (isinstance(inner, dict) and "webhook_secret" in inner):
        mistakes.append(
            f"webhook_secret: the key itself must not stand here; say under secrets.{SIGNING_KEY} where it is"
        )
    if mistakes:
        raise _mistakes(source, sorted(mistakes))
    return assemble(document, sources, source=source, tenant_id=tenant_id)


def assemble(
    document: Mapping[str, Any], sources: Mapping[str, Source], *, source: str, tenant_id: str | None = None
) -> Application:
    """A configuration and its secrets' sources as an application: every secret gets its name, every name its value.

    Names that the configuration gives win; others are made of the tenant's id.
    """
    document = dict(document)
    is_wrapped = isinstance(document.get("config"), dict)
    config = dict(document["config"]) if is_wrapped else document
    owner = str(tenant_id or document.get("tenant_id") or "tenant")
    values: dict[str, str] = {}
    for role, place in sources.items():
        name = _put_name(config, role, place.secret_name or f"{owner}-{SECRET_SUFFIXES[role]}")
        if place.value:
            _check_length(role, place.value, source)
            values[name] = place.value
    if is_wrapped:
        document["config"] = config
    read = read_document(json.dumps(document), source=source, tenant_id=tenant_id)
    takes_key = SIGNING_KEY in sources and sources[SIGNING_KEY].is_callrail
    return Application(read.tenant, values, takes_key_from_callrail=takes_key)


def _put_name(config: dict[str, Any], role: str, name: str) -> str:
    """Write the secret's name where the configuration has none; the name that counts."""
    if role == SIGNING_KEY:
        named = config.get("webhook_secret_names", config.get("webhook_secret_name"))
        if named is None:
            config["webhook_secret_names"] = named = [name]
        return str(named[-1]) if isinstance(named, list) and named else str(named)
    if role == "callrail_api_key":
        return str(config.setdefault("callrail_api_key_secret", name))
    crm = config["crm_config"] = dict(config.get("crm_config") or {})
    provider, key = ("hubspot", "token_secret") if role == "hubspot_token" else ("salesforce", "credentials_secret")
    flat = "hubspot_api_key_secret" if provider == "hubspot" else "salesforce_credentials_secret"
    if flat in crm:
        return str(crm[flat])
    integration = crm[provider] = dict(crm.get(provider) or {})
    if provider == "hubspot" and "hubspot_portal_id" in crm:
        integration.setdefault("portal_id", str(crm.pop("hubspot_portal_id")))
    return str(integration.setdefault(key, name))


def _source(role: str, place: Any, places: Places) -> Source:
    """Raises `ConfigurationError`; its detail never repeats what stands there, which may be a secret."""
    if role not in SECRET_ROLES:
        raise ConfigurationError("bad_onboarding_file", f"is none of {', '.join(SECRET_ROLES)}")
    if not isinstance(place, dict) or len(place) != 1:
        raise ConfigurationError("bad_onboarding_file", f"say where the secret is, never what it is: {_FORMS}")
    ((kind, where),) = place.items()
    if kind == "callrail" and where is True and role == SIGNING_KEY:
        return Source(is_callrail=True)
    if not isinstance(where, str) or not where:
        raise ConfigurationError("bad_onboarding_file", f"say where the secret is: {_FORMS}")
    if kind == "file":
        return Source(_from_file(places.folder / where))
    if kind == "env":
        return Source(_stripped(places.environ.get(where, ""), f"the environment variable {where}"))
    if kind == "secret_version":
        return Source(_from_version(where, places))
    if kind == "secret":
        return Source(secret_name=where)
    raise ConfigurationError("bad_onboarding_file", f"is of no known kind: {_FORMS}")


def _from_file(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(_MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise ConfigurationError("bad_onboarding_file", f"cannot read {path}: {reason}") from None
    if len(data) > _MOST_BYTES:
        raise ConfigurationError("bad_onboarding_file", f"{path} is longer than any secret")
    return _stripped(text, str(path))


def _from_version(where: str, places: Places) -> str:
    match = _VERSION.match(where)
    if match is None:
        raise ConfigurationError("bad_onboarding_file", "write a version as NAME/versions/N")
    try:
        return places.read_version(match["name"], match["version"])
    except PipelineError as error:
        raise ConfigurationError("bad_onboarding_file", error.detail) from error


def _stripped(text: str, place: str) -> str:
    value = text.strip()
    if not value:
        raise ConfigurationError("bad_onboarding_file", f"{place} is empty or not set")
    return value


def _check_length(role: str, value: str, source: str) -> None:
    if role == SIGNING_KEY and (len(value) < MIN_SECRET_LENGTH or value in PUBLISHED_SECRETS):
        raise _mistakes(source, [f"secrets.{role}: is shorter than {MIN_SECRET_LENGTH} characters or published"])


def _mistakes(source: str, lines: list[str]) -> ConfigurationError:
    count = "one mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return ConfigurationError(
        "bad_onboarding_file",
        f"{source} has {count}:\n" + "\n".join(f"  {line}" for line in lines),
        fix="correct the file and run the command again; nothing was written",
    )
