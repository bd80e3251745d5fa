"""What several `pipeline dead-letters` commands have in common: options, filters, and who is asking."""

from __future__ import annotations

import getpass
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from shared.dead_letters import LETTER_STATES, SORTS, UNASSIGNED_TENANT, LetterFilter, LetterState
from shared.errors import ConfigurationError, TenantBlocked

if TYPE_CHECKING:
    from shared.settings import Settings

_AGE = re.compile(r"^(?P<number>\d+(?:\.\d+)?)(?P<unit>[smhd])$")
_OTHER_STAGES = ("inbox", "unknown")
"""What letters name beside services: an object of the inbox, and a message that nobody can place."""
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

TenantOption = Annotated[str, typer.Option("--tenant", help="Whose dead letters; `unassigned` for nobody's.")]
AnyTenantOption = Annotated[
    str | None, typer.Option("--tenant", help="Whose dead letters; `unassigned` for nobody's. Default: all tenants'.")
]
LetterArgument = Annotated[str, typer.Argument(help="The dead letter's id, as `list` shows it.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For programs.")]
StageOption = Annotated[str | None, typer.Option(help="The stage that gave up.")]
ReasonOption = Annotated[str | None, typer.Option(help="Why it was given up, for example attempts_exhausted.")]
ErrorCodeOption = Annotated[str | None, typer.Option(help="What the stage itself said last.")]
OlderOption = Annotated[str | None, typer.Option("--older-than", help="Given up longer ago than this: 90s, 2h, 3d.")]
NewerOption = Annotated[str | None, typer.Option("--newer-than", help="Given up later than this: 90s, 2h, 3d.")]
TextOption = Annotated[str | None, typer.Option(help="Found in ids, reason, details, fix, last error or note.")]
StateOption = Annotated[
    list[str] | None, typer.Option("--state", help=f"{', '.join(LETTER_STATES)} or any; may be given several times.")
]
SortOption = Annotated[str, typer.Option(help=", ".join(SORTS))]
WaitOption = Annotated[
    str, typer.Option(help="How long to wait for a step's outcomes, for example 5m; 0s: not at all.")
]


def letter_filter(
    *,
    tenant: str | None,
    stage: str | None = None,
    reason: str | None = None,
    error_code: str | None = None,
    older_than: str | None = None,
    newer_than: str | None = None,
    text: str | None = None,
    states: list[str] | None = None,
    default_states: tuple[LetterState, ...] = ("open", "replaying"),
    ids: tuple[str, ...] = (),
    sort: str = "newest",
    limit: int = 100,
) -> LetterFilter:
    """The filter that the options say. Raises `ConfigurationError` for a state, order or age that is none."""
    now = datetime.now(UTC)
    if sort not in SORTS:
        raise ConfigurationError("bad_sort", f"{sort!r} is no order", fix=f"one of {', '.join(SORTS)}")
    return LetterFilter(
        tenant_id=tenant,
        states=_states(states) or default_states,
        stage=stage,
        reason=reason,
        error_code=error_code,
        created_before=now - age_of(older_than) if older_than else None,
        created_after=now - age_of(newer_than) if newer_than else None,
        text=text,
        ids=ids,
        sort=sort,
        limit=limit,
    )


def check_words(settings: Settings, wanted: LetterFilter, *, held: Sequence[str] = ()) -> None:
    """Refuse a tenant or a stage that does not exist: a slip of the pen must not read as "no dead letters", nor hold
    nobody back. Raises `ConfigurationError`.
    """
    from handlers import wiring
    from shared.pipeline import load_pipeline

    pipeline = load_pipeline()
    if wanted.stage is not None and wanted.stage not in {*pipeline.services, *_OTHER_STAGES}:
        raise ConfigurationError(
            "unknown_stage", f"no stage is called {wanted.stage}", fix=f"one of {', '.join(pipeline.stages)}"
        )
    tenants = wiring.tenant_store(settings)
    for tenant_id in {*held, *([wanted.tenant_id] if wanted.tenant_id else [])} - {UNASSIGNED_TENANT}:
        try:
            tenants.show(tenant_id)
        except TenantBlocked:
            continue  # it is there, and its letters may be about just that


def _states(names: list[str] | None) -> tuple[LetterState, ...]:
    unknown = sorted(set(names or ()) - {*LETTER_STATES, "any"})
    if unknown:
        raise ConfigurationError(
            "bad_state", f"no such state: {', '.join(unknown)}", fix=f"one of {', '.join(LETTER_STATES)} or any"
        )
    return tuple(state for state in LETTER_STATES if names and ("any" in names or state in names))


def filter_words(wanted: LetterFilter) -> str:
    """The filter as a person would say it, kept with the replay."""
    said = {
        "tenant": wanted.tenant_id or "all",
        "stage": wanted.stage,
        "reason": wanted.reason,
        "error code": wanted.error_code,
        "before": wanted.created_before and f"{wanted.created_before:%Y-%m-%d %H:%M:%S}",
        "after": wanted.created_after and f"{wanted.created_after:%Y-%m-%d %H:%M:%S}",
        "text": wanted.text,
        "ids": ", ".join(wanted.ids),
    }
    return "; ".join(f"{name} {value}" for name, value in said.items() if value)


def age_of(text: str) -> timedelta:
    """`90s`, `5m`, `2h`, `3d`. Raises `ConfigurationError` for anything else."""
    match = _AGE.match(text.strip())
    if match is None:
        raise ConfigurationError("bad_age", f"{text!r} is not a length of time", fix="write 90s, 5m, 2h or 3d")
    return timedelta(seconds=float(match["number"]) * _SECONDS[match["unit"]])


def actor() -> str:
    """Who types: the operating system's name for the person at the keyboard."""
    return getpass.getuser()
