"""Where telemetry goes is said in one word, and any other word is refused at the start."""

from __future__ import annotations

import pytest

from handlers.wiring_telemetry import telemetry_of
from shared.errors import ConfigurationError
from shared.gateways.telemetry import OpenTelemetry
from shared.settings import load_settings
from shared.telemetry import OFF


@pytest.fixture(autouse=True)
def _local(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "test-project")
    monkeypatch.setenv("PIPELINE_ENVIRONMENT", "local")
    monkeypatch.setenv("PIPELINE_PUSH_AUTH", "off")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("PIPELINE_TRACES", "stackdriver"),
        ("PIPELINE_METRICS", "on"),
        ("PIPELINE_TRACE_RATIO", "1.5"),
        ("PIPELINE_METRICS_EVERY_S", "0"),
        ("PIPELINE_TRACES", "google"),  # from a laptop
    ],
)
def test_a_wrong_value_is_refused_by_its_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ConfigurationError) as caught:
        load_settings()

    assert name.removeprefix("PIPELINE_").lower() in caught.value.detail.lower()


def test_off_is_the_default_and_nothing_at_all() -> None:
    assert telemetry_of(load_settings(), service="webhook") is OFF


@pytest.mark.parametrize("name", ["PIPELINE_TRACES", "PIPELINE_METRICS"])
def test_one_of_the_two_can_be_on(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("atexit.register", lambda _work: None)
    monkeypatch.setattr("handlers.wiring_telemetry.on_sigterm_after", lambda _after_s, _work: None)
    monkeypatch.setenv(name, "console")
    telemetry = telemetry_of(load_settings(), service="webhook")

    assert isinstance(telemetry, OpenTelemetry)
    assert telemetry.trace_of("acme-plumbing", "r-1").is_sampled is (name == "PIPELINE_TRACES")
