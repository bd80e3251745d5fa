"""The receiver's health page: 503 only when webhooks cannot be accepted, and never a load on its neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from handlers.health import CACHED_FOR, NEIGHBOURS, HealthPage
from tests.support.ports import HandClock

ALL_WELL = dict.fromkeys(NEIGHBOURS, "healthy")


@dataclass
class Surroundings:
    """What the page asks, and how often it did."""

    publishes: bool = True
    keeps: bool = True
    states: Mapping[str, str] = field(default_factory=lambda: dict(ALL_WELL))
    clock: HandClock = field(default_factory=HandClock)
    looks: int = 0

    def page(self) -> HealthPage:
        def can_publish() -> bool:
            self.looks += 1
            return self.publishes

        return HealthPage(
            can_publish=can_publish, can_keep=lambda: self.keeps, neighbours=lambda: self.states, now=self.clock
        )


def test_all_well_is_the_guides_document() -> None:
    reply = Surroundings().page().reply()
    assert reply.status == 200
    assert reply.body == {
        "status": "healthy",
        "timestamp": "2026-11-23T12:00:00Z",
        "services": {
            "database": "healthy",
            "storage": "healthy",
            "speech_api": "healthy",
            "vertex_ai": "healthy",
            "pubsub": "healthy",
        },
    }


@pytest.mark.parametrize("name", NEIGHBOURS)
def test_a_sick_neighbour_degrades_but_calls_are_still_accepted(name: str) -> None:
    reply = Surroundings(states=ALL_WELL | {name: "unhealthy"}).page().reply()
    assert (reply.status, reply.body["status"]) == (200, "degraded")
    assert reply.body["services"][name] == "unhealthy"


def test_an_unreachable_operator_leaves_its_neighbours_unknown() -> None:
    reply = Surroundings(states={}).page().reply()
    assert (reply.status, reply.body["status"]) == (200, "degraded")
    assert reply.body["services"] == {**dict.fromkeys(NEIGHBOURS, "unknown"), "pubsub": "healthy"}


def test_without_pubsub_webhooks_are_accepted_all_the_same() -> None:
    """They go to the inbox: 503 would take a receiver out of service that answers 202."""
    reply = Surroundings(publishes=False).page().reply()
    assert (reply.status, reply.body["status"]) == (200, "degraded")
    assert reply.body["services"]["pubsub"] == "unhealthy"


def test_when_neither_pubsub_nor_the_inbox_takes_a_webhook_the_service_is_unhealthy() -> None:
    reply = Surroundings(publishes=False, keeps=False).page().reply()
    assert (reply.status, reply.body["status"]) == (503, "unhealthy")
    assert reply.body["services"]["pubsub"] == "unhealthy"


def test_names_that_the_guide_does_not_know_are_left_out() -> None:
    reply = Surroundings(states=ALL_WELL | {"coffee": "unhealthy"}).page().reply()
    assert reply.body["status"] == "healthy"
    assert "coffee" not in reply.body["services"]


def test_the_answer_is_kept_for_seconds_and_then_looked_up_again() -> None:
    around = Surroundings()
    page = around.page()
    page.reply()
    around.publishes = around.keeps = False
    around.clock.advance(CACHED_FOR.total_seconds())
    kept = page.reply()
    assert (kept.status, around.looks) == (200, 1)
    assert kept.body["timestamp"] == "2026-11-23T12:00:05Z"
    around.clock.advance(1)
    assert (page.reply().status, around.looks) == (503, 2)
