"""An analysis of a call without audio, by rules on its metadata: honest about how little is known.

A missed call is still a lead, often the most urgent one: nobody has talked to the caller yet.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from schemas.analysis import CallAnalysis, Intent
from schemas.calls import CallDetails, Marketing

MODEL = "rules"
RULES_VERSION = "rules-1"

_PAID_MEDIA = frozenset({"cpc", "ppc", "paid", "paidsearch", "paid_search", "paid_social", "display", "cpm"})
_PAID_WORDS = ("google ads", "google_paid", "adwords", "bing ads", "bing_paid", "facebook ads", "paid")
_SPAM_TAGS = frozenset({"spam", "robocall", "telemarketer", "solicitor"})
_SPAM_NAMES = ("spam", "scam", "robocall", "telemarket", "fraud")
"""What carriers put into the caller's name to warn the called party."""
_OPENS_AT, _CLOSES_AT = 8, 18
_SATURDAY = 5
_HUNG_UP_AT_ONCE_S = 5
_WAITED_LONG_S = 30
_REAL_TALK_S = 60

_BASE_MISSED = 50
_BASE_VOICEMAIL = 55
_BASE_UNHEARD = 40
_BASE_OUTBOUND = 20


@dataclass(frozen=True)
class Reason:
    """One rule that applied: the points it gave or took, and why."""

    points: int
    text: str


def analysis_from_metadata(details: CallDetails, *, threshold: int, time_zone: str = "") -> CallAnalysis:
    """Judge a call by its metadata. `threshold` is the tenant's; `time_zone` the company's IANA name, if known."""
    reasons = _spam_reasons(details) or _reasons(details, time_zone)
    score = max(0, min(100, sum(reason.points for reason in reasons)))
    intent = _intent(details)
    return CallAnalysis(
        basis="metadata",
        summary=_summary(details),
        sentiment="neutral",
        intent=intent,
        lead_score=score,
        lead_score_reasons=tuple(f"{reason.text} ({reason.points:+d})" for reason in reasons),
        next_step=_next_step(details, intent),
        qualified=score >= threshold,
        model=MODEL,
        prompt_version=RULES_VERSION,
    )


def _spam_reasons(details: CallDetails) -> list[Reason]:
    """Marks that make everything else irrelevant."""
    if _SPAM_TAGS & {tag.lower() for tag in details.marks.tags}:
        return [Reason(0, "tagged as spam in CallRail")]
    if any(word in details.caller_name.lower() for word in _SPAM_NAMES):
        return [Reason(5, "the carrier's caller name warns of spam")]
    return []


def _reasons(details: CallDetails, time_zone: str) -> list[Reason]:
    found = [_base(details), *_people_marks(details)]
    if details.direction == "outbound":
        return found
    return [*found, *_caller(details), *_source(details.marketing), *_timing(details, time_zone)]


def _base(details: CallDetails) -> Reason:
    if details.voicemail:
        return Reason(_BASE_VOICEMAIL, "left a voicemail that could not be heard")
    if details.direction == "outbound":
        return Reason(_BASE_OUTBOUND, "outbound call without a recording")
    if _is_missed(details):
        return Reason(_BASE_MISSED, "missed call: nobody has talked to the caller yet")
    return Reason(_BASE_UNHEARD, "answered call without a recording: its outcome is not known")


def _people_marks(details: CallDetails) -> list[Reason]:
    if details.marks.lead_status == "good_lead":
        return [Reason(40, "marked as a good lead in CallRail")]
    if details.marks.lead_status == "not_a_lead":
        return [Reason(-40, "marked as not a lead in CallRail")]
    return []


def _caller(details: CallDetails) -> list[Reason]:
    found = []
    if details.first_call is True:
        found.append(Reason(15, "first call from this caller"))
    elif details.first_call is False:
        found.append(Reason(5, "has called before"))
    if not details.caller_number:
        found.append(Reason(-20, "number withheld: cannot be called back"))
    return found


def _source(marketing: Marketing) -> list[Reason]:
    source = marketing.source.lower()
    is_paid = marketing.medium.lower() in _PAID_MEDIA or marketing.gclid or any(w in source for w in _PAID_WORDS)
    return [Reason(15, "came from paid advertising")] if is_paid else []


def _timing(details: CallDetails, time_zone: str) -> list[Reason]:
    found = []
    if _is_missed(details) and _in_business_hours(details.started_at, time_zone):
        found.append(Reason(10, "called during business hours"))
    seconds = details.duration_s
    if seconds is None:
        return found
    if _is_missed(details) and 0 < seconds < _HUNG_UP_AT_ONCE_S:
        found.append(Reason(-15, f"hung up after {seconds} s"))
    elif _is_missed(details) and seconds >= _WAITED_LONG_S:
        found.append(Reason(5, f"waited {seconds} s"))
    elif not _is_missed(details) and seconds >= _REAL_TALK_S:
        found.append(Reason(15, f"the call lasted {_spoken(seconds)}"))
    return found


def _in_business_hours(started_at: datetime | None, time_zone: str) -> bool:
    """Monday to Friday, 8 to 18 o'clock where the company is; unknown places count as no."""
    if started_at is None or not time_zone:
        return False
    try:
        local = started_at.astimezone(ZoneInfo(time_zone))
    except (KeyError, ValueError, OSError):  # an unknown name, an unsafe name, no time zone data on this machine
        return False
    return local.weekday() < _SATURDAY and _OPENS_AT <= local.hour < _CLOSES_AT


def _is_missed(details: CallDetails) -> bool:
    return (
        details.direction == "inbound"
        and not details.voicemail
        and (details.answered is False or details.call_type in {"missed", "abandoned"})
    )


def _intent(details: CallDetails) -> Intent:
    if _spam_reasons(details):
        return "spam"
    return "missed_call" if _is_missed(details) else "incomplete"


def _summary(details: CallDetails) -> str:
    place = ", ".join(part for part in (details.city, details.state) if part)
    where = f" from {place}" if place else ""
    if details.direction == "outbound":
        what = "Outbound call" + (", not answered." if details.answered is False else " without a recording.")
    elif details.voicemail:
        what = f"Voicemail{where}; its recording was not available."
    elif _is_missed(details):
        what = f"Missed call{where}: nobody answered and no voicemail was left."
    else:
        lasted = f", {_spoken(details.duration_s)} long" if details.duration_s else ""
        what = f"Answered call{where}{lasted}; no recording was available."
    return f"{what} What was said or wanted is not known; this is based on the call's metadata only."


def _next_step(details: CallDetails, intent: Intent) -> str:
    if intent == "spam":
        return "Nothing to do unless the caller is known."
    if details.direction == "outbound":
        return "Call again, or ask the colleague who called."
    if not _is_missed(details) and not details.voicemail:
        return "Ask the colleague who took the call what was agreed."
    if not details.caller_number:
        return "The number was withheld, so a call back is not possible; wait for the caller to try again."
    if details.voicemail:
        return "Listen to the voicemail in CallRail and call back."
    return "Call back as soon as possible and ask what the caller needs."


def _spoken(seconds: int) -> str:
    return f"{seconds // 60} min {seconds % 60} s" if seconds >= 60 else f"{seconds} s"
