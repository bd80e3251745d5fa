"""Replays one letter at once, without waiting for what comes of it: for whoever looks at a single one."""

from __future__ import annotations

from shared.dead_letters import LETTER_STATES, LetterFilter
from shared.desk import Desk
from shared.desk_jobs import MOST_A_SECOND, JobReport, ReplayOptions
from shared.desk_replay import ReplayDesk
from shared.desk_replay_run import JobRun
from shared.errors import ConfigurationError, TransientFailure


def replay_one(desk: Desk, tenant_id: str, dead_letter_id: str, *, actor: str) -> JobReport:
    """Replay one letter without waiting for its outcome. Raises as `Desk.replay` does."""
    replays = ReplayDesk(desk)
    wanted = LetterFilter(tenant_id=tenant_id, states=LETTER_STATES, ids=(dead_letter_id,))
    options = ReplayOptions(rate=MOST_A_SECOND, wait_s=0)
    plan = replays.plan(wanted, options, words=dead_letter_id)
    if not plan.letters:
        why = ", ".join(plan.left_out).replace("_", " ")
        raise ConfigurationError("not_replayed", f"dead letter {dead_letter_id} is not replayed: {why}")
    job = replays.create(plan, actor=actor)
    report = JobRun(replays, pause=lambda _seconds: False).run(job.job_id)
    if report.state != "finished":
        raise TransientFailure(
            "replay_interrupted", report.stop_reason, fix=f"pipeline dead-letters resume {report.job_id}"
        )
    if report.reasons:
        raise ConfigurationError("not_replayed", f"dead letter {dead_letter_id}: {', '.join(report.reasons)}")
    return report
