"""An onboarding file says where secrets are; names are made, mistakes are listed, and no secret is ever repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.cli.onboarding_file import Places, read_application
from shared.errors import ConfigurationError, TenantBlocked
from shared.onboarding import Application

KEY = "51e2d3c4b5a69788796a5b4c00000001"
TOKEN = "pat-na1-0123456789abcdef"
CONFIG = {"callrail_company_ids": ["COM1"]}


def read_version(name: str, version: str) -> str:
    if name != "shared-token":
        raise TenantBlocked("secret_missing", f"secret {name} does not exist or has no version")
    return f"{TOKEN}-{version}"


def read(folder: Path, *, tenant_id: str | None = None, **document: Any) -> Application:
    document = {"tenant_id": "acme", "name": "Acme", "config": CONFIG, **document}
    places = Places(folder, {"ACME_KEY": KEY, "EMPTY": " "}, read_version)
    return read_application(json.dumps(document), source="acme.json", places=places, tenant_id=tenant_id)


def sources(**changes: Any) -> dict[str, Any]:
    return {"webhook_signing_key": {"env": "ACME_KEY"}, **changes}


def test_secrets_come_from_files_the_environment_and_versions_under_names_of_the_tenant(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")

    application = read(
        tmp_path,
        secrets=sources(
            callrail_api_key={"secret_version": "projects/p/secrets/shared-token/versions/3"},
            hubspot_token={"file": "token"},
        ),
    )

    assert application.secret_values == {
        "acme-webhook-secret": KEY,
        "acme-callrail-api-key": f"{TOKEN}-3",
        "acme-hubspot-token": TOKEN,
    }
    config = application.tenant.config
    assert config.webhook_secret_names == ("acme-webhook-secret",)
    assert config.callrail_api_key_secret == "acme-callrail-api-key"
    assert config.crm_config.providers == ("hubspot",)
    assert [value for value in (KEY, TOKEN) if value in repr(application)] == []


def test_names_that_the_configuration_gives_win_also_in_the_guides_form(tmp_path: Path) -> None:
    crm = {"hubspot_api_key_secret": "hubspot-api-key", "hubspot_portal_id": "123"}
    config = {**CONFIG, "webhook_secret_name": "our-key", "crm_config": crm}

    application = read(tmp_path, config=config, secrets=sources(hubspot_token={"env": "ACME_KEY"}))

    assert set(application.secret_values) == {"our-key", "hubspot-api-key"}
    hubspot = application.tenant.config.crm_config.hubspot
    assert hubspot is not None
    assert (hubspot.token_secret, hubspot.portal_id) == ("hubspot-api-key", "123")


def test_a_secret_that_is_there_already_is_named_and_not_copied(tmp_path: Path) -> None:
    application = read(tmp_path, secrets=sources(hubspot_token={"secret": "agency-token"}))

    assert set(application.secret_values) == {"acme-webhook-secret"}
    hubspot = application.tenant.config.crm_config.hubspot
    assert hubspot is not None
    assert hubspot.token_secret == "agency-token"


def test_the_command_lines_id_wins_and_names_the_secrets(tmp_path: Path) -> None:
    application = read(tmp_path, tenant_id="acme-east", secrets=sources())

    assert application.tenant.tenant_id == "acme-east"
    assert set(application.secret_values) == {"acme-east-webhook-secret"}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"secrets": sources(hubspot_token=TOKEN)}, "secrets.hubspot_token: say where the secret is, never what it is"),
        ({"secrets": sources(hubspot_token={"value": TOKEN})}, "secrets.hubspot_token: is of no known kind"),
        ({"secrets": sources(hubspot_token={"callrail": True})}, "secrets.hubspot_token: say where"),
        ({"secrets": sources(token={"env": "X"})}, "secrets.token: is none of webhook_signing_key"),
        ({"secrets": sources(hubspot_token={"file": "nowhere"})}, "nowhere: No such file"),
        ({"secrets": sources(hubspot_token={"env": "EMPTY"})}, "the environment variable EMPTY is empty or not set"),
        ({"secrets": sources(hubspot_token={"secret_version": "x"})}, "write a version as NAME/versions/N"),
        ({"secrets": sources(hubspot_token={"secret_version": "x/versions/1"})}, "secret x does not exist"),
        ({"secrets": {"webhook_signing_key": {"file": "short"}}}, "is shorter than 16 characters or published"),
        ({"config": {**CONFIG, "webhook_secret": KEY}}, "webhook_secret: the key itself must not stand here"),
        ({"secrets": [], "config": CONFIG}, "secrets: must be an object"),
        ({"config": {"callrail_companyid": "COM1"}, "secrets": sources()}, "did you mean callrail_company_id"),
    ],
)
def test_mistakes_are_named_and_secrets_are_not_repeated(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    (tmp_path / "short").write_text("too-short")

    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, **changes)

    assert said in caught.value.detail
    assert [value for value in (KEY, TOKEN, "too-short") if value in str(caught.value)] == []
