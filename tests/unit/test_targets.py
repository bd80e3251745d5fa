"""The image's entry points: only the services that exist, built once, and a fault in building one is said plainly."""

from __future__ import annotations

import pytest

from handlers import main
from shared.errors import ConfigurationError
from shared.pipeline import load_pipeline


@pytest.fixture(autouse=True)
def _nothing_built(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_built", {})


def test_every_service_of_the_pipeline_is_a_target() -> None:
    assert set(main.TARGETS) == set(load_pipeline().services)


def test_there_are_no_other_targets() -> None:
    assert not hasattr(main, "somewhere_else")


def test_a_target_is_built_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(main, "_build", lambda _name: object())
    assert main.webhook is main.webhook
    assert main.webhook is not main.operator


def test_wrong_settings_stop_a_service_before_it_serves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GOOGLE_CLOUD_PROJECT", raising=False)
    with pytest.raises(ConfigurationError, match="GOOGLE_CLOUD_PROJECT"):
        getattr(main, "webhook")  # noqa: B009 - looking it up is what builds it


def test_a_bug_in_building_a_service_does_not_look_like_a_missing_service(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_name: str) -> None:
        raise AttributeError("no such gateway")

    monkeypatch.setattr(main, "_build", broken)
    with pytest.raises(RuntimeError, match="webhook"):
        hasattr(main, "webhook")
