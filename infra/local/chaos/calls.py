"""The calls of a chaos run: whose they are, which webhooks tell of each, when, how often and in what order."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from infra.local.chaos.dice import dice

Shape = Literal["answered", "missed", "voicemail", "late_audio"]

TENANTS = ("chaos-both", "chaos-hubspot", "chaos-salesforce")
COMPANIES = {tenant: f"COM019a00000000700080000000000c{number:03d}" for number, tenant in enumerate(TENANTS, 1)}

MARK = "looked at"
"""A tag that every call-modified webhook brings, and every CRM has to hold afterwards."""

_TENANT_WEIGHTS = (2, 1, 1)
_SHAPES: tuple[Shape, ...] = ("answered", "missed", "voicemail", "late_audio")
_SHAPE_WEIGHTS = (60, 22, 8, 10)
_AREAS = ("202", "212", "303", "312", "404", "415", "512", "617", "702", "720")
_CALLERS_PER_CALL = 0.8
"""Some people call twice: two calls, one person."""
_SHARE_OF_DUPLICATES = 0.2
_LONGEST_WAIT_S = 6.0
"""How long after a call's first webhook its last one may come."""


@dataclass(frozen=True)
class Post:
    """One webhook. `body` lacks the start of the call, which is a time of today, and the link to its recording."""

    at_s: float
    """When, from the start of the run."""
    call: str
    tenant: str
    kind: str
    body: dict[str, Any]
    with_recording: bool = False


@dataclass(frozen=True)
class PlannedCall:
    """One phone call, which ends at `posts[0].at_s`."""

    call_id: str
    tenant: str
    shape: Shape
    caller: str
    ready_after: int
    """How often CallRail says that the recording is not there yet."""
    posts: tuple[Post, ...]

    @property
    def has_audio(self) -> bool:
        return self.shape != "missed"


def plan_calls(seed: int, *, count: int, over_s: float) -> tuple[PlannedCall, ...]:
    """`count` calls whose first webhooks are spread over `over_s` seconds."""
    random = dice(seed, "calls")
    callers = [_caller(number) for number in range(max(1, round(count * _CALLERS_PER_CALL)))]
    return tuple(_plan_call(random, callers, at_s=random.uniform(0, over_s)) for _ in range(count))


def _caller(number: int) -> str:
    """Only 555-01xx: numbers that belong to nobody."""
    return f"+1{_AREAS[number // 100 % len(_AREAS)]}55501{number % 100:02d}"


def _plan_call(random: Random, callers: list[str], *, at_s: float) -> PlannedCall:
    call_id = f"CAL{random.getrandbits(128):032x}"
    tenant = random.choices(TENANTS, _TENANT_WEIGHTS)[0]
    shape = random.choices(_SHAPES, _SHAPE_WEIGHTS)[0]
    caller = random.choice(callers)
    facts = _facts(call_id, tenant, shape, caller)
    posts = [
        Post(round(at_s + delay_s, 2), call_id, tenant, kind, body, with_recording)
        for delay_s, kind, body, with_recording in _webhooks(random, facts, shape)
    ]
    ready_after = random.choice((0, 0, 0, 1)) if shape in {"answered", "voicemail"} else 0
    return PlannedCall(call_id, tenant, shape, caller, ready_after, tuple(sorted(posts, key=lambda post: post.at_s)))


Told = tuple[float, str, dict[str, Any], bool]


def _webhooks(random: Random, facts: dict[str, Any], shape: Shape) -> list[Told]:
    """A post-call webhook always; before, after or instead of their order the others; some of them again."""
    told: list[Told] = [(0.0, "post_call", _post_call(facts, shape), shape in {"answered", "voicemail"})]
    if random.random() < 0.3:
        told.append((_some_time(random), "pre_call", _pre_call(facts), False))
    if random.random() < 0.2:
        told.append((_some_time(random), "routing_complete", _routing_complete(facts), False))
    if shape == "late_audio" or random.random() < 0.25:
        body = {**_post_call(facts, shape), "tags": [MARK], "note": "seen", "changes": ["tags", "note"]}
        told.append((_some_time(random), "call_modified", body, shape != "missed"))
    earliest = min(delay_s for delay_s, *_ in told)
    told = [(delay_s - earliest, kind, body, has_link) for delay_s, kind, body, has_link in told]
    again = [one for one in told if random.random() < _SHARE_OF_DUPLICATES]
    return told + [(delay_s + random.uniform(0, 3), kind, body, link) for delay_s, kind, body, link in again]


def _some_time(random: Random) -> float:
    """Mostly after the post-call webhook, sometimes before it."""
    return random.uniform(-2.0, _LONGEST_WAIT_S)


def _facts(call_id: str, tenant: str, shape: Shape, caller: str) -> dict[str, Any]:
    return {
        "resource_id": call_id,
        "company_resource_id": COMPANIES[tenant],
        "answered": shape in {"answered", "late_audio"},
        "call_type": {"missed": "missed", "voicemail": "voicemail"}.get(shape, "answered"),
        "voicemail": shape == "voicemail",
        "direction": "inbound",
        "customer_name": f"CALLER {caller[-7:]}",
        "customer_phone_number": caller,
        "tracking_phone_number": "+17205550110",
        "business_phone_number": "+13035550199",
        "source_name": "Chaos",
    }


def _pre_call(facts: dict[str, Any]) -> dict[str, Any]:
    """Placeholders, as CallRail sends them before anybody has answered."""
    return {**_without_business(facts), "answered": False, "call_type": "missed"}


def _routing_complete(facts: dict[str, Any]) -> dict[str, Any]:
    return {**facts, "answered": False, "call_type": "missed"}


def _without_business(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if name != "business_phone_number"}


def _post_call(facts: dict[str, Any], shape: Shape) -> dict[str, Any]:
    seconds = 0 if shape == "missed" else 1
    marks = {"lead_status": "", "value": "", "note": "", "tags": []}
    return {**facts, **marks, "duration": str(seconds), "recording": "", "recording_duration": seconds or ""}
