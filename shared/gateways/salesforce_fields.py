"""A call in Salesforce's fields: pure functions from `CrmCall` to what Task, Lead and Contact hold."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from typing import Any, Literal

from schemas.calls import CallDetails, Marketing
from schemas.crm import CrmCall, CrmSection
from schemas.plain_text import without_formula, without_links
from shared.gateways.caller_names import person_name

PersonObject = Literal["Lead", "Contact"]

CALL_KEY = "Ext_Call_Id__c"
CALLER_KEY = "Ext_Caller_Key__c"
LAST_CALL_AT = "Ext_Last_Call_At__c"
"""Start of the call that the person's scores belong to: an older call, synchronised late, must not replace them."""

SUBJECT_LENGTH = 255
DESCRIPTION_LENGTH = 32_000
SUMMARY_LENGTH = 2000
TEXT_LENGTH = 255
NAME_LENGTH = 80
FIRST_NAME_LENGTH = 40
SOURCE_LENGTH = 40

UNKNOWN_NAME = "Unknown caller"
UNKNOWN_COMPANY = "[not provided]"
DEFAULT_SOURCE = "Phone Inquiry"
"""A value of Salesforce's standard LeadSource picklist."""

HOT_SCORE = 70
WARM_SCORE = 40


FieldKind = Literal["Text", "Number", "LongTextArea", "DateTime"]
"""The Metadata API's names; describe has others."""
_DESCRIBED_AS: dict[FieldKind, frozenset[str]] = {
    "Text": frozenset({"string", "textarea"}),
    "Number": frozenset({"double", "int"}),
    "LongTextArea": frozenset({"textarea"}),
    "DateTime": frozenset({"datetime"}),
}


@dataclass(frozen=True)
class CustomField:
    """A field of ours. `length` is in characters, for a number in digits; 0 where the type has none."""

    name: str
    label: str
    kind: FieldKind
    length: int = 0
    is_key: bool = False

    @property
    def definition(self) -> str:
        """As Salesforce's set-up pages say it."""
        if self.kind == "LongTextArea":
            return f"Long Text Area({self.length})"
        if self.kind == "DateTime":
            return "Date/Time"
        text = f"Number({self.length}, 0)" if self.kind == "Number" else f"Text({self.length})"
        return f"{text}, External ID, Unique" if self.is_key else text

    def is_described_as(self, kind: str) -> bool:
        """Whether describe's type can hold what we write. A key must be plain text."""
        return kind == "string" if self.is_key else kind in _DESCRIBED_AS[self.kind]

    def metadata(self, *, unique: bool) -> dict[str, Any]:
        """The `Metadata` of a Tooling API request; `unique` is asked for where the field is a key."""
        base: dict[str, Any] = {"label": self.label, "type": self.kind, "description": DESCRIPTION, "required": False}
        if self.kind == "Number":
            return {**base, "precision": self.length, "scale": 0}
        if self.kind == "DateTime":
            return base
        if self.kind == "LongTextArea":
            return {**base, "length": self.length, "visibleLines": 3}
        if not self.is_key:
            return {**base, "length": self.length}
        # Salesforce compares unique texts without case unless told so; our keys differ in more than case.
        return {**base, "length": self.length, "externalId": True, "unique": unique, "caseSensitive": False}


DESCRIPTION = "Written by the call pipeline; changes by hand are overwritten by the next call."

TASK_FIELDS = (
    CustomField(CALL_KEY, "Call id", "Text", 80, is_key=True),
    CustomField("Ext_Lead_Score__c", "Lead score", "Number", 3),
    CustomField("Ext_Intent__c", "Call intent", "Text", 80),
    CustomField("Ext_Next_Step__c", "Next step", "Text", 255),
)
PERSON_FIELDS = (
    CustomField(CALLER_KEY, "Caller key", "Text", 80, is_key=True),
    CustomField("Ext_Lead_Score__c", "Lead score", "Number", 3),
    CustomField("Ext_Lead_Summary__c", "Call summary", "LongTextArea", 2000),
    CustomField(LAST_CALL_AT, "Last call at", "DateTime"),
)


