"""Service `operator`: the neighbours' health for the receiver, the sweep for Cloud Scheduler; identity token only."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field

import structlog
from flask import Request, Response

from handlers.framework import without_rereading
from handlers.reconcile import PATH as RECONCILE_PATH
from shared.errors import PipelineError, TransientFailure
from shared.gateways.push_tokens import PushRejected, PushVerifier
from shared.measures import SWEEP_ACTIONS
from shared.sweeper import SweepReport
from shared.telemetry import OFF, Telemetry

log = structlog.get_logger()

PROBE_DEADLINE_S = 2.0

Probe = Callable[[], bool]


@dataclass(frozen=True)
class OperatorService:
    """Routes of the operator service."""

    verifier: PushVerifier
    probes: Mapping[str, Probe]
    sweep: Callable[[], SweepReport]
    reconcile: Callable[[Request], Response]
    """Route of `handlers/reconcile.py`."""
    telemetry: Telemetry = OFF
    _seen: set[str] = field(default_factory=set)
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(max_workers=8))

    def __call__(self, request: Request) -> Response:
        try:
            return without_rereading(request, self._route)
        finally:
            self.telemetry.flush_if_due()  # before the answer, as in handlers/push.py

    def _route(self, request: Request) -> Response:
        if request.path == "/livez":
            return Response("ok", 200, content_type="text/plain")
        try:
            self.verifier.check(request.headers.get("Authorization", ""))
        except PushRejected as error:
            log.warning("operator_call_rejected", code=error.code)
            return Response("unauthorized", 401, content_type="text/plain")
        except TransientFailure:
            return Response("try again", 503, content_type="text/plain")
        if request.path == "/internal/neighbours" and request.method == "GET":
            return Response(json.dumps(self._look_around()), 200, content_type="application/json")
        if request.path == "/internal/sweep" and request.method == "POST":
            return self._sweep()
        if request.path == RECONCILE_PATH:
            return self.reconcile(request)
        return Response("not found", 404, content_type="text/plain")

    def _sweep(self) -> Response:
        """One bounded sweep; 503 when it could not begin, so that Cloud Scheduler tries again."""
        try:
            report = self.sweep()
        except PipelineError as error:
            log.error("sweep_failed", code=error.code, detail=error.detail)
            return Response("try again", 503, content_type="text/plain")
        self._measure(report)
        return Response(json.dumps(report.document()), 200, content_type="application/json")

    def _measure(self, report: SweepReport) -> None:
        """A kind that was there once stands at 0 when it is gone: a gauge that nobody sets keeps its last value."""
        self._seen.update(report.actions)
        for action in self._seen:
            self.telemetry.gauge(SWEEP_ACTIONS, report.actions.get(action, 0), action=action)
        self.telemetry.gauge(SWEEP_ACTIONS, report.failed_tenants, action="tenant_failed")

    def _look_around(self) -> dict[str, str]:
        """Every probe at once under one short deadline: the receiver waits for the answer only a little longer."""
        running = {name: self._pool.submit(probe) for name, probe in self.probes.items()}
        wait(running.values(), timeout=PROBE_DEADLINE_S)
        return {name: "healthy" if _is_well(name, future) else "unhealthy" for name, future in running.items()}


def _is_well(name: str, future: Future[bool]) -> bool:
    if not future.done():
        future.cancel()
        return False
    if error := future.exception():
        log.error("probe_failed", neighbour=name, exc_info=error)
        return False
    return future.result()
