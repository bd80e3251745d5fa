"""The drill `frozen-pubsub`: a stack of its own, Pub/Sub stands still under load, and what was promised is counted."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.local.chaos.drills import DrillLoad, Outage, outage_of, sweep_over_http
from infra.local.demo_tenant import DEMO_COMPANY_ID
from infra.local.environment import applied
from infra.local.prepare import prepare
from infra.local.stack import Stack, StackOptions
from shared.gateways.calls import SpannerCalls
from shared.inbox import PREFIX

LONGEST_ANSWER_S = 2.0
_WORKERS = ("webhook", "download", "operator")
_ARRIVED_WITHIN_S = 120.0
_LOOK_EVERY_S = 0.5


@dataclass(frozen=True)
class FrozenResult:
    """What the senders were told, and what of it did not come true."""

    outage: Outage
    lost: tuple[str, ...]
    """Calls that were answered 2xx and did not arrive."""

    @property
    def holds(self) -> bool:
        """Everybody was answered in time, nothing is lost, and the backlog was shorter than the outage."""
        outage = self.outage
        in_time = outage.slowest_s <= LONGEST_ANSWER_S and outage.inbox_empty_after_s <= outage.lasted_s
        return not self.lost and in_time and set(outage.statuses()) == {202}

    def document(self) -> dict[str, Any]:
        """For `--json`."""
        outage = self.outage
        return {
            "holds": self.holds,
            "sent": len(outage.told),
            "statuses": {str(status): count for status, count in outage.statuses().items()},
            "lost": len(self.lost),
            "doubled": outage.doubled,
            "slowest_s": round(outage.slowest_s, 3),
            "outage_s": round(outage.lasted_s, 1),
            "in_inbox": outage.inbox_at_the_end,
            "inbox_empty_after_s": round(outage.inbox_empty_after_s, 1),
        }

    def line(self) -> str:
        """For people."""
        return f"lost={len(self.lost)} {self.outage.line()}"


def run_frozen_pubsub(*, freeze_s: float, per_s: float, report: Callable[[str], None]) -> FrozenResult:
    """Everything; the stack is gone afterwards. `per_s` is how many webhooks are sent in a second."""
    with tempfile.TemporaryDirectory(prefix="pipeline-drill-") as folder:
        options = StackOptions(state_dir=Path(folder), only=_WORKERS)
        with Stack(options, prepare=prepare) as stack:
            env = {**stack.state.env, **stack.state.exports, **stack.state.extra}
            report("the stack is up")
            with applied(stack.state.env):
                return _drill(stack, env, freeze_s=freeze_s, per_s=per_s, report=report)


def _drill(
    stack: Stack, env: Mapping[str, str], *, freeze_s: float, per_s: float, report: Callable[[str], None]
) -> FrozenResult:
    from handlers import wiring
    from shared.settings import load_settings

    settings = load_settings()
    objects = wiring.objects(settings)
    load = DrillLoad(env["WEBHOOK_URL"], DEMO_COMPANY_ID, env["DEMO_WEBHOOK_SECRET"], per_s=per_s)
    outage = outage_of(
        {"pubsub": stack.pid("pubsub")},
        load,
        pubsub_address=env["PUBSUB_EMULATOR_HOST"],
        freeze_s=freeze_s,
        inbox=lambda: objects.list_names(PREFIX),
        sweep=lambda: sweep_over_http(env["OPERATOR_URL"]),
    )
    report(outage.line())
    return FrozenResult(outage, _lost(wiring.calls(settings), env["DEMO_TENANT_ID"], outage.promised))


def _lost(calls: SpannerCalls, tenant_id: str, promised: Mapping[str, str]) -> tuple[str, ...]:
    """Calls without a finished request when the time is over."""
    open_calls = set(promised)
    ends_at = time.monotonic() + _ARRIVED_WITHIN_S
    while open_calls and time.monotonic() < ends_at:
        open_calls -= {call_id for call_id in open_calls if _has_arrived(calls, tenant_id, call_id)}
        time.sleep(_LOOK_EVERY_S)
    return tuple(sorted(open_calls))


def _has_arrived(calls: SpannerCalls, tenant_id: str, call_id: str) -> bool:
    return any(line.request_state == "done" for line in calls.story(tenant_id, call_id))
