"""`pipeline why`: where a call is, since when, why, what happens next and what would help."""

from __future__ import annotations

import dataclasses
import json
import textwrap
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from handlers.cli.connection import StateDirOption, connected
from shared.errors import ConfigurationError, PipelineError

if TYPE_CHECKING:
    from shared.settings import Settings
    from shared.story import SchemaGap
    from shared.why import Answer

_WIDTH = 110
_LABEL = 10
_SCHEMA_CODES = {"spanner_refused", "spanner_not_found"}
"""What Spanner says to a statement that names a table or column it does not have."""


def why(
    call: Annotated[str, typer.Argument(metavar="CALL", help="A call's id (CAL…) or a request's (r-…, w-…).")],
    *,
    tenant: Annotated[
        str | None, typer.Option("--tenant", help="Whose call; needed only for one that never arrived.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    state_dir: StateDirOption = None,
) -> None:
    """Say where a call is and why: stage, attempts, last error in plain words, next try, what would help."""
    with connected(state_dir) as settings:
        answer = answer_for(settings, call, tenant_id=tenant)
    if as_json:
        typer.echo(json.dumps(dataclasses.asdict(answer), indent=2, default=str))
        return
    for line in lines_of(answer):
        typer.echo(line)


def answer_for(settings: Settings, some_id: str, *, tenant_id: str | None) -> Answer:
    """Look the call up and explain it. Raises `ConfigurationError` when several tenants have the id."""
    from handlers import wiring
    from shared.why import unreadable

    schema = wiring.schema_gap(settings)
    try:
        return _explained(settings, some_id, tenant_id=tenant_id, schema=schema)
    except PipelineError as error:
        if error.code not in _SCHEMA_CODES:
            raise
        return unreadable(tenant_id or "", some_id, schema=schema, problem=error.detail)


def _explained(settings: Settings, some_id: str, *, tenant_id: str | None, schema: SchemaGap) -> Answer:
    from handlers import wiring
    from shared.pipeline import load_pipeline
    from shared.whereabouts.situations import Pace
    from shared.why import explain

    stories = wiring.stories(settings)
    owner, call_id = _owner_of(stories.tenants_of(some_id), some_id) if tenant_id is None else (tenant_id, some_id)
    story = stories.tell(owner, call_id)
    if not story.requests and tenant_id is not None and (found := stories.call_of_request(owner, some_id)):
        story = stories.tell(owner, found)
    return explain(
        story,
        now=wiring.now(),
        pace=Pace.of(
            load_pipeline(),
            stale_after=timedelta(seconds=settings.sweep_stale_s),
            lease=timedelta(seconds=settings.lease_s) if settings.lease_s else None,
        ),
        request_id=some_id if any(one.request_id == some_id for one in story.requests) else "",
        inbox=() if story.requests or not story.tenant_status else _inbox_of(settings, owner, some_id),
        schema=schema,
    )


def _owner_of(owners: list[tuple[str, str]], some_id: str) -> tuple[str, str]:
    """Tenant and call; without an owner no tenant and the id itself."""
    if len(owners) > 1:
        names = ", ".join(tenant_id for tenant_id, _ in owners)
        raise ConfigurationError(
            "several_tenants", f"{some_id} belongs to several tenants: {names}", fix="add --tenant"
        )
    return owners[0] if owners else ("", some_id)


def _inbox_of(settings: Settings, tenant_id: str, call_id: str) -> tuple[str, ...]:
    """Objects that the receiver kept for the call's post-call webhook; none when storage cannot be asked."""
    from handlers import wiring
    from shared.inbox import PREFIX
    from shared.names import first_request_id

    wanted = {first_request_id(tenant_id, call_id), call_id}
    try:
        return tuple(
            name
            for request_id in sorted(wanted)
            for name in wiring.objects(settings).list_names(f"{PREFIX}{tenant_id}/{request_id}-")
        )
    except PipelineError as error:
        typer.echo(f"the inbox could not be looked at ({error.code}: {error.detail})", err=True)
        return ()


# --- on the screen --------------------------------------------------------------------------------------


def lines_of(answer: Answer) -> Iterator[str]:
    """The answer as a person reads it."""
    whose = f" of tenant {answer.tenant_id}" if answer.tenant_id else ""
    asked = f", request {answer.request_id}" if answer.request_id else ""
    yield f"call {answer.call_id}{whose}{asked}"
    yield from _labelled("where", answer.where)
    if answer.since:
        yield from _labelled("since", f"{answer.since:%Y-%m-%d %H:%M:%S} UTC")
    if answer.attempt:
        of = f" of {answer.max_attempts}" if answer.max_attempts else ""
        yield from _labelled("attempt", f"{answer.attempt}{of}")
    yield from _labelled("why", answer.because)
    yield from _labelled("next try", answer.next_try)
    yield from _labelled("helps", answer.helps)
    for command in answer.commands:
        yield f"{'type':>{_LABEL}}: {command}"
    for note in answer.notes:
        yield from _labelled("also", note)


def _labelled(label: str, text: str) -> list[str]:
    return textwrap.wrap(
        text,
        width=_WIDTH,
        initial_indent=f"{label:>{_LABEL}}: ",
        subsequent_indent=" " * (_LABEL + 2),
        break_long_words=False,
        break_on_hyphens=False,
    )
