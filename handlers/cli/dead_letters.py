"""`pipeline dead-letters …`: look at what was given up, send it again, or give it up for good.

Looking is here; deciding in `dead_letter_changes`, replaying in `dead_letter_replays`, files and archive in
`dead_letter_files`.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from handlers.cli import dead_letter_changes, dead_letter_files, dead_letter_replays, dead_letter_screens
from handlers.cli.connection import StateDirOption, connected
from handlers.cli.dead_letter_options import (
    AnyTenantOption,
    ErrorCodeOption,
    JsonOption,
    LetterArgument,
    NewerOption,
    OlderOption,
    ReasonOption,
    SortOption,
    StageOption,
    StateOption,
    TenantOption,
    TextOption,
    check_words,
    letter_filter,
)

app = typer.Typer(help="Look at, replay and discard dead letters.", no_args_is_help=True)


@app.command("list")
def list_letters(
    *,
    tenant: AnyTenantOption = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    error_code: ErrorCodeOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    text: TextOption = None,
    state: StateOption = None,
    sort: SortOption = "newest",
    limit: Annotated[int, typer.Option(help="At most this many.", min=1, max=100_000)] = 100,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """What waits for a decision: open letters and those being replayed, unless --state says otherwise."""
    from handlers import wiring

    wanted = letter_filter(
        tenant=tenant,
        stage=stage,
        reason=reason,
        error_code=error_code,
        older_than=older_than,
        newer_than=newer_than,
        text=text,
        states=state,
        sort=sort,
        limit=limit,
    )
    with connected(state_dir) as settings:
        check_words(settings, wanted)
        letters = wiring.desk(settings).find(wanted)
    if as_json:
        dead_letter_screens.print_json([dead_letter_screens.letter_document(letter) for letter in letters])
        return
    more = ", as many as --limit allows" if len(letters) == limit else ""
    dead_letter_screens.print_letters(letters, title=f"{len(letters)} dead letters of {tenant or 'all tenants'}{more}")


@app.command()
def groups(
    *,
    tenant: AnyTenantOption = None,
    stage: StageOption = None,
    reason: ReasonOption = None,
    error_code: ErrorCodeOption = None,
    older_than: OlderOption = None,
    newer_than: NewerOption = None,
    text: TextOption = None,
    state: StateOption = None,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """The same letters by stage, reason and tenant, the largest group first."""
    from handlers import wiring

    wanted = letter_filter(
        tenant=tenant,
        stage=stage,
        reason=reason,
        error_code=error_code,
        older_than=older_than,
        newer_than=newer_than,
        text=text,
        states=state,
    )
    with connected(state_dir) as settings:
        check_words(settings, wanted)
        found = wiring.desk(settings).groups(wanted)
    if as_json:
        dead_letter_screens.print_json([asdict(group) for group in found])
        return
    dead_letter_screens.print_groups(found)


@app.command()
def show(
    dead_letter_id: LetterArgument,
    *,
    tenant: TenantOption,
    as_json: JsonOption = False,
    state_dir: StateDirOption = None,
) -> None:
    """One letter: its errors, the timeline of its request, and what a replay would do and cost.

    With --json also the whole event, which may hold personal data.
    """
    from handlers import wiring

    with connected(state_dir) as settings:
        story = wiring.desk(settings).show(tenant, dead_letter_id)
    if as_json:
        dead_letter_screens.print_json(dead_letter_screens.story_document(story))
        return
    dead_letter_screens.print_story(story)


@app.command()
def stats(*, tenant: AnyTenantOption = None, as_json: JsonOption = False, state_dir: StateDirOption = None) -> None:
    """Counts by tenant and state, age of the oldest, what came and went in 24 hours, outcomes of replays."""
    from handlers import wiring

    with connected(state_dir) as settings:
        check_words(settings, letter_filter(tenant=tenant))
        found = wiring.desk(settings).stats(tenant)
    if as_json:
        dead_letter_screens.print_json([asdict(one) for one in found])
        return
    dead_letter_screens.print_stats(found)


dead_letter_replays.add_to(app)
dead_letter_changes.add_to(app)
dead_letter_files.add_to(app)
