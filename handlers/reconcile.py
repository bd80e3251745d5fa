"""`POST /internal/backfill`: Cloud Scheduler starts a reconciliation of every customer's latest calls."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

import structlog
from flask import Request, Response

from shared.errors import PipelineError
from shared.reconciliation import Outcome, RunSummary

log = structlog.get_logger()

PATH = "/internal/backfill"


@dataclass(frozen=True)
class ReconcileRoute:
    """One route of the operator service, which has checked the caller's identity before.

    | answer | when | Cloud Scheduler |
    | --- | --- | --- |
    | 200 | the run came to its end; what was postponed or blocked stands in the body | waits for its next time |
    | 405 | not a POST | |
    | 503 | our own database or Pub/Sub failed | tries again |
    """

    run: Callable[[], RunSummary]

    def __call__(self, request: Request) -> Response:
        if request.method != "POST":
            return Response("use POST", 405, headers={"Allow": "POST"}, content_type="text/plain")
        try:
            summary = self.run()
        except PipelineError as error:
            log.error("reconciliation_not_done", code=error.code, detail=error.detail)
            return Response("try again", 503, content_type="text/plain")
        return Response(json.dumps(_document(summary)), 200, content_type="application/json")


def _document(summary: RunSummary) -> dict[str, object]:
    return {
        "is_whole": summary.is_whole,
        "tenants": {outcome.value: summary.outcomes[outcome] for outcome in Outcome},
        "calls": asdict(summary.tally),
    }
