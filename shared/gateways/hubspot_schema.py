"""The custom properties we keep in a HubSpot portal; `prepare` creates them, syncs fill them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

ObjectType = Literal["contacts", "calls"]

GROUP = "ext_call_insights"
"""One property group of ours per object type, so that sales people find everything in one place."""
GROUP_LABEL = "Call insights"

CALLER_KEY = "ext_caller_key"
"""Unique on contacts: a digest of the caller's number."""
CALL_KEY = "ext_call_id"
"""Unique on calls: CallRail's call id."""
LAST_CALL_AT = "ext_last_call_at"


@dataclass(frozen=True)
class PropertySpec:
    """One property to create. HubSpot cannot change `unique` afterwards, nor `type` in most cases."""

    name: str
    label: str
    type: Literal["string", "number", "datetime"] = "string"
    field_type: Literal["text", "textarea", "number", "date"] = "text"
    unique: bool = False

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "label": self.label,
            "type": self.type,
            "fieldType": self.field_type,
            "groupName": GROUP,
            "hasUniqueValue": self.unique,
            "formField": False,
        }


_LEAD = (
    PropertySpec("ext_lead_score", "Lead score (0–100)", type="number", field_type="number"),
    PropertySpec("ext_lead_band", "Lead band"),
    PropertySpec("ext_lead_summary", "Call summary", field_type="textarea"),
    PropertySpec("ext_next_step", "Next step", field_type="textarea"),
)
_MARKETING = (
    PropertySpec("ext_source", "Call source"),
    PropertySpec("ext_medium", "Call medium"),
    PropertySpec("ext_campaign", "Call campaign"),
    PropertySpec("ext_keywords", "Call keywords"),
    PropertySpec("ext_gclid", "Call Google click id"),
    PropertySpec("ext_landing_page_url", "Call landing page"),
    PropertySpec("ext_referring_url", "Call referrer"),
    PropertySpec("ext_utm_source", "Call UTM source"),
    PropertySpec("ext_utm_medium", "Call UTM medium"),
    PropertySpec("ext_utm_campaign", "Call UTM campaign"),
)
PROPERTIES: dict[ObjectType, tuple[PropertySpec, ...]] = {
    "contacts": (
        PropertySpec(CALLER_KEY, "Caller key", unique=True),
        *_LEAD,
        PropertySpec("ext_last_call_intent", "Last call intent"),
        PropertySpec(LAST_CALL_AT, "Last call at", type="datetime", field_type="date"),
        *_MARKETING,
    ),
    "calls": (
        PropertySpec(CALL_KEY, "CallRail call id", unique=True),
        *_LEAD,
        PropertySpec("ext_call_intent", "Call intent"),
        *_MARKETING,
    ),
}


def fault_of(spec: PropertySpec, existing: dict[str, Any]) -> str:
    """What is wrong with a property that was there before us; empty when it can be used."""
    if spec.unique and existing.get("hasUniqueValue") is not True:
        return "exists but does not enforce unique values; archive it in HubSpot's settings"
    if existing.get("type") != spec.type:
        return f"exists but is not of type {spec.type}; archive it in HubSpot's settings"
    return ""
