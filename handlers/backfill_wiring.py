"""The part of `handlers/wiring.py` that puts backfill and reconciliation together."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from handlers import wiring
from shared.settings import Settings

if TYPE_CHECKING:
    from shared.backfill_run import Ingester
    from shared.gateways.backfill_store import SpannerBackfillStore
    from shared.gateways.callrail_api import CallRailApi
    from shared.gateways.callrail_budget import RequestBudgets
    from shared.reconciliation import Reconciliation


@cache
def callrail_budgets() -> RequestBudgets:
    """One for the whole process: an account's limit counts every request, whoever sends it."""
    from shared.gateways.callrail_budget import RequestBudgets

    return RequestBudgets()


def callrail_api(settings: Settings, *, patience_s: float) -> CallRailApi:
    """CallRail's lists of calls; `patience_s` is how long a request may wait for our own budget."""
    from shared.gateways.callrail_api import CallRailApi

    return CallRailApi(
        wiring.secrets(settings),
        callrail_budgets(),
        now=wiring.now,
        patience_s=patience_s,
        local_base_url=settings.stand_ins.callrail_url,
    )


def backfill_store(settings: Settings, *, role: str | None = None) -> SpannerBackfillStore:
    """What backfill and reconciliation remember."""
    from shared.gateways.backfill_store import SpannerBackfillStore

    return SpannerBackfillStore(wiring.database(settings, role=role))


def ingester(settings: Settings, *, calls_per_s: float) -> Ingester:
    """Starts the chain of calls that a backfill found, at a bounded rate."""
    from shared.backfill_run import Ingester, pacer

    return Ingester(wiring.publisher_of(settings), wiring.now, pacer(calls_per_s))


@cache
def reconciliation(settings: Settings) -> Reconciliation:
    """The scheduled reconciliation of the operator service."""
    from shared.reconciliation import CALLS_PER_S, TIME_LIMIT, Reconciliation

    return Reconciliation(
        lister=callrail_api(settings, patience_s=0.0),
        store=backfill_store(settings, role="operator"),
        ingester=ingester(settings, calls_per_s=CALLS_PER_S),
        now=wiring.now,
        time_limit=TIME_LIMIT,
    )
