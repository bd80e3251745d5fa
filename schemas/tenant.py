"""A tenant and its configuration, in the production guide's names; every mistake gets a clear message."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field, model_validator

from schemas.base import Contract
from schemas.calls import PROVIDERS, Provider
from schemas.redaction import RedactionKind

TENANT_ID_PATTERN = re.compile(r"^[a-z0-9](?:[a-z0-9-]{1,38}[a-z0-9])$")
SECRET_NAME_PATTERN = re.compile(r"^[A-Za-z0-9_-]{1,200}$")

TenantStatus = Literal["active", "suspended", "offboarded"]
SignatureScheme = Literal["callrail", "forwarder"]


def check_tenant_id(value: str) -> str:
    """A tenant id goes into object names and secret names, so its letters are few."""
    if not TENANT_ID_PATTERN.fullmatch(value):
        raise ValueError("use 3 to 40 lower-case letters, digits and dashes, not starting or ending with a dash")
    return value


def check_secret_name(value: str) -> str:
    if not SECRET_NAME_PATTERN.fullmatch(value):
        raise ValueError(
            "this must be the name of a Secret Manager secret (letters, digits, '-', '_'), never the secret itself"
        )
    return value


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


TenantId = Annotated[str, AfterValidator(check_tenant_id)]
SecretName = Annotated[str, AfterValidator(check_secret_name)]
CompanyId = Annotated[str, Field(pattern=r"^(COM[0-9A-Za-z]{1,61}|[0-9]{1,20})$")]


class HubSpotConfig(Contract):
    """A HubSpot account, reached with a static bearer token (service key or private-app token)."""

    token_secret: SecretName
    portal_id: str = Field(default="", pattern=r"^[0-9]{0,20}$")


class SalesforceConfig(Contract):
    """A Salesforce org. The secret is a JSON document: see `docs/api/tenant-configuration.md`."""

    credentials_secret: SecretName
    person_type: Literal["lead", "contact"] = "lead"
    """What to create when nobody with the caller's number is found."""


class CrmConfig(Contract):
    """The tenant's integrations; the guide's flat names are accepted too."""

    hubspot: HubSpotConfig | None = None
    salesforce: SalesforceConfig | None = None

    @model_validator(mode="before")
    @classmethod
    def _accept_flat_names(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        flat = dict(value)
        if "hubspot_api_key_secret" in flat:
            flat["hubspot"] = {
                "token_secret": flat.pop("hubspot_api_key_secret"),
                "portal_id": str(flat.pop("hubspot_portal_id", "")),
            }
        if "salesforce_credentials_secret" in flat:
            flat["salesforce"] = {"credentials_secret": flat.pop("salesforce_credentials_secret")}
        return flat

    @property
    def providers(self) -> tuple[Provider, ...]:
        return tuple(name for name in PROVIDERS if getattr(self, name))


class AiConfig(Contract):
    """How a tenant's calls are transcribed and judged."""

    lead_scoring_threshold: int = Field(default=70, ge=0, le=100)
    analysis_model: str = Field(default="", pattern=r"^[a-z0-9.\-]{0,80}$")
    """Gemini model id; empty means the deployment's default."""
    instructions: str = Field(default="", max_length=4000)
    """The tenant's own words on what a good lead is; added to the system instruction."""
    language_codes: tuple[str, ...] = Field(default=("en-US",), min_length=1, max_length=3)
    speech_model: str = Field(default="", pattern=r"^[a-z0-9_]{0,40}$")
    """Speech model; empty means the deployment's default."""


class RecordingConfig(Contract):
    """Where this tenant's recordings may come from and how long to wait for one."""

    allowed_hosts: tuple[str, ...] = ()
    """Added to CallRail's own hosts; exact host names, no wildcards."""
    wait_deadline_s: int = Field(default=3600, ge=0, le=86400)
    agent_channel: int = Field(default=1, ge=1, le=2)
    """On two-channel audio, the channel that carries the business (the other is the caller)."""


RETENTION_DAYS = 760
"""CallRail's own 25 months; `sql/010_retention.sql` has the same number for rows that nobody gave a time."""
SHORTEST_RETENTION_DAYS = 35
"""Pub/Sub can bring a message for 31 days: a call that is forgotten sooner would be taken for a new one."""


class PrivacyConfig(Contract):
    """What of a caller's words is kept from the stored transcript and from the CRMs, and for how long."""

    retention_days: int = Field(default=RETENTION_DAYS, ge=SHORTEST_RETENTION_DAYS, le=3650)
    """Days after which Spanner removes a call's rows: record, transcript, analysis, events, dead letters."""
    audio_retention_days: int = Field(default=365, ge=1, le=3650)
    """Days after which Cloud Storage removes a recording; never longer than the call itself is kept."""

    redact: tuple[RedactionKind, ...] = ("card", "ssn", "email", "bank", "digits")
    """What is masked before a transcript is stored; an empty list keeps everything."""
    drop_audio: bool = False
    """Delete the recording and Speech's raw output once the transcript is stored."""
    consent_tag: str = Field(default="", max_length=100)
    """CallRail tag without which a call is neither downloaded nor transcribed; empty asks for none."""

    @property
    def audio_days(self) -> int:
        return min(self.audio_retention_days, self.retention_days)


class TenantConfig(Contract):
    """What `tenants.config` holds. Secrets appear by name only."""

    callrail_company_ids: Annotated[tuple[CompanyId, ...], BeforeValidator(_as_list)] = Field(
        min_length=1,
        validation_alias=AliasChoices("callrail_company_ids", "callrail_company_id"),
    )
    webhook_secret_names: Annotated[tuple[SecretName, ...], BeforeValidator(_as_list)] = Field(
        min_length=1,
        max_length=2,
        validation_alias=AliasChoices("webhook_secret_names", "webhook_secret_name"),
    )
    """One signing key, or two while it is being rotated."""
    signature_scheme: SignatureScheme = "callrail"
    webhook_token: str = Field(default="", pattern=r"^([A-Za-z0-9_-]{22,64})?$")
    """Unguessable part of the tenant's own webhook address; empty means the shared address only."""
    callrail_account_id: str = Field(default="", pattern=r"^(ACC[0-9A-Za-z]{1,61}|[0-9]{0,20})$")
    callrail_api_key_secret: SecretName | None = None
    crm_config: CrmConfig = CrmConfig()
    ai_config: AiConfig = AiConfig()
    recordings: RecordingConfig = RecordingConfig()
    privacy: PrivacyConfig = PrivacyConfig()


class Tenant(Contract):
    """A customer of the pipeline; owns everything stored under its `tenant_id`."""

    tenant_id: TenantId
    name: str = Field(min_length=1, max_length=200)
    status: TenantStatus = "active"
    config: TenantConfig
