"""The tenant file: the guide's shape and ours, literal secrets, and every mistake in one go."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from handlers.cli.tenant_document import CURRENT_MODELS, TenantDocument, read_document
from schemas.tenant import AiConfig, RecordingConfig, TenantConfig
from shared.errors import ConfigurationError
from shared.gateways.salesforce_auth import parse_credentials

SECRET = "a-signing-key-of-callrail"
GUIDE: dict[str, Any] = {
    "callrail_company_id": "12345",
    "webhook_secret": "demo_webhook_secret_change_in_prod",
    "crm_config": {"hubspot_api_key_secret": "hubspot-api-key", "hubspot_portal_id": "12345678"},
    "ai_config": {"lead_scoring_threshold": 70, "analysis_model": "gemini-pro"},
}


def guide(**changes: Any) -> dict[str, Any]:
    """The production guide's configuration with a model that still exists."""
    document = {**GUIDE, "ai_config": {"lead_scoring_threshold": 70, "analysis_model": CURRENT_MODELS[0]}}
    return {key: value for key, value in {**document, **changes}.items() if value is not None}


def read(document: Any, tenant_id: str | None = "demo-tenant-001", name: str | None = None) -> TenantDocument:
    return read_document(json.dumps(document), source="tenant.json", tenant_id=tenant_id, name=name)


def mistakes(document: Any, tenant_id: str | None = "demo-tenant-001") -> list[str]:
    """The lines of the message, without its heading."""
    with pytest.raises(ConfigurationError) as caught:
        read(document, tenant_id)
    return [line.strip() for line in caught.value.detail.splitlines()[1:]]


def test_the_guides_configuration_becomes_a_tenant() -> None:
    tenant = read(guide(), name="Demo Company LLC").tenant

    assert (tenant.tenant_id, tenant.name, tenant.status) == ("demo-tenant-001", "Demo Company LLC", "active")
    assert tenant.config.callrail_company_ids == ("12345",)
    assert tenant.config.crm_config.providers == ("hubspot",)
    assert tenant.config.ai_config.lead_scoring_threshold == 70


def test_a_literal_secret_leaves_the_tenant_and_keeps_its_name() -> None:
    document = read(guide(webhook_secret=SECRET))

    assert document.new_secrets == {"demo-tenant-001-webhook-secret": SECRET}
    assert document.tenant.config.webhook_secret_names == ("demo-tenant-001-webhook-secret",)
    assert SECRET not in repr(document)
    assert SECRET not in document.tenant.model_dump_json()


def test_the_guides_own_secret_is_recognised_as_published() -> None:
    assert read(guide()).has_published_secret
    assert not read(guide(webhook_secret=SECRET)).has_published_secret


def test_a_secret_given_by_name_is_not_written() -> None:
    document = read(guide(webhook_secret=None, webhook_secret_name="acme-key"))

    assert document.new_secrets == {}
    assert document.tenant.config.webhook_secret_names == ("acme-key",)


def test_id_and_name_may_stand_in_the_file_and_the_command_line_wins() -> None:
    beside = {**guide(), "tenant_id": "from-file", "name": "From File"}
    wrapped = {"tenant_id": "from-file", "name": "From File", "config": guide()}

    for document in (beside, wrapped):
        assert read(document, tenant_id=None).tenant.name == "From File"
        assert read(document, tenant_id="from-flag").tenant.tenant_id == "from-flag"
    assert read(guide()).tenant.name == "demo-tenant-001"


def test_the_guides_retired_model_is_refused_with_what_to_use() -> None:
    assert mistakes(GUIDE) == [
        "ai_config.analysis_model: gemini-pro has been retired by Google; "
        "use gemini-3.5-flash-lite or gemini-3.8-flash, or leave it out for the default"
    ]


@pytest.mark.parametrize(
    "model",
    ["gemini-pro-vision", "gemini-1.0-pro", "gemini-1.5-flash-002", "gemini-2.0-flash", "gemini-2.5-pro", "text-bison"],
)
def test_other_retired_models_are_refused_too(model: str) -> None:
    assert "has been retired" in mistakes(guide(ai_config={"analysis_model": model}))[0]


