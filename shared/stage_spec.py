"""A stage as the runner knows it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from schemas.events import Event
from schemas.tenant import Tenant
from shared.claims import Admission, StageRun
from shared.errors import TenantBlocked
from shared.stage import Completed, StageContext

Owner = Tenant | TenantBlocked
"""Whose event it is; or why the tenant's stored configuration cannot be read, which is for the claimed run to keep."""


@dataclass(frozen=True)
class StageSpec:
    """One stage; built by `handlers/wiring.py`.

    `run` starts from an event, `resume` continues when an outside job reports back (None where no job is started).
    `admit` says what the first stage's claim brings into the database (None elsewhere). `absorb` takes in what a
    repeated event says that is new, `after_failure` names what still goes on when the stage is given up; both may
    return an event to publish. `clean_up` removes what a recorded stage no longer needs.
    """

    name: str
    accepts: tuple[type[Event], ...]
    run: Callable[[StageContext], Completed]
    lease: timedelta
    max_attempts: int
    resume: Callable[[StageContext], Completed] | None = None
    admit: Callable[[Event], Admission | None] | None = None
    absorb: Callable[[Event, Owner], Event | None] | None = None
    after_failure: Callable[[StageRun], Event | None] | None = None
    clean_up: Callable[[StageRun, Tenant], None] | None = None
