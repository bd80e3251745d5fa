"""How dead letters look on a terminal. Everything printed as text is escaped: a webhook may have written it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import typer
from rich.console import Console

from handlers.cli.tables import print_table

if TYPE_CHECKING:
    from shared.dead_letters import DeadLetter, LetterGroup
    from shared.desk_jobs import JobReport
    from shared.desk_replay import ReplayPlan
    from shared.desk_stats import TenantStats
    from shared.desk_story import LetterStory

_PAYLOAD = "payload"


def print_json(document: Any) -> None:
    """One JSON document on standard output."""
    typer.echo(json.dumps(document, indent=2, default=str))


def letter_document(letter: DeadLetter) -> dict[str, Any]:
    """A letter for programs."""
    return {**asdict(letter), "restorable_until": letter.restorable_until}


def print_letters(letters: Sequence[DeadLetter], *, title: str) -> None:
    rows = [
        (
            letter.dead_letter_id,
            letter.tenant_id,
            letter.state,
            letter.stage,
            _reason(letter),
            str(letter.attempts),
            str(letter.occurrences),
            str(letter.replays),
            _age(letter.created_at),
            letter.note or letter.fix or letter.detail,
        )
        for letter in letters
    ]
    headings = (
        "id",
        "tenant",
        "state",
        "stage",
        "reason",
        "attempts",
        "times",
        "replays",
        "age",
        "what to do, or what happened",
    )
    print_table(title, headings, rows, console=Console())


def print_groups(groups: Sequence[LetterGroup]) -> None:
    rows = [
        (
            str(group.letters),
            group.tenant_id,
            group.stage,
            group.reason,
            str(group.occurrences),
            str(group.replays),
            _age(group.oldest),
            group.fix or group.detail,
        )
        for group in groups
    ]
    title = f"{sum(group.letters for group in groups)} dead letters in {len(groups)} groups"
    headings = ("letters", "tenant", "stage", "reason", "times", "replays", "oldest", "what to do, or what happened")
    print_table(title, headings, rows, console=Console())


def print_stats(stats: Sequence[TenantStats]) -> None:
    rows = [
        (
            one.tenant_id,
            str(one.open),
            str(one.replaying),
            str(one.closed),
            str(one.discarded),
            _age(one.oldest_open) if one.oldest_open else "",
            f"+{one.new_lately} -{one.closed_lately}",
            str(one.replays),
            ", ".join(f"{count} {state}" for state, count in sorted(one.replay_outcomes.items())),
        )
        for one in stats
    ]
    headings = ("tenant", "open", "replaying", "closed", "discarded", "oldest", "24 h", "replays", "outcomes")
    print_table("dead letters by tenant", headings, rows, console=Console())


def print_jobs(reports: Iterable[JobReport]) -> None:
    rows = [
        (
            report.job_id,
            report.state,
            f"{report.begun_at:%Y-%m-%d %H:%M}",
            report.actor,
            str(report.total),
            _counts(report),
            str(report.remaining),
            report.stop_reason or _words_of_state(report),
        )
        for report in reports
    ]
    headings = ("id", "state", "begun", "by", "letters", "outcomes", "remain", "why it stopped")
    print_table("replays", headings, rows, console=Console())


def print_story(story: LetterStory) -> None:
    """One letter, its errors, its timeline, and what a replay would do."""
    letter, preview = story.body.letter, story.preview
    facts = {
        "id": letter.dead_letter_id,
        "tenant": letter.tenant_id,
        "call": letter.call_id,
        "request": letter.current_request_id,
        "state": letter.state,
        "stage": letter.stage,
        "attempts": str(letter.attempts),
        "times given up": str(letter.occurrences),
        "replays": str(letter.replays),
        "what to do": letter.fix,
        "note": letter.note,
        "discarded because": letter.discard_reason,
        "restorable until": letter.restorable_until and f"{letter.restorable_until:%Y-%m-%d %H:%M}",
        "copy of": letter.copy_of,
        "topic": story.body.topic,
        "event": _event_words(story.body.event),
    }
    for name, value in facts.items():
        if value:
            typer.echo(f"{name:>18}: {value}")
    _print_lines("errors, the outermost first", story.error_chain)
    _print_lines("timeline", [f"{entry.at:%Y-%m-%d %H:%M:%S}  {entry.what}" for entry in story.timeline])
    if preview.refusal:
        _print_lines("a replay", [preview.refusal])
        return
    _print_lines(
        "a replay",
        [
            f"sends the event to {preview.topic} again, for request {preview.request_id}",
            f"runs {', '.join(preview.runs) or letter.stage}",
            f"keeps {', '.join((*preview.keeps, *preview.keeps_in_stage)) or 'nothing: nothing was finished'}",
            f"costs {preview.cost.words()}",
        ],
    )


def story_document(story: LetterStory) -> dict[str, Any]:
    """Everything for programs, the whole event included."""
    body = story.body
    return {
        **letter_document(body.letter),
        "topic": body.topic,
        "event": _event(body.event),
        "attributes": dict(body.attributes),
        "error_chain": story.error_chain,
        "failures": [asdict(one) for one in story.failures],
        "requests": [asdict(one) for one in story.requests],
        "runs": [asdict(one) for one in story.runs],
        "history": [asdict(one) for one in story.history],
        "replay_items": [asdict(one) for one in story.replays],
        "timeline": [asdict(one) for one in story.timeline],
        "replay": asdict(story.preview),
    }


def print_plan(plan: ReplayPlan, console: Console) -> None:
    """What a replay would do, on the console that the person looks at."""
    lines = [f"{len(plan.letters)} letters to replay ({plan.selection.words})"]
    for (tenant, stage, reason), count in sorted(plan.groups.items(), key=lambda item: -item[1]):
        lines.append(f"  {count:>6}  {tenant}  {stage}  {reason}")
    lines += [f"  {count:>6}  left out: {reason.replace('_', ' ')}" for reason, count in plan.left_out.items()]
    lines.append(f"sending takes at least {plan.duration_s:.0f} s at {plan.options.rate:g} a second{_care(plan)}")
    if plan.is_cut:
        lines.append("  that is as many as one replay looks at: the newest stay for the next one")
    if plan.options.steps:
        lines.append(f"in {len(plan.steps)} steps: {', '.join(str(size) for size in plan.steps[:8])}{_more(plan)}")
    lines.append(f"costs {plan.cost.words()}")
    for line in lines:
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def plan_document(plan: ReplayPlan) -> dict[str, Any]:
    """The plan for programs."""
    return {
        "letters": len(plan.letters),
        "ids": [letter.dead_letter_id for letter in plan.letters],
        "left_out": plan.left_out,
        "groups": [
            {"tenant_id": tenant, "stage": stage, "reason": reason, "letters": count}
            for (tenant, stage, reason), count in plan.groups.items()
        ],
        "cost": asdict(plan.cost),
        "duration_s": plan.duration_s,
        "steps": plan.steps,
        "options": plan.options.model_dump(mode="json"),
    }


def report_lines(report: JobReport) -> list[str]:
    """How a replay ended, in a few lines."""
    lines = [f"replay {report.job_id}: {report.state}; {_counts(report) or 'nothing sent'} of {report.total}"]
    lines += [f"  {count} skipped: {reason.replace('_', ' ')}" for reason, count in sorted(report.reasons.items())]
    lines += [f"  {count} left out: {reason.replace('_', ' ')}" for reason, count in sorted(report.left_out.items())]
    if report.stop_reason:
        lines.append(f"  {report.stop_reason}")
    if report.remaining:
        lines.append(f"  {report.remaining} remain")
    if report.state in {"stopped", "interrupted"}:
        lines.append(f"  go on with: pipeline dead-letters resume {report.job_id}")
    return lines


def _words_of_state(report: JobReport) -> str:
    return "its process died; resume goes on" if report.state == "interrupted" else ""


def _counts(report: JobReport) -> str:
    return ", ".join(f"{count} {state}" for state, count in sorted(report.counts.items()))


def _care(plan: ReplayPlan) -> str:
    return ", more where live calls would suffer" if plan.options.max_slowdown else ""


def _more(plan: ReplayPlan) -> str:
    return " …" if len(plan.steps) > 8 else ""


def _reason(letter: DeadLetter) -> str:
    if letter.error_code and letter.error_code != letter.reason:
        return f"{letter.reason} ({letter.error_code})"
    return letter.reason


def _event(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def _event_words(text: str) -> str:
    """The event without what a webhook said: that may be personal, and a terminal keeps what it shows."""
    event = _event(text)
    if not isinstance(event, dict):
        return f"{len(text)} characters that are no event; --json shows them"
    words = " ".join(f"{name}={value}" for name, value in event.items() if name != _PAYLOAD)
    if isinstance(event.get(_PAYLOAD), dict):
        words += f" payload: {len(event[_PAYLOAD])} fields; --json shows them"
    return words


def _age(moment: datetime) -> str:
    seconds = max(0, (datetime.now(UTC) - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3600, "h"), (60, "m")):
        if seconds >= size:
            return f"{seconds / size:.0f}{unit}"
    return f"{seconds:.0f}s"


def _print_lines(heading: str, lines: Sequence[str]) -> None:
    typer.echo(f"\n{heading}")
    for line in lines:
        typer.echo(f"  {line}")
