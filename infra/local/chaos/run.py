"""One chaos run from an empty machine to a verdict: stack, webhooks, faults, rest, replay, audit."""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from infra.local.chaos.audit import Verdict, judge
from infra.local.chaos.evidence import Witness
from infra.local.chaos.mixer import Mixer
from infra.local.chaos.plan import ChaosPlan, make_plan
from infra.local.chaos.saboteur import Saboteur
from infra.local.chaos.sender import Sender
from infra.local.chaos.settle import Rest, settle
from infra.local.chaos.tenants import ChaosTenant, prepare_tenants
from infra.local.environment import applied
from infra.local.stack import Stack, StackOptions

Report = Callable[[str], None]

_SWEEP_EVERY_S = 2.0
_SWEEPS_PER_CALL_S = 1 / 60
"""A thousand calls are swept every 17 s: each sweep reads them all, for 4 s in which the emulator does little else."""
_STALE_S = 8.0
_STALE_PER_CALL_S = 1 / 25
"""A thousand calls count as still after 40 s: so long is the queue before the emulators, with nothing broken."""
_IMPATIENT = {
    # What waits for minutes in production waits for seconds here, so that a run sees it happen.
    "PIPELINE_LEASE_S": "9",
    "PIPELINE_CIRCUIT_PROBE_S": "2",
    "PIPELINE_TRANSCRIPT_LOOK_S": "4",
    "PIPELINE_SECRET_CACHE_TTL_S": "1",
}
_SAID = {
    "duration_s": 1.0,
    "turns": [{"start_s": 0, "end_s": 1, "text": "My water heater burst and I need a plumber today."}],
}
_INDEX_LAG_S = 2.0
"""How far the CRMs' search indexes are behind: two calls of one person come faster than that."""
_REST_S = 1800.0
"""Only against what goes round for ever: a run that stands still is given up earlier (see `settle`), one that still
moves is waited for. On a machine with much else to do (load 22), 1,000 calls were not through after 600 s."""


@dataclass(frozen=True, kw_only=True)
class ChaosOptions:
    """What the command line asks for."""

    calls: int
    seed: int
    duration_s: float
    keep_logs: Path | None = None
    """Where the stack's logs stay; None means that they go with the run."""


@dataclass(frozen=True)
class ChaosResult:
    """One finished run."""

    plan: ChaosPlan
    verdict: Verdict
    rest: Rest
    done: tuple[str, ...]
    """The faults as they happened."""
    died: tuple[str, ...]
    """The crash points at which a process died."""
    doubled: int
    """Messages that were published again by the run."""
    model_answers: int

    @property
    def holds(self) -> bool:
        return self.verdict.holds and self.rest.is_quiet

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        verdict = self.verdict
        return {
            "seed": self.plan.seed,
            "plan": self.plan.digest,
            "calls": len(self.plan.calls),
            "webhooks": len(self.plan.posts),
            "duration_s": self.plan.duration_s,
            "lost": verdict.lost,
            "duplicated": verdict.duplicated,
            "double_paid": verdict.double_paid,
            "stuck": verdict.stuck,
            "holds": self.holds,
            "settled": self.rest.is_quiet,
            "settled_after_s": round(self.rest.seconds, 1),
            "replayed": self.rest.replayed,
            "doubled_messages": self.doubled,
            "model_answers": self.model_answers,
            "invariants": [
                {"name": one.name, "holds": one.holds, "found": one.found, "broken": list(one.broken)}
                for one in verdict.invariants
            ],
            "faults": list(self.done),
            "crash_points": list(self.died),
        }


def run_chaos(options: ChaosOptions, report: Report) -> ChaosResult:
    """Everything; the stack is gone afterwards. Progress goes to `report`."""
    plan = make_plan(seed=options.seed, calls=options.calls, duration_s=options.duration_s)
    report(f"seed {plan.seed}, plan {plan.digest}: {len(plan.calls)} calls, {len(plan.posts)} webhooks")
    with tempfile.TemporaryDirectory(prefix="pipeline-chaos-") as folder:
        marks = Path(folder) / "deaths"
        marks.mkdir()
        made: list[ChaosTenant] = []
        stack = Stack(
            StackOptions(
                state_dir=options.keep_logs or Path(folder),
                backoff_scale=0,
                environ={**os.environ, **_IMPATIENT, **_sweeper_of(plan), **_deaths(plan, marks)},
            ),
            prepare=lambda env: _prepare(env, made),
        )
        with stack:
            env = {**stack.state.env, **stack.state.exports}
            report("the stack is up")
            with applied(stack.state.env):
                return _storm(plan, _Scene(stack, env, made, marks), report)


