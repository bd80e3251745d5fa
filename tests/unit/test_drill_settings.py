"""What drills may tell a process is refused everywhere but on the local stack."""

from __future__ import annotations

import pytest

from shared import crash_points
from shared.crash_points import CRASH_STATUS, arm, crash_point
from shared.errors import ConfigurationError
from shared.settings import load_settings

DRILLS = {
    "PIPELINE_LEASE_S": "6",
    "PIPELINE_CRASH_POINTS": "analyze.claimed#1",
    "PIPELINE_CRASH_MARKS": "/nowhere",
}


@pytest.mark.parametrize("name", DRILLS)
def test_a_drill_is_refused_in_production(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv(name, DRILLS[name])

    with pytest.raises(ConfigurationError, match="drills"):
        load_settings()


def test_a_drill_is_accepted_on_the_local_stack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "a-project")
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    for name, value in DRILLS.items():
        monkeypatch.setenv(name, value)

    assert load_settings().lease_s == 6


def test_nothing_is_armed_without_a_death_of_this_service(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hot path then calls a function that does nothing."""
    monkeypatch.setattr(crash_points, "_crash", crash_points._live_on)

    arm("analyze.claimed#1", service="download", marks="")
    arm("", service="analyze", marks="")

    assert crash_points._crash is crash_points._live_on
    crash_point("claimed")


def test_an_armed_process_dies_with_the_status_of_a_kill(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crash_points, "_crash", crash_points._live_on)
    statuses: list[int] = []

    arm("analyze.claimed#2", service="analyze", marks="")
    armed = crash_points._crash
    assert isinstance(armed, crash_points.Executioner)
    armed.kill = statuses.append
    for _ in range(3):
        crash_point("claimed")

    assert statuses == [CRASH_STATUS]


def test_a_wrong_mixture_is_said_in_our_words_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    monkeypatch.setenv("K_SERVICE", "webhook")
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.detail.startswith("PIPELINE_ENVIRONMENT=local on Cloud Run")
