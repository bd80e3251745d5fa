"""The whole pipeline on one machine: emulators, stand-ins and workers, started together and ended together."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.local.errors import Report, StackError
from infra.local.install import ensure_emulators
from infra.local.leftovers import end_leftovers
from infra.local.plan import KEEPING_STANDINS, LOCAL_BACKOFF_SCALE, PROJECT_ROOT, Plan, make_plan
from infra.local.ports import Ports
from infra.local.probes import Readiness, wait_until_ready
from infra.local.processes import Child, Kind, ProcessGroup, kill_tree, started_at, terminate
from infra.local.state import ServiceState, StackState, StateDir
from shared.pipeline import load_pipeline

DEFAULT_STATE_DIR = PROJECT_ROOT / ".local"

Prepare = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Called once, when emulators and stand-ins answer and the empty database, the topics and the bucket are there. Gets
the workers' environment with the exported addresses; what it returns is kept in the state's `extra`."""

_READY_TIMEOUT_S = 90.0
_WORKER_GRACE_S = 10.0
"""Longer than gunicorn's own graceful time-out (handlers/gunicorn_conf.py)."""
_SERVICE_GRACE_S = 3.0
_WATCH_INTERVAL_S = 0.25


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """What to start, and where it keeps its state and logs."""

    state_dir: Path = DEFAULT_STATE_DIR
    only: tuple[str, ...] | None = None
    """Workers to start; None means all. The others get a port and subscriptions, to be started by hand."""
    backoff_scale: float = LOCAL_BACKOFF_SCALE
    """Factor on the delays of Pub/Sub's retry policy; 0 means a delivery each second, see `topics.create_topology`."""
    environ: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def prepare_nothing(_env: Mapping[str, str]) -> Mapping[str, str]:
    """For stacks that need no more than empty emulators."""
    return {}


def say_nothing(_line: str) -> None:
    """For stacks inside tests."""


