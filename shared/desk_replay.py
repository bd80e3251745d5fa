"""Replays, from the question what would happen to a job that can be stopped and resumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from uuid import uuid4

import structlog

from shared.dead_letters import UNASSIGNED_TENANT, AuditEntry, DeadLetter, LetterFilter
from shared.desk import CLOSED_AT_ONCE, Desk
from shared.desk_jobs import (
    STALLED_AFTER,
    JobReport,
    JobSelection,
    ReplayItem,
    ReplayJob,
    ReplayOptions,
    outcome_of,
    step_sizes,
)
from shared.desk_messages import reason_not_to_replay
from shared.desk_prices import CostEstimate, estimate, total
from shared.desk_story import stages_from
from shared.errors import ConfigurationError

log = structlog.get_logger()

MOST_LETTERS = 100_000
"""What one replay takes; the rest stays for the next."""


@dataclass(frozen=True)
class ReplayPlan:
    """What a replay would do: counted and priced, nothing changed yet."""

    letters: tuple[DeadLetter, ...]
    """In the order of sending, oldest first."""
    left_out: dict[str, int]
    """Letters that the filter found and that are not replayed, by reason."""
    groups: dict[tuple[str, str, str], int]
    """Letters by tenant, stage and reason."""
    cost: CostEstimate
    duration_s: float
    """How long the sending takes at the chosen rate, outcomes not counted."""
    steps: tuple[int, ...]
    options: ReplayOptions
    selection: JobSelection
    is_cut: bool = False
    """Whether there may be more letters than one replay looks at."""


@dataclass(frozen=True)
class ReplayDesk:
    """Plans, creates and looks after replay jobs; `shared.desk_replay_run` runs them."""

    desk: Desk

    # -- plan ------------------------------------------------------------------------------------------

    def plan(self, wanted: LetterFilter, options: ReplayOptions, *, words: str, held: Sequence[str] = ()) -> ReplayPlan:
        """Count and price a replay of the letters found, without changing anything but closing what has arrived.

        `held` tenants are left out. Raises `ConfigurationError` for an unknown stage or an id that is not there.
        """
        self._check_stage(options)
        wanted = replace(wanted, sort="oldest", limit=MOST_LETTERS)
        found = self.desk.find(wanted)
        _check_ids(wanted, found)
        letters: list[DeadLetter] = []
        left_out: Counter[str] = Counter()
        for letter in found:
            reason = self._reason_against(letter, options, held)
            if reason:
                left_out[reason] += 1
            else:
                letters.append(letter)
        return ReplayPlan(
            letters=tuple(letters),
            left_out=dict(left_out),
            groups=dict(Counter((one.tenant_id, one.stage, one.reason) for one in letters)),
            cost=self._cost(letters, options),
            duration_s=len(letters) / options.rate,
            steps=tuple(step_sizes(len(letters), options.steps)),
            options=options,
            selection=JobSelection(words=words, held=tuple(held), left_out=dict(left_out)),
            is_cut=len(found) == MOST_LETTERS,
        )

    def _reason_against(self, letter: DeadLetter, options: ReplayOptions, held: Sequence[str]) -> str:
        if letter.tenant_id in held:
            return "held"
        if options.from_stage and options.from_stage not in stages_until(self.desk.pipeline.stages, letter.stage):
            return "stage_not_earlier"
        return reason_not_to_replay(letter, options, stalled_before=self.stalled_before())

    def _check_stage(self, options: ReplayOptions) -> None:
        stages = self.desk.pipeline.stages
        if options.from_stage is not None and options.from_stage not in stages:
            raise ConfigurationError(
                "unknown_stage", f"no stage is called {options.from_stage}", fix=f"one of {', '.join(stages)}"
            )

    def _cost(self, letters: Sequence[DeadLetter], options: ReplayOptions) -> CostEstimate:
        by_tenant: dict[str, Counter[str]] = {}
        for letter in letters:
            runs = stages_from(self.desk.pipeline, options.from_stage or letter.stage)
            by_tenant.setdefault(letter.tenant_id, Counter()).update(runs)
        return total([estimate(runs, self.desk.costs(tenant_id)) for tenant_id, runs in by_tenant.items()])

    def stalled_before(self) -> datetime:
        """A replay that began before this and has no outcome may be begun anew."""
        return self.desk.now() - STALLED_AFTER

    # -- jobs ------------------------------------------------------------------------------------------

    def create(self, plan: ReplayPlan, *, actor: str) -> ReplayJob:
        """Write the job with one item for each letter. Nothing is sent yet."""
        if not plan.letters:
            raise ConfigurationError("nothing_to_replay", "no letter can be replayed", fix="see `list` and `show`")
        tenants = tuple(sorted({letter.tenant_id for letter in plan.letters}))
        if len(tenants) > 1:
            self.desk.store.ensure_unassigned_tenant()
        now = self.desk.now()
        job = ReplayJob(
            owner=tenants[0] if len(tenants) == 1 else UNASSIGNED_TENANT,
            job_id=str(uuid4()),
            state="waiting",
            actor=actor,
            selection=plan.selection,
            options=plan.options,
            tenants=tenants,
            total=len(plan.letters),
            judged_steps=0,
            stop_reason="",
            is_locked=False,
            created_at=now,
            updated_at=now,
            finished_at=None,
        )
        items = [
            ReplayItem(letter.tenant_id, letter.dead_letter_id, position, "pending")
            for position, letter in enumerate(plan.letters)
        ]
        detail = {
            "selection": plan.selection.words,
            "letters": len(items),
            "options": plan.options.model_dump(mode="json"),
        }
        self.desk.store.create_job(job, items, AuditEntry(actor, "replay.create", job.job_id, detail))
        return job

    def job(self, job_id: str) -> ReplayJob:
        """Raises `ConfigurationError` when there is none of this id."""
        job = self.desk.store.find_job(job_id)
        if job is None:
            raise ConfigurationError("no_such_replay", f"no replay {job_id}", fix="pipeline dead-letters jobs")
        return job

    def jobs(self, *, limit: int) -> list[JobReport]:
        """The latest replays, newest first, with what has become of their letters by now."""
        return [self.report(job) for job in self.desk.store.recent_jobs(limit=limit)]

    def report(self, job: ReplayJob) -> JobReport:
        """How a job stands, outcomes noted that came after it ended."""
        counts = self.desk.store.item_counts(job)
        if any(state in {"sent", "parked"} for state, _ in counts) and self.settle(job):
            counts = self.desk.store.item_counts(job)
        return JobReport.of(job, counts)

    def settle(self, job: ReplayJob) -> dict[int, ReplayItem]:
        """Note the outcome of every sent item that has one by now; returns those, by position.

        A letter that has arrived is closed at once, or by the next look or the sweeper.
        """
        settled: dict[int, ReplayItem] = {}
        for sent in self.desk.store.look_at_sent(job):
            state = outcome_of(sent)
            if state is None or state == sent.state:
                continue
            settled[sent.position] = ReplayItem(
                sent.tenant_id, sent.dead_letter_id, sent.position, state, replay_number=sent.replay_number
            )
        self.desk.store.mark_items(job, list(settled.values()))
        for tenant_id in sorted({item.tenant_id for item in settled.values() if item.state == "arrived"}):
            self.desk.close_arrivals(tenant_id, rounds=MOST_LETTERS // CLOSED_AT_ONCE + 1)
        return settled

    def stop(self, job_id: str, *, actor: str) -> None:
        """Ask a job to stop, from wherever it runs; it does within seconds. Raises `ConfigurationError`."""
        job = self.job(job_id)
        reason = f"stopped by {actor}"
        audit = AuditEntry(actor, "replay.stop", job_id, {})
        if not self.desk.store.stop_job(job, reason=reason, audit=audit):
            raise ConfigurationError("not_running", f"replay {job_id} is {job.state}")


def stages_until(stages: Sequence[str], stage: str) -> Sequence[str]:
    """The stages up to and with this one; nothing for a stage that is none of the pipeline's."""
    return stages[: stages.index(stage) + 1] if stage in stages else ()


def _check_ids(wanted: LetterFilter, found: Sequence[DeadLetter]) -> None:
    missing = sorted(set(wanted.ids) - {letter.dead_letter_id for letter in found})
    if missing:
        whose = f"tenant {wanted.tenant_id} has" if wanted.tenant_id else "there is"
        what = f"{whose} no dead letter {', '.join(missing)}"
        raise ConfigurationError("no_such_dead_letter", what, fix="pipeline dead-letters list")
