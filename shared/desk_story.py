"""One letter's whole story: its failures, its request's timeline, and what a replay would do and cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from schemas.calls import PROVIDERS
from shared.dead_letters import (
    DeadLetter,
    DeadLetterBody,
    Failure,
    HistoryLine,
    ReplayLine,
    RequestLine,
    RunLine,
)
from shared.desk_ports import LetterReads
from shared.desk_prices import CostEstimate, StageCost, estimate
from shared.pipeline import Pipeline


@dataclass(frozen=True)
class TimelineEntry:
    """Something that happened, in words without personal data."""

    at: datetime
    what: str


@dataclass(frozen=True)
class ReplayPreview:
    """What a replay would do. `refusal` says why it would do nothing."""

    refusal: str
    topic: str
    request_id: str
    runs: tuple[str, ...]
    """Stages that run, the failed one first."""
    keeps: tuple[str, ...]
    """Stages that are done and stay as they are."""
    keeps_in_stage: tuple[str, ...]
    """What the failed stage has finished already and does not do again."""
    cost: CostEstimate


@dataclass(frozen=True)
class LetterStory:
    """Everything that the desk knows of a letter."""

    body: DeadLetterBody
    failures: tuple[Failure, ...]
    requests: tuple[RequestLine, ...]
    runs: tuple[RunLine, ...]
    history: tuple[HistoryLine, ...]
    replays: tuple[ReplayLine, ...]
    timeline: tuple[TimelineEntry, ...]
    preview: ReplayPreview

    @property
    def error_chain(self) -> tuple[str, ...]:
        """From what the letter says down to what the stage said last, each once."""
        letter = self.body.letter
        run = next((one for one in self.runs if _is_run_of(one, letter)), None)
        lines = [f"{letter.reason}: {letter.detail}"]
        if run is not None and run.error_code:
            lines.append(f"{run.error_code}: {run.error_detail or ''}")
        lines += [f"{one.reason}: {one.detail}" for one in reversed(self.failures)]
        return tuple(dict.fromkeys(lines))


def story_of(
    body: DeadLetterBody, reads: LetterReads, pipeline: Pipeline, *, costs: Mapping[str, StageCost]
) -> LetterStory:
    """Read the rest of the story. Raises `TransientFailure`."""
    letter = body.letter
    key = (letter.tenant_id, letter.dead_letter_id)
    request_ids = list(dict.fromkeys(one for one in (letter.request_id, letter.current_request_id) if one))
    failures = reads.failures(*key)
    requests = reads.requests(letter.tenant_id, request_ids) if request_ids else []
    runs = reads.runs(letter.tenant_id, request_ids) if request_ids else []
    history = reads.history(*key)
    entries = [*_of_requests(requests), *_of_runs(runs), *_of_failures(failures), *_of_history(history)]
    return LetterStory(
        body=body,
        failures=tuple(failures),
        requests=tuple(requests),
        runs=tuple(runs),
        history=tuple(history),
        replays=tuple(reads.replays_of(*key)),
        timeline=tuple(sorted(entries, key=lambda entry: entry.at)),
        preview=preview_of(body, runs, pipeline, costs=costs),
    )


def preview_of(
    body: DeadLetterBody, runs: Sequence[RunLine], pipeline: Pipeline, *, costs: Mapping[str, StageCost]
) -> ReplayPreview:
    """What a plain replay of this letter would do now. Pure."""
    letter = body.letter
    current = {run.stage: run for run in runs if run.request_id == letter.current_request_id}
    done = tuple(stage for stage in pipeline.stages if stage in current and current[stage].state == "done")
    coming = tuple(stage for stage in stages_from(pipeline, letter.stage) if stage not in done)
    failed = current.get(letter.stage)
    return ReplayPreview(
        refusal=_refusal(letter),
        topic=body.topic,
        request_id=letter.current_request_id,
        runs=coming,
        keeps=done,
        keeps_in_stage=tuple(crm for crm in PROVIDERS if failed is not None and crm in failed.checkpoint),
        cost=estimate(dict.fromkeys(coming, 1), costs),
    )


def stages_from(pipeline: Pipeline, stage: str) -> tuple[str, ...]:
    """The stage and those after it; nothing for a stage that is none of the pipeline's."""
    stages = pipeline.stages
    return stages[stages.index(stage) :] if stage in stages else ()


def _refusal(letter: DeadLetter) -> str:
    match letter.state:
        case "closed":
            return "its stage is done: a replay would change nothing"
        case "discarded":
            return "it is discarded: restore it first"
        case "replaying":
            return "it is being replayed"
        case "open":
            return "" if letter.has_topic else "nobody knows which topic its message came from"


# --- timeline -----------------------------------------------------------------------------------------


def _of_requests(requests: Sequence[RequestLine]) -> Iterator[TimelineEntry]:
    for request in requests:
        yield TimelineEntry(request.received_at, f"request {request.request_id}: {request.kind} by {request.origin}")
        if request.finished_at is not None:
            yield TimelineEntry(request.finished_at, f"request {request.request_id}: {request.state}")


def _of_runs(runs: Sequence[RunLine]) -> Iterator[TimelineEntry]:
    for run in runs:
        yield TimelineEntry(run.started_at, f"{run.stage}: begun")
        if run.finished_at is not None:
            yield TimelineEntry(run.finished_at, f"{run.stage}: done, attempt {run.attempt}")
            continue
        error = f", {run.error_code}" if run.error_code else ""
        until = f", until {run.due_at:%Y-%m-%d %H:%M:%S}" if run.due_at else ""
        yield TimelineEntry(run.updated_at, f"{run.stage}: {run.state}, attempt {run.attempt}{error}{until}")


def _of_failures(failures: Sequence[Failure]) -> Iterator[TimelineEntry]:
    for failure in failures:
        by = "the stage" if failure.source == "runner" else "Pub/Sub"
        yield TimelineEntry(
            failure.published_at or failure.recorded_at,
            f"{failure.stage}: given up by {by} after {failure.attempts} attempts, {failure.reason}",
        )


def _of_history(history: Sequence[HistoryLine]) -> Iterator[TimelineEntry]:
    for line in history:
        note = f": {line.note}" if line.note else ""
        outcome = f", {line.outcome}" if line.outcome != "done" else ""
        yield TimelineEntry(line.at, f"{line.action} by {line.actor}{outcome}{note}")


def _is_run_of(run: RunLine, letter: DeadLetter) -> bool:
    return (run.request_id, run.stage) == (letter.current_request_id, letter.stage)