class Stack:
    """One local stack, owned by this process: when this process ends, however it ends, so does the stack."""

    def __init__(
        self, options: StackOptions, *, prepare: Prepare = prepare_nothing, report: Report = say_nothing
    ) -> None:
        self.options = options
        self._prepare = prepare
        self._report = report
        self._dir = StateDir(options.state_dir)
        self._ports = Ports()
        self._group = ProcessGroup(cwd=PROJECT_ROOT, log_dir=self._dir.logs)
        self._children: dict[str, Child] = {}
        self._expected_dead: set[str] = set()
        self._state: StackState | None = None
        self._state_lock = threading.Lock()

    def __enter__(self) -> Stack:
        self.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self.stop()

    @property
    def state(self) -> StackState:
        """Addresses, environment and processes. Raises `StackError` when the stack is not running."""
        if self._state is None:
            raise StackError("not_started", "this stack has not been started")
        return self._state

    def start(self) -> StackState:
        """Start everything and wait until all of it answers. Raises `StackError`, after stopping what had started."""
        emulators = ensure_emulators(self._report, self.options.environ)
        self._dir.acquire()
        try:
            end_leftovers(self._dir)
            self._dir.forget()
            shutil.rmtree(self._dir.telemetry, ignore_errors=True)  # of a database that is gone
            plan = make_plan(
                pipeline=load_pipeline(),
                emulators=emulators,
                take_port=self._ports.take,
                environ=self.options.environ,
                telemetry_dir=self._dir.telemetry,
                kept_dir=self._dir.kept,
                only=self.options.only,
            )
            self._group.open()
            self._remember(plan, extra=self._bring_up(plan))
        except BaseException:
            self.stop()
            raise
        return self.state

    def stop(self) -> None:
        """End workers first, so that they can finish their work, then the rest. Safe to call twice."""
        workers = [child for child in self._children.values() if child.spec.kind == "worker"]
        others = [child for child in self._children.values() if child.spec.kind != "worker"]
        try:
            terminate(workers, grace_s=_WORKER_GRACE_S)
            terminate(others, grace_s=_SERVICE_GRACE_S)
        finally:
            self._group.close()
            self._children.clear()
            self._state = None
            self._ports.release()
            self._dir.release()

    def pid(self, name: str) -> int:
        """The process of a service, for signals of one's own."""
        return self._child(name).process.pid

    def kill(self, name: str) -> None:
        """SIGKILL one service and its children, as a dying machine would. `restart` brings it back."""
        self._expected_dead.add(name)
        child = self._child(name)
        kill_tree(child.process.pid)
        child.process.wait()

    def end(self, name: str) -> None:
        """SIGTERM one service and wait until it is gone; a stand-in keeps what it holds. `restart` brings it back.

        Raises `StackError` when a stand-in ended otherwise than it should: then nothing says that it kept anything.
        """
        self._expected_dead.add(name)
        child = self._child(name)
        terminate([child], grace_s=_WORKER_GRACE_S)
        if name in KEEPING_STANDINS and child.exit_status:
            raise StackError("not_kept", f"what it held may be lost: {child.obituary()}")

    def restart(self, name: str) -> None:
        """Start a service again on its old port, ending it first when it runs, and wait until it answers."""
        self._expected_dead.add(name)
        old = self._child(name)
        terminate([old], grace_s=_WORKER_GRACE_S)
        child = self._group.spawn(old.spec)
        self._children[name] = child
        self._expected_dead.discard(name)
        wait_until_ready(child, timeout_s=_READY_TIMEOUT_S, cancelled=threading.Event())
        self._update_process(child)

    def watch(self, until: threading.Event) -> None:
        """Report services that die, until the event is set. Raises `StackError` when one dies that all others need."""
        reported: set[int] = set()
        while not until.wait(_WATCH_INTERVAL_S):
            if not self._group.is_guarded:
                raise StackError("no_warden", "the process that guards the local stack was killed")
            for child in list(self._children.values()):
                died = child.exit_status is not None and child.process.pid not in reported
                if not died or child.spec.name in self._expected_dead:
                    continue
                reported.add(child.process.pid)
                if child.spec.kind == "emulator":
                    raise StackError("emulator_ended", f"the stack cannot go on: {child.obituary()}")
                self._report(child.obituary())

    def _bring_up(self, plan: Plan) -> Mapping[str, str]:
        """Start everything and prepare the emulators meanwhile; returns the preparation's findings.

        The emulators go first, because preparing them is the longest path; all else then starts at once. Workers
        need nothing prepared to come up, and until everything is there nobody sends them a message.
        """
        with Readiness(timeout_s=_READY_TIMEOUT_S, report=self._report) as readiness:
            self._spawn(plan, kinds={"emulator"}, readiness=readiness)
            # This import takes Google's clients half a second, which the emulators need too.
            from infra.local.fill import fill_emulators

            readiness.wait_for("emulator")
            self._spawn(plan, kinds={"stand-in", "worker"}, readiness=readiness)
            fill_emulators(plan, backoff_scale=self.options.backoff_scale)
            readiness.wait_for("stand-in")
            extra = self._prepare({**plan.env, **plan.exports})
            readiness.wait_for("worker")
        return extra

    def _spawn(self, plan: Plan, *, kinds: Collection[Kind], readiness: Readiness) -> None:
        for spec in plan.services:
            if spec.kind in kinds:
                self._dir.log(spec.name).unlink(missing_ok=True)
                self._children[spec.name] = self._group.spawn(spec)
                readiness.watch(self._children[spec.name])
        self._remember(plan, extra=None)

    def _remember(self, plan: Plan, *, extra: Mapping[str, str] | None) -> None:
        """Write the state; without `extra` the stack is not ready yet."""
        running = [_service_state(child) for child in self._children.values()]
        external = [ServiceState(name=name, kind="worker", address=url) for name, url in plan.external.items()]
        self._state = StackState(
            status="starting" if extra is None else "ready",
            supervisor_pid=os.getpid(),
            supervisor_started=started_at(os.getpid()),
            services=(*running, *external),
            env=dict(plan.env),
            exports=dict(plan.exports),
            extra=dict(extra or {}),
        )
        self._dir.write(self._state)

    def _update_process(self, child: Child) -> None:
        with self._state_lock:  # two services may be restarted at once
            services = tuple(
                _service_state(child) if service.name == child.spec.name else service for service in self.state.services
            )
            self._state = self.state.model_copy(update={"services": services})
            self._dir.write(self._state)

    def _child(self, name: str) -> Child:
        if name not in self._children:
            self.state.service(name)
            raise StackError("not_ours", f"{name} was not started by this stack")
        return self._children[name]


def _service_state(child: Child) -> ServiceState:
    return ServiceState(
        name=child.spec.name,
        kind=child.spec.kind,
        address=child.spec.address,
        log=str(child.log),
        pid=child.process.pid,
        started=child.started,
    )
