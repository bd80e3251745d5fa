"""What the demo shows a person: the calls moving through the stages, then each call's story."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from infra.local.demo.results import CallResult
from infra.local.demo.watch import CallView, StageView
from schemas.analysis import CallAnalysis
from shared.story import STAGES

_MARKS = {
    "running": ("● working", "yellow"),
    "waiting": ("● working", "yellow"),
    "retrying": ("↻ again", "magenta"),
    "deferred": ("⏲ later", "magenta"),
    "blocked": ("✗ blocked", "red"),
    "failed": ("✗ failed", "red"),
}
_BANDS = ((70, "hot", "bold red"), (40, "warm", "yellow"), (0, "cold", "blue"))


def progress_table(views: Sequence[CallView]) -> Table:
    """One line a call, one column a stage."""
    table = Table(title="calls on their way", title_justify="left", expand=False)
    table.add_column("call")
    for stage in STAGES:
        table.add_column(stage, min_width=10)
    for view in views:
        table.add_row(view.posted.call.title, *(_cell(view, stage) for stage in STAGES))
    return table


def _cell(view: CallView, stage: str) -> Text:
    shown = view.stages.get(stage)
    if shown is None:
        skipped = view.is_final or any(later in view.stages for later in STAGES[STAGES.index(stage) + 1 :])
        return Text("not needed" if skipped else "·", style="dim")
    return _mark(shown)


def _mark(stage: StageView) -> Text:
    if stage.state == "done":
        return Text(f"✓ {stage.seconds:.1f} s" if stage.seconds is not None else "✓", style="green")
    text, style = _MARKS.get(stage.state, (stage.state, ""))
    return Text(text, style=style)


def print_results(console: Console, results: Sequence[CallResult]) -> None:
    """Each call's who, what was said, what it means, and what the CRMs hold."""
    for result in results:
        console.print(Panel(_story(result), title=_title(result), title_align="left", padding=(0, 1)))


def _title(result: CallResult) -> Text:
    analysis = result.record.analysis if result.record else None
    title = Text(f" {result.view.posted.call.title} ", style="bold")
    if analysis:
        _, band, style = next(entry for entry in _BANDS if analysis.lead_score >= entry[0])
        title.append(f"{analysis.lead_score} {band} ", style=style)
    return title


def _story(result: CallResult) -> RenderableType:
    parts: list[RenderableType] = [_who(result)]
    record = result.record
    if record and record.transcript:
        parts += [_heading("said"), Padding(_turns(result), (0, 0, 0, 2))]
    elif record and record.no_audio_reason:
        parts.append(Text(f"no audio: {record.no_audio_reason}", style="dim"))
    if record and record.analysis:
        parts += _meaning(record.analysis)
    parts += [_heading("in the CRMs"), *_crm_lines(result)]
    problems = [f"{name}: {stage.problem}" for name, stage in result.view.stages.items() if stage.problem]
    parts += [Text(problem, style="red") for problem in problems]
    return Group(*parts)


def _heading(text: str) -> Text:
    return Text(text, style="bold cyan")


def _who(result: CallResult) -> Text:
    if not result.record:
        return Text(f"call {result.view.posted.call.call_id}: {result.view.status}")
    details = result.record.details
    caller = " ".join(part for part in (details.caller_name, details.caller_number) if part) or "number withheld"
    total = result.view.timings_s().get("total")
    took = f", in the CRM after {total:.1f} s" if total is not None else ""
    return Text(f"{caller}, {details.city or 'place unknown'}, via {details.marketing.source or 'unknown'}{took}")


def _turns(result: CallResult) -> Table:
    grid = Table.grid(padding=(0, 1))
    transcript = result.record.transcript if result.record else None
    for turn in transcript.turns if transcript else ():
        minutes, seconds = divmod(int(turn.start_s), 60)
        grid.add_row(Text(f"{minutes:02d}:{seconds:02d}", style="dim"), Text(turn.speaker, style="bold"), turn.text)
    return grid


def _meaning(analysis: CallAnalysis) -> list[RenderableType]:
    lines: list[RenderableType] = [
        _heading("meaning"),
        Text(f"  {analysis.summary}"),
        Text(f"  {analysis.intent}, {analysis.sentiment}; topics: {', '.join(analysis.topics) or 'none'}"),
        _heading(f"score {analysis.lead_score}" + (" (qualified)" if analysis.qualified else "")),
    ]
    lines += [Text(f"  - {reason}") for reason in analysis.lead_score_reasons]
    return [*lines, _heading("next step"), Text(f"  {analysis.next_step}")]


def _crm_lines(result: CallResult) -> list[RenderableType]:
    if not result.crm:
        return [Text("  nothing", style="dim")]
    lines: list[RenderableType] = []
    if held := result.crm.get("hubspot"):
        call, contact = held["call"] or {}, held["contact"] or {}
        lines.append(
            Text(f"  HubSpot call {call.get('id', '?')}: {call.get('properties', {}).get('hs_call_title', '')}")
        )
        lines.append(Text(f"    contact {contact.get('id', 'none')} {contact.get('properties', {}).get('phone', '')}"))
    if held := result.crm.get("salesforce"):
        task, person = held["task"] or {}, held["person"] or {}
        lines.append(Text(f"  Salesforce task {task.get('Id', '?')}: {task.get('Subject', '')}"))
        lines.append(Text(f"    {person.get('Id', 'no person')} {person.get('Phone', '')} {person.get('Rating', '')}"))
    return lines
