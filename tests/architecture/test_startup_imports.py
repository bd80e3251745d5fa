"""A service loads only the clients it needs: the webhook service must be ready at once, and small."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache

import pytest

from handlers.main import TARGETS
from infra.local.plan import PROJECT_ROOT

CLIENTS = ("aiplatform", "kms", "pubsub", "secretmanager", "spanner", "speech", "storage")
NEEDS: dict[str, set[str]] = {
    "webhook": {"pubsub"},
    "download": {"pubsub", "secretmanager", "spanner", "storage"},
    "transcribe": {"pubsub", "spanner", "speech", "storage"},
    "analyze": {"aiplatform", "pubsub", "spanner"},
    "crm_sync": {"pubsub", "secretmanager", "spanner"},
    "dead_letter": {"pubsub", "spanner"},
    "operator": {"pubsub", "spanner"},
}
"""What each service may have loaded when it is ready; what it loads later, at first use, is its own business."""

_BUILD = """
import json, sys
from handlers import main
getattr(main, sys.argv[1])
print("loaded " + json.dumps(sorted(sys.modules)))
"""


@cache
def loaded_by(target: str, **settings: str) -> tuple[str, ...]:
    """Names of all modules in a fresh process that has built one service, with local addresses nobody listens on."""
    env = {
        "PATH": os.environ.get("PATH", ""),
        "PYTHONPATH": str(PROJECT_ROOT),
        "GOOGLE_CLOUD_PROJECT": "test-project",
        "PIPELINE_ENVIRONMENT": "local",
        "PIPELINE_PUSH_AUTH": "off",
        "SPANNER_EMULATOR_HOST": "127.0.0.1:1",
        "PUBSUB_EMULATOR_HOST": "127.0.0.1:1",
        "STORAGE_EMULATOR_HOST": "http://127.0.0.1:1",
        **{f"PIPELINE_LOCAL_{name}": "127.0.0.1:1" for name in ("SPEECH", "VERTEX", "SECRET_MANAGER")},
        **{f"PIPELINE_LOCAL_{name}_URL": "http://127.0.0.1:1" for name in ("CALLRAIL", "HUBSPOT", "SALESFORCE")},
        **settings,
    }
    done = subprocess.run(
        [sys.executable, "-c", _BUILD, target], env=env, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    names: list[str] = json.loads(done.stdout.rpartition("loaded ")[2])
    return tuple(names)


def clients_in(modules: tuple[str, ...]) -> set[str]:
    return {client for client in CLIENTS if any(name.startswith(f"google.cloud.{client}") for name in modules)}


def test_every_service_is_listed_here() -> None:
    assert set(TARGETS) == set(NEEDS)


@pytest.mark.parametrize("target", TARGETS)
def test_a_service_loads_no_client_that_it_does_not_need(target: str) -> None:
    assert clients_in(loaded_by(target)) - NEEDS[target] == set()


@pytest.mark.parametrize("target", TARGETS)
def test_a_service_loads_no_other_stage_and_nothing_of_the_local_stack(target: str) -> None:
    ours = {f"stages.{target}"} if target in {"download", "transcribe", "analyze", "crm_sync"} else set()
    stages = {".".join(name.split(".")[:2]) for name in loaded_by(target) if name.startswith("stages.")}
    assert stages == ours
    assert [name for name in loaded_by(target) if name.startswith(("infra", "tests"))] == []


def test_the_webhook_service_starts_without_any_client_of_google() -> None:
    """`import google.cloud.aiplatform` alone costs 2 s and 190 MiB (measured); even gRPC's Python layer can wait."""
    assert clients_in(loaded_by("webhook")) == set()
    assert [name for name in loaded_by("webhook") if name.startswith(("google.api_core", "vertexai"))] == []


def test_the_webhook_service_holds_no_keys() -> None:
    """It could not open a thing; nor does it pay for loading what could."""
    held = [name for name in loaded_by("webhook") if name.startswith(("tink", "shared.gateways.vault"))]
    assert held == []


@pytest.mark.parametrize("target", TARGETS)
def test_cryptography_is_loaded_when_it_is_first_used(target: str) -> None:
    assert [name for name in loaded_by(target) if name.startswith("tink")] == []


@pytest.mark.parametrize("settings", [{}, {"PIPELINE_TRACES": "otlp", "PIPELINE_METRICS": "otlp"}])
def test_the_receiver_loads_no_telemetry_at_its_start(settings: dict[str, str]) -> None:
    """OpenTelemetry's SDK with its exporter takes 0.25 s: in the background, during the first requests."""
    assert [name for name in loaded_by("webhook", **settings) if name.startswith("opentelemetry")] == []


def test_telemetry_that_is_off_loads_no_exporter() -> None:
    assert [name for name in loaded_by("analyze") if name.startswith("opentelemetry.exporter")] == []