@pytest.mark.parametrize("model", [*CURRENT_MODELS, "gemini-4-argon", ""])
def test_current_models_are_accepted(model: str) -> None:
    assert read(guide(ai_config={"analysis_model": model})).tenant.config.ai_config.analysis_model == model


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"callrail_company_id": None}, "callrail_company_ids: is missing; use CallRail's company id"),
        ({"callrail_company_id": "acme"}, "callrail_company_id[0]: has the wrong form; use CallRail's company id"),
        ({"callrail_company_ids": ["1"]}, "given twice under two names; keep one of them"),
        ({"webhook_secret": None}, "webhook_secret_names: is missing; give webhook_secret"),
        ({"webhook_secret": "short"}, "webhook_secret: must be a text of at least 16 characters; copy the signing key"),
        ({"webhook_secret": 5}, "webhook_secret: must be a text of at least 16 characters"),
        ({"webhook_secret_name": "other"}, "webhook_secret: given beside webhook_secret_name; keep one"),
        ({"webhook_token": "guessable"}, "webhook_token: has the wrong form; use 22 to 64 letters"),
        ({"signature_scheme": "none"}, "signature_scheme: must be one of 'callrail' or 'forwarder'"),
        (
            {"crm_config": {"hubspot_portal_id": "1"}},
            "crm_config.hubspot_portal_id: is not a known field; it needs hubspot_api_key",
        ),
        (
            {"crm_config": {"hubspot_api_key_secret": "pat na1!"}},
            "crm_config.hubspot_api_key_secret: this must be the name of a Secret Manager secret",
        ),
        ({"crm_config": {"hubspot": {}}}, "crm_config.hubspot.token_secret: is missing"),
        ({"ai_config": {"lead_scoring_threshold": 101}}, "ai_config.lead_scoring_threshold: must be at most 100"),
        ({"ai_config": {"lead_scoring_threshold": -1}}, "ai_config.lead_scoring_threshold: must be at least 0"),
        ({"ai_config": {"lead_scoring_treshold": 5}}, "is not a known field; did you mean lead_scoring_threshold?"),
        (
            {"ai_config": {"analysis_model": "gpt-4"}},
            "ai_config.analysis_model: this is not a Gemini model; use gemini-3.5",
        ),
        ({"ai_config": 7}, "ai_config: "),
        ({"recordings": {"wait_deadline_s": 90000}}, "recordings.wait_deadline_s: must be at most 86400"),
        ({"callrial_company": 1}, "callrial_company: is not a known field"),
    ],
)
def test_a_mistake_gets_its_own_line(changes: dict[str, Any], line: str) -> None:
    found = mistakes(guide(**changes))

    assert any(line in item for item in found), found


def test_all_mistakes_come_at_once() -> None:
    found = mistakes(
        {
            "callrail_company_id": "?",
            "webhook_secret": "short",
            "ai_config": {"lead_scoring_threshold": 500, "analysis_model": "gemini-pro"},
            "recording": {},
        },
        tenant_id="No Good",
    )

    assert [line.split(":")[0] for line in found] == [
        "ai_config.analysis_model",
        "ai_config.lead_scoring_threshold",
        "callrail_company_id[0]",
        "recording",
        "tenant_id",
        "webhook_secret",
    ]


def test_no_message_repeats_a_value_that_could_be_a_secret() -> None:
    leaked = "pat-na1-THIS IS A TOKEN"
    found = mistakes(
        guide(
            webhook_secret=None,
            webhook_secret_name=leaked,
            callrail_api_key_secret=leaked,
            webhook_token=leaked,
            crm_config={"hubspot_api_key_secret": leaked, "hubspot_portal_id": leaked},
        )
    )

    assert len(found) == 5
    assert leaked not in "\n".join(found)


def test_a_missing_tenant_id_says_how_to_give_it() -> None:
    assert any(line.startswith("tenant_id: is missing; give it with --tenant-id") for line in mistakes(guide(), None))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ('{"a": 1,}', "line 1, column 9: not JSON"),
        ("", "line 1, column 1: not JSON"),
        ("[1]", "must hold one JSON object"),
        ('{"config": 3}', "config: must be a JSON object"),
        ('{"name": "a", "name": "b"}', "name: given twice in one object"),
    ],
)
def test_a_file_that_is_no_document_is_explained(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read_document(text, source="tenant.json")

    assert complaint in caught.value.detail
    assert "tenant.json" in caught.value.detail


def test_a_byte_order_mark_does_no_harm() -> None:
    text = "\ufeff" + json.dumps(guide())

    assert read_document(text, source="tenant.json", tenant_id="demo-tenant-001").tenant.status == "active"


def test_the_documentation_names_every_field() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api" / "tenant-configuration.md").read_text()
    for model in (TenantConfig, AiConfig, RecordingConfig):
        for field in model.model_fields:
            assert f"`{field}`" in page, field


def test_the_documented_salesforce_secrets_are_what_the_gateway_reads() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api" / "tenant-configuration.md").read_text()
    blocks = [block.split("```")[0] for block in page.split("```json\n")[1:]]
    secrets = [block for block in blocks if '"flow"' in block]

    assert [type(parse_credentials(block, secret_name="example")).__name__ for block in secrets] == [
        "ClientCredentials",
        "JwtBearer",
    ]


def test_the_documentations_examples_are_valid() -> None:
    page = (Path(__file__).parents[2] / "docs" / "api" / "tenant-configuration.md").read_text()
    examples = [block.split("```")[0] for block in page.split("```json\n")[1:]]
    tenants = [json.loads(example) for example in examples if "callrail_company_id" in example]

    assert len(tenants) >= 2
    for example in tenants:
        assert read(example).tenant.tenant_id == "demo-tenant-001"