def _sweeper_of(plan: ChaosPlan) -> dict[str, str]:
    stale_s = max(_STALE_S, len(plan.calls) * _STALE_PER_CALL_S)
    return {"PIPELINE_SWEEP_STALE_S": f"{stale_s:.1f}", "PIPELINE_SWEEP_AGAIN_S": f"{stale_s / 2:.1f}"}


def _deaths(plan: ChaosPlan, marks: Path) -> dict[str, str]:
    deaths = ",".join(str(death) for death in plan.deaths)
    return {"PIPELINE_CRASH_POINTS": deaths, "PIPELINE_CRASH_MARKS": str(marks)}


def _prepare(env: Mapping[str, str], made: list[ChaosTenant]) -> Mapping[str, str]:
    made += prepare_tenants(env)
    said = {"audio_uri": "*", "transcript": _SAID}
    _tell(env["SPEECH_ADMIN_URL"], "transcripts", said)
    _tell(env["HUBSPOT_URL"], "lag", {"searches": 1, "seconds": _INDEX_LAG_S})
    for tenant in made:
        _tell(env["SALESFORCE_URL"], "orgs", {"consumer_key": tenant.consumer_key, "search_lag_s": _INDEX_LAG_S})
    return {}


def _tell(url: str, door: str, document: Mapping[str, Any]) -> None:
    httpx.post(f"{url}/_standin/{door}", json=document, timeout=30.0, trust_env=False).raise_for_status()


@dataclass(frozen=True)
class _Scene:
    """Where a storm takes place."""

    stack: Stack
    env: Mapping[str, str]
    tenants: list[ChaosTenant]
    marks: Path


def _storm(plan: ChaosPlan, scene: _Scene, report: Report) -> ChaosResult:
    from handlers import wiring
    from shared.settings import load_settings

    settings = load_settings()
    desk = wiring.desk(settings)
    witness = Witness(scene.env, scene.tenants, open_database=wiring.database(settings), desk=desk)
    begun = time.monotonic()
    sender = Sender(scene.env, scene.tenants, plan.calls, begun=begun)
    saboteur = Saboteur(scene.stack, scene.env, begun=begun, marks=scene.marks, report=report)
    mixer = Mixer(scene.env, seed=plan.seed)
    with sender, _sweeping(scene.env, every_s=max(_SWEEP_EVERY_S, len(plan.calls) * _SWEEPS_PER_CALL_S)):
        mixer.start()
        saboteur.start(plan.faults)
        posts = plan.posts
        sender.send(posts, report=lambda number: _report_share(number, len(posts), report))
        time.sleep(max(0.0, begun + plan.duration_s - time.monotonic()))
        died = tuple(sorted(mark.name for mark in scene.marks.iterdir()))
        saboteur.heal(plan.deaths)
        ledger = sender.finish()
        mixer.stop()
        report(f"{time.monotonic() - begun:6.1f} s  the storm is over; {len(died)} deaths at crash points")
        rest = settle(witness, desk, most_s=_REST_S, report=report)
    evidence = witness.everything()
    return ChaosResult(
        plan=plan,
        verdict=judge(evidence, ledger, plan.calls, scene.tenants),
        rest=rest,
        done=tuple(saboteur.done),
        died=died,
        doubled=mixer.doubled,
        model_answers=evidence.model_answers,
    )


def _report_share(number: int, count: int, report: Report) -> None:
    if number % max(1, count // 10) == 0:
        report(f"{number} of {count} webhooks sent")


@contextmanager
def _sweeping(env: Mapping[str, str], *, every_s: float) -> Iterator[None]:
    """What Cloud Scheduler does, more often."""
    stopped = threading.Event()
    url = f"{env['OPERATOR_URL']}/internal/sweep"
    thread = threading.Thread(target=_sweep_until, args=(url, stopped, every_s), daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _sweep_until(url: str, stopped: threading.Event, every_s: float) -> None:
    while not stopped.wait(every_s):
        try:
            httpx.post(url, timeout=30.0, trust_env=False)
        except httpx.HTTPError:
            continue  # killed or frozen: the next sweep finds what this one would have found