def task_values(call: CrmCall) -> dict[str, Any]:
    """The Task of a call, without its key, its person and the create-only TaskSubtype."""
    details, analysis = call.details, call.analysis
    values = {
        "Subject": cut(call.title, SUBJECT_LENGTH),
        "Status": "Completed",
        "Priority": "Normal",
        "ActivityDate": details.started_at.date().isoformat() if details.started_at else None,
        "CallDurationInSeconds": details.duration_s,
        "CallType": "Outbound" if details.direction == "outbound" else "Inbound",
        "CallObject": call.call_id,
        "CallDisposition": disposition(details),
        "Description": cut(plain_text(call.sections), DESCRIPTION_LENGTH),
        "Ext_Lead_Score__c": analysis.lead_score if analysis else None,
        "Ext_Intent__c": analysis.intent if analysis else None,
        "Ext_Next_Step__c": cut(analysis.next_step, TEXT_LENGTH) if analysis else None,
    }
    return {name: value for name, value in values.items() if value is not None}


def score_values(call: CrmCall) -> dict[str, Any]:
    """The person's own custom fields: ours to overwrite with every newer call."""
    if call.analysis is None:
        return {}
    values: dict[str, Any] = {
        "Ext_Lead_Score__c": call.analysis.lead_score,
        "Ext_Lead_Summary__c": cut(call.analysis.summary, SUMMARY_LENGTH),
    }
    if call.details.started_at is not None:
        values[LAST_CALL_AT] = call.details.started_at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000+0000")
    return values


def new_person_values(object_name: PersonObject, call: CrmCall, *, phone: str) -> dict[str, Any]:
    """What a new Lead or Contact starts with, besides its scores. A Lead needs a company, known or not."""
    values: dict[str, Any] = {
        **_names(call.details),
        "Phone": phone,
        "LeadSource": cut(harmless(call.details.marketing.source) or DEFAULT_SOURCE, SOURCE_LENGTH),
        "Description": cut(origin_text(call.details), DESCRIPTION_LENGTH),
    }
    if object_name == "Lead":
        values["Company"] = UNKNOWN_COMPANY
    return values


def harmless(text: str) -> str:
    """What anybody can write into an address's parameters, fit for a list that is exported as a sheet."""
    return without_formula(without_links(text)).strip()


def _names(details: CallDetails) -> dict[str, str]:
    first, last = person_name(details.caller_name, city=details.city, state=details.state)
    names = {"LastName": cut(last or first or UNKNOWN_NAME, NAME_LENGTH)}
    if first and last:
        names["FirstName"] = cut(first, FIRST_NAME_LENGTH)
    return names


def rating(score: int) -> str:
    """Salesforce's standard Rating picklist."""
    if score >= HOT_SCORE:
        return "Hot"
    return "Warm" if score >= WARM_SCORE else "Cold"


def disposition(details: CallDetails) -> str:
    """How the call ended, in the words people use in call logs."""
    if details.voicemail:
        return "Voicemail"
    if details.answered is None:
        return ""
    return "Answered" if details.answered else "Missed"


def plain_text(sections: tuple[CrmSection, ...]) -> str:
    """Headings and lines; the field is plain text, so nothing needs escaping."""
    return "\n\n".join("\n".join((section.heading, *section.lines)) for section in sections)


def origin_text(details: CallDetails) -> str:
    """Where the call came from: what makes a lead worth money, kept from its first call."""
    place = ", ".join(part for part in (details.city, details.state, details.country) if part)
    lines = ["Created from a phone call.", *_labelled("Location", place), *_marketing_lines(details.marketing)]
    return "\n".join(lines)


def _marketing_lines(marketing: Marketing) -> list[str]:
    facts = {
        "Source": harmless(marketing.source),
        "Medium": harmless(marketing.medium),
        "Campaign": harmless(marketing.campaign),
        "Keywords": harmless(marketing.keywords),
        "Google click id": harmless(marketing.gclid),
        "Landing page": marketing.landing_page_url,
        "Referrer": marketing.referring_url,
        "UTM source": harmless(marketing.utm_source),
        "UTM medium": harmless(marketing.utm_medium),
        "UTM campaign": harmless(marketing.utm_campaign),
    }
    return [line for label, value in facts.items() for line in _labelled(label, value)]


def _labelled(label: str, value: str) -> list[str]:
    return [f"{label}: {value}"] if value else []


def cut(text: str, limit: int) -> str:
    """`text` cut from the end so that Salesforce counts at most `limit` characters."""
    used = 0
    for index, letter in enumerate(text):
        used += _width(letter)
        if used > limit:
            return text[:index].rstrip()
    return text


def _width(letter: str) -> int:
    """Salesforce counts UTF-16 units, and a line break as the two characters it is stored as."""
    return 2 if letter == "\n" or ord(letter) > 0xFFFF else 1
