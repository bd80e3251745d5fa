"""What can go wrong in a chaos run, and when: drawn from the seed before anything starts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import Any, Literal

from infra.local.chaos.dice import dice
from shared.crash_points import Death

WORKERS = ("webhook", "download", "transcribe", "analyze", "crm_sync", "dead_letter", "operator")
_STAGES = ("download", "transcribe", "analyze", "crm_sync")
_BACKGROUND = ("pubsub", "spanner", "storage", "hubspot", "salesforce", "callrail", "speech", "vertex")
"""What can be frozen for a moment beside the workers."""
REBORN = ("vertex",)
"""Vendors that keep nothing between two requests, and so can be killed and started again."""
RESTARTED = ("hubspot", "salesforce", "callrail", "speech", "secret_manager")
"""Vendors that end in the middle of their work, are away for a while, and come back with all they held."""
_RESTART_EACH_S = 20
"""Each of them so often, once at least."""

Deed = Literal["kill", "freeze", "restart"]


@dataclass(frozen=True)
class ProcessFault:
    """SIGKILL or SIGTERM and a new process `for_s` seconds after the end, or SIGSTOP and SIGCONT after `for_s`."""

    at_s: float
    deed: Deed
    target: str
    for_s: float = 0.0

    def __str__(self) -> str:
        return f"{self.deed} {self.target}" + (f" for {self.for_s:.1f} s" if self.for_s else "")


@dataclass(frozen=True)
class VendorFault:
    """A rule for a stand-in, see `infra/local/standins/faults.py`."""

    at_s: float
    target: str
    rule: dict[str, Any]

    def __str__(self) -> str:
        kind = self.rule.get("status") if self.target not in _OVER_GRPC else self.rule.get("grpc_code")
        what = kind if self.rule["kind"] == "status" else self.rule["kind"]
        return f"{self.target} {self.rule['operation']}: {what} × {self.rule['times']}"


@dataclass(frozen=True)
class LostNotices:
    """Cloud Storage's notices of Speech's output go nowhere for `for_s` seconds."""

    at_s: float
    for_s: float

    def __str__(self) -> str:
        return f"notices of transcripts lost for {self.for_s:.1f} s"


Fault = ProcessFault | VendorFault | LostNotices

_OVER_GRPC = frozenset({"speech", "vertex", "secret_manager"})


def plan_faults(seed: int, *, over_s: float) -> tuple[Fault, ...]:
    """As many as fit into `over_s` seconds, in order of time."""
    random = dice(seed, "faults")
    faults: list[Fault] = [
        *_process_faults(random, over_s=over_s),
        *_vendors_killed(dice(seed, "vendors"), over_s=over_s),
        *_vendors_restarted(dice(seed, "restarts"), over_s=over_s),
        *(_vendor_fault(random, over_s=over_s) for _ in range(math.ceil(over_s))),
        *(LostNotices(_moment(random, over_s), round(random.uniform(1, 3), 1)) for _ in range(math.ceil(over_s / 15))),
    ]
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def plan_deaths(seed: int, *, over_s: float) -> tuple[Death, ...]:
    """Crash points: one death of a stage every few seconds, and one of everybody else."""
    random = dice(seed, "deaths")
    deaths = [
        Death(random.choice(_STAGES), random.choice(_STAGE_POINTS), random.randint(1, 6))
        for _ in range(math.ceil(over_s / 2.5))
    ]
    others = [
        Death(service, random.choice(points), random.randint(1, 6)) for service, points in _POINTS_OF_OTHERS.items()
    ]
    return tuple(sorted({*deaths, *others}))


_STAGE_POINTS = (
    *("claimed", "taken_over", "before_checkpoint", "after_checkpoint", "stage_run", "recorded", "published"),
    *("before_sleep", "after_sleep", "given_up", "absorbed", "published_beside"),
)
_POINTS_OF_OTHERS = {
    "webhook": ("receiver_before_keep", "receiver_before_answer"),
    "dead_letter": ("letter_recorded",),
    "operator": ("sweep_marked", "sweep_sent", "inbox_published"),
}


def _process_faults(random: Random, *, over_s: float) -> list[ProcessFault]:
    kills = [
        ProcessFault(_moment(random, over_s), "kill", random.choice(WORKERS), round(random.uniform(0, 1.5), 1))
        for _ in range(math.ceil(over_s / 6))
    ]
    freezes = [
        ProcessFault(_moment(random, over_s), "freeze", random.choice(WORKERS), round(random.uniform(0.5, 12), 1))
        for _ in range(math.ceil(over_s / 8))
    ]
    pauses = [
        ProcessFault(_moment(random, over_s), "freeze", random.choice(_BACKGROUND), round(random.uniform(0.5, 3), 1))
        for _ in range(math.ceil(over_s / 10))
    ]
    restarts = [
        ProcessFault(_moment(random, over_s), "restart", random.choice(WORKERS)) for _ in range(math.ceil(over_s / 20))
    ]
    return [*kills, *freezes, *pauses, *restarts]


def _vendors_killed(random: Random, *, over_s: float) -> list[ProcessFault]:
    return [
        ProcessFault(_moment(random, over_s), "kill", random.choice(REBORN), round(random.uniform(0, 3), 1))
        for _ in range(math.ceil(over_s / 20))
    ]


def _vendors_restarted(random: Random, *, over_s: float) -> list[ProcessFault]:
    return [
        ProcessFault(_moment(random, over_s), "restart", vendor, round(random.uniform(0, 3), 1))
        for vendor in RESTARTED
        for _ in range(math.ceil(over_s / _RESTART_EACH_S))
    ]


def _moment(random: Random, over_s: float) -> float:
    return round(random.uniform(0.5, over_s), 2)


def _vendor_fault(random: Random, *, over_s: float) -> VendorFault:
    target, operation, menu = random.choice(_MENUS)
    rule = {"operation": operation, **random.choice(menu), "times": random.randint(1, 5)}
    if rule["kind"] == "stall":
        rule["delay_s"] = round(random.uniform(2, 9) if operation == "recognition" else random.uniform(0.3, 3), 1)
    return VendorFault(_moment(random, over_s), target, rule)


_HTML = "<html><body>502 Bad Gateway</body></html>"
_OVER_HTTP: tuple[dict[str, Any], ...] = (
    {"kind": "status", "status": 429, "headers": {"Retry-After": "1"}},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "stall"},
    {"kind": "drop"},
    {"kind": "drop_after"},
    {"kind": "rubbish", "body": _HTML},
)
_LOCKED_OUT: tuple[dict[str, Any], ...] = ({"kind": "status", "status": 401},)
_GRPC: tuple[dict[str, Any], ...] = (
    {"kind": "status", "grpc_code": "RESOURCE_EXHAUSTED"},
    {"kind": "status", "grpc_code": "INTERNAL"},
    {"kind": "status", "grpc_code": "UNAVAILABLE"},
    {"kind": "stall"},
    {"kind": "drop"},
    {"kind": "drop_after"},
)
_MODEL_TALK: tuple[dict[str, Any], ...] = (
    {"kind": "rubbish", "body": "I am sorry, here is no JSON"},
    {"kind": "rubbish", "body": {"text": "{", "finish_reason": "MAX_TOKENS"}},
    {"kind": "rubbish", "body": {"finish_reason": "SAFETY"}},
    {"kind": "rubbish", "body": {"block_reason": "PROHIBITED_CONTENT"}},
)
_OUTPUT: tuple[dict[str, Any], ...] = (
    {"kind": "drop"},
    {"kind": "drop_after"},
    {"kind": "rubbish"},
    {"kind": "status", "grpc_code": "INTERNAL"},
)
_RECOGNITION: tuple[dict[str, Any], ...] = (
    {"kind": "status", "grpc_code": "INTERNAL"},
    {"kind": "stall"},  # Speech takes its time: what died meanwhile must find its operation again
    {"kind": "stall"},
)

_MENUS: tuple[tuple[str, str, tuple[dict[str, Any], ...]], ...] = (
    ("hubspot", "*", (*_OVER_HTTP, *_LOCKED_OUT)),
    ("hubspot", "*.upsert", _OVER_HTTP),
    ("salesforce", "*", _OVER_HTTP),
    ("salesforce", "composite", _OVER_HTTP),
    ("salesforce", "oauth.token", _OVER_HTTP),
    ("callrail", "recording.redirect", _OVER_HTTP),
    ("callrail", "recording.file", _OVER_HTTP),
    ("speech", "batch_recognize", _GRPC),
    ("speech", "get_operation", _GRPC),
    ("speech", "recognition", _RECOGNITION),
    ("speech", "recognition", _RECOGNITION),
    ("speech", "output", _OUTPUT),
    ("vertex", "generate_content", (*_GRPC, *_MODEL_TALK)),
    ("secret_manager", "access", _GRPC),
)
