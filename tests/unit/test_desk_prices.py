"""What a replay would cost: from comparable calls, never invented."""

from __future__ import annotations

import pytest

from shared.dead_letters import UsageAverage
from shared.desk_prices import DEAREST_MODEL, estimate, stage_costs, total

SPEECH = UsageAverage("transcribe", "chirp_3", 10, 60.0, 0, 0)
CHEAP = UsageAverage("analyze", "gemini-3.1-flash-lite", 3, 0, 1_000_000, 0)
DEAR = UsageAverage("analyze", "gemini-3.5-flash", 1, 0, 1_000_000, 0)


def test_a_stage_costs_what_its_calls_cost_on_average_over_all_models() -> None:
    costs = stage_costs([SPEECH, CHEAP, DEAR])
    assert costs["transcribe"].usd == pytest.approx(0.016)
    assert costs["analyze"].usd == pytest.approx((3 * 0.25 + 1.50) / 4)
    assert (costs["analyze"].calls, costs["analyze"].is_assumed) == (4, False)


def test_an_estimate_multiplies_and_says_how_much_it_rests_on() -> None:
    cost = estimate({"transcribe": 5, "analyze": 5, "crm_sync": 5}, stage_costs([SPEECH, CHEAP]))
    assert cost.usd == pytest.approx(5 * (0.016 + 0.25))
    assert (cost.comparable_calls, cost.unknown_stages) == (3, ())
    assert "at least 3 calls" in cost.words()


def test_a_model_without_a_known_price_counts_as_the_dearest_and_is_said() -> None:
    costs = stage_costs([UsageAverage("analyze", "gemini-9-dream", 1, 0, 1_000_000, 0)])
    cost = estimate({"analyze": 1}, costs)
    assert cost.usd == pytest.approx(DEAREST_MODEL[0])
    assert "dearest" in cost.words()


def test_analyses_without_a_model_cost_nothing() -> None:
    """Calls without words, or whose analysis was kept."""
    assert stage_costs([UsageAverage("analyze", "", 5, 0, 0, 0)])["analyze"].usd == 0


def test_nothing_known_is_not_free_and_a_crm_stage_alone_is() -> None:
    unknown = estimate({"analyze": 1}, {})
    assert not unknown.is_free
    assert "unknown" in unknown.words()
    free = estimate({"crm_sync": 3}, {})
    assert free.is_free
    assert "nothing that is billed" in free.words()


def test_several_tenants_together() -> None:
    costs = stage_costs([SPEECH])
    both = total([estimate({"transcribe": 2}, costs), estimate({"transcribe": 1, "analyze": 1}, {})])
    assert both.usd == pytest.approx(0.032)
    assert both.unknown_stages == ("analyze", "transcribe")
    assert total([]).is_free
