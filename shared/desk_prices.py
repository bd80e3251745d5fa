"""What a replay would cost: the ledger of comparable calls, times a small dated price list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from shared.dead_letters import UsageAverage

PRICES_AS_OF = date(2026, 11, 23)
"""List prices in US dollars; contracts and discounts are not in here."""

SPEECH_PER_MINUTE = 0.016
"""Speech-to-Text v2, standard recognition up to 500,000 minutes a month. Dynamic batch costs 0.003: an upper bound."""

MODEL_PER_MILLION: Mapping[str, tuple[float, float]] = {
    # Input and output, thinking included; text only.
    "gemini-3.8-flash": (0.75, 3.75),
    "gemini-3.5-flash": (1.50, 9.00),
    "gemini-3.1-flash-lite": (0.25, 1.50),
}
DEAREST_MODEL = max(MODEL_PER_MILLION.values())
"""For a model without a known price: better too much than a surprise."""


@dataclass(frozen=True)
class StageCost:
    """The expected cost of running one stage once, from `calls` comparable calls."""

    stage: str
    calls: int
    usd: float
    is_assumed: bool
    """Some of it was priced like the dearest model, because the list does not know the model's price."""


@dataclass(frozen=True)
class CostEstimate:
    """What a replay would cost, list prices of `as_of`."""

    usd: float
    comparable_calls: int
    """The fewest calls that any priced stage was averaged over; 0: nothing comparable was recorded."""
    is_assumed: bool
    unknown_stages: tuple[str, ...]
    """Paid stages that would run and of which the ledger knows nothing; they are not in `usd`."""
    as_of: date = PRICES_AS_OF

    @property
    def is_free(self) -> bool:
        """No stage runs that is billed by use."""
        return not self.comparable_calls and not self.unknown_stages

    def words(self) -> str:
        """For people."""
        if self.is_free:
            return "nothing that is billed by use"
        if not self.comparable_calls:
            text = "unknown: no comparable call is in the ledger"
        else:
            text = f"about ${self.usd:.4f} (list prices of {self.as_of}, at least {self.comparable_calls} calls)"
        if self.is_assumed:
            text += "; a model without a known price counts as the dearest"
        if self.comparable_calls and self.unknown_stages:
            text += f"; without {', '.join(self.unknown_stages)}, of which nothing is known"
        return text


PAID_STAGES = ("transcribe", "analyze")
"""The stages that use what is billed by use; the others cost requests within a plan."""


def price(usage: UsageAverage) -> tuple[float, bool]:
    """One call's cost in dollars, and whether a price was assumed."""
    cost = usage.audio_s / 60 * SPEECH_PER_MINUTE
    if not usage.input_tokens and not usage.output_tokens:
        return cost, False
    known = MODEL_PER_MILLION.get(usage.model)
    per_input, per_output = known or DEAREST_MODEL
    cost += (usage.input_tokens * per_input + usage.output_tokens * per_output) / 1_000_000
    return cost, known is None


def stage_costs(averages: Iterable[UsageAverage]) -> dict[str, StageCost]:
    """What each stage costs on average, over all models that were used."""
    costs: dict[str, StageCost] = {}
    for usage in averages:
        cost, is_assumed = price(usage)
        before = costs.get(usage.stage, StageCost(usage.stage, 0, 0.0, is_assumed=False))
        calls = before.calls + usage.calls
        mean = (before.usd * before.calls + cost * usage.calls) / calls
        costs[usage.stage] = StageCost(usage.stage, calls, mean, is_assumed=before.is_assumed or is_assumed)
    return costs


def estimate(runs: Mapping[str, int], costs: Mapping[str, StageCost]) -> CostEstimate:
    """The cost of running each stage of `runs` so many times."""
    paid = {stage: count for stage, count in runs.items() if count and stage in PAID_STAGES}
    known = [costs[stage] for stage in paid if stage in costs]
    return CostEstimate(
        usd=sum(cost.usd * paid[cost.stage] for cost in known),
        comparable_calls=min((cost.calls for cost in known), default=0),
        is_assumed=any(cost.is_assumed for cost in known),
        unknown_stages=tuple(sorted(set(paid) - set(costs))),
    )


def total(estimates: Sequence[CostEstimate]) -> CostEstimate:
    """Several estimates together, for example of several tenants."""
    priced = [one.comparable_calls for one in estimates if one.comparable_calls]
    return CostEstimate(
        usd=sum(one.usd for one in estimates),
        comparable_calls=min(priced, default=0),
        is_assumed=any(one.is_assumed for one in estimates),
        unknown_stages=tuple(sorted({stage for one in estimates for stage in one.unknown_stages})),
    )
