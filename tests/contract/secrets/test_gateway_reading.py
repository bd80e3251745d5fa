"""The secrets gateway against the stand-in: fresh, cached, read again, written, and never shown."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
from google.api_core import exceptions

from infra.local.standins.grpc_serving import RunningStandin
from infra.local.standins.secret_manager import serve_secret_manager
from shared.errors import ConfigurationError, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.secrets import REREAD_INTERVAL_S, SecretManagerSecrets
from tests.contract.secrets.administering import NAME, PATH, TTL_S, Clock, accesses, fault, outage, store

# --- reading ---


def test_the_latest_version_is_read_without_the_files_line_end(google: Any, secrets: SecretManagerSecrets) -> None:
    store(google, "first")
    store(google, "second\r\n")
    assert secrets.read(NAME) == "second"


def test_many_reads_ask_once_until_the_value_is_old(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "first")
    assert {secrets.read(NAME) for _ in range(5)} == {"first"}
    store(google, "second")
    assert accesses(standin) == 1
    clock.now += TTL_S
    assert secrets.read(NAME) == "second"
    assert accesses(standin) == 2


def test_a_short_hiccup_is_not_noticed(google: Any, standin: RunningStandin, secrets: SecretManagerSecrets) -> None:
    store(google, "value")
    fault(standin, kind="status", grpc_code="UNAVAILABLE", times=2)
    assert secrets.read(NAME) == "value"


def test_a_damaged_value_is_never_handed_out(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    store(google, "value")
    fault(standin, kind="rubbish", body="valeu")
    assert secrets.read(NAME) == "value"
    fault(standin, kind="rubbish", body="valeu", times=100)
    with pytest.raises(TransientFailure) as caught:
        SecretManagerSecrets(project="p", local_address=standin.address).read(NAME)
    assert caught.value.code == "secret_damaged"


@pytest.mark.parametrize(
    ("value", "code"), [(b"\xff\xfe\x00", "secret_unreadable"), (b"\n", "secret_empty"), (b"", "secret_empty")]
)
def test_a_value_that_is_no_text_blocks_the_tenant(
    google: Any, secrets: SecretManagerSecrets, value: bytes, code: str
) -> None:
    store(google, value)
    with pytest.raises(TenantBlocked) as caught:
        secrets.read(NAME)
    assert caught.value.code == code
    assert NAME in caught.value.detail


# --- rereading ---


def test_a_reread_brings_a_rotated_value_at_once(google: Any, secrets: SecretManagerSecrets, clock: Clock) -> None:
    store(google, "first")
    secrets.read(NAME)
    store(google, "second")
    clock.now += REREAD_INTERVAL_S
    assert secrets.reread(NAME) == "second"
    assert secrets.read(NAME) == "second"


def test_rereading_in_a_loop_asks_once_in_a_few_seconds(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "wrong")
    secrets.read(NAME)
    for _ in range(20):
        clock.now += REREAD_INTERVAL_S / 10
        assert secrets.reread(NAME) == "wrong"
    assert accesses(standin) == 3


def test_a_reread_never_passes_an_old_value_off_as_new(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    store(google, "value")
    secrets.read(NAME)
    clock.now += REREAD_INTERVAL_S
    outage(standin)
    with pytest.raises(TransientFailure):
        secrets.reread(NAME)
    assert secrets.read(NAME) == "value"


# --- writing ---


def test_a_written_secret_is_created_once_then_versioned(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    secrets.write(NAME, "first")
    assert secrets.read(NAME) == "first"
    secrets.write(NAME, "second")
    assert secrets.read(NAME) == "second"
    held = httpx.get(f"{standin.admin_url}/_standin/state").json()["secrets"]
    assert held[PATH]["versions"] == ["ENABLED", "ENABLED"]
    assert google.get_secret(name=PATH).name == PATH
    assert [version.name for version in google.list_secret_versions(parent=PATH)] == [
        f"{PATH}/versions/2",
        f"{PATH}/versions/1",
    ]


@pytest.mark.parametrize("value", ["", "x" * 65_537])
def test_a_value_that_cannot_be_stored_is_refused_before_it_is_sent(secrets: SecretManagerSecrets, value: str) -> None:
    with pytest.raises(ConfigurationError):
        secrets.write(NAME, value)


def test_writing_without_permission_is_the_operators_problem(
    standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    fault(standin, operation="create_secret", kind="status", grpc_code="PERMISSION_DENIED")
    with pytest.raises(ConfigurationError):
        secrets.write(NAME, "value")


# --- discretion ---


@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION"])
def test_neither_errors_nor_representations_show_a_value(
    google: Any, standin: RunningStandin, clock: Clock, code: str
) -> None:
    store(google, "hunter-two")
    secrets = SecretManagerSecrets(project="p", ttl_s=TTL_S, local_address=standin.address, monotonic=clock)
    secrets.read(NAME)
    shown = [repr(secrets), repr(vars(secrets))]
    clock.now += TTL_S
    fault(standin, kind="status", grpc_code=code, times=4)
    try:
        secrets.reread(NAME)
    except PipelineError as error:
        shown += [str(error), error.fix]
    assert len(shown) == 4
    assert "hunter-two" not in "".join(shown)


def test_the_standin_shows_names_but_no_values(google: Any, standin: RunningStandin) -> None:
    store(google, "hunter-two")
    assert NAME in (shown := httpx.get(f"{standin.admin_url}/_standin/state").text)
    assert "hunter-two" not in shown


def test_missing_credentials_are_transient_and_say_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing.json"))
    with pytest.raises(TransientFailure) as caught:
        SecretManagerSecrets(project="p").write(NAME, "value")
    assert caught.value.code == "secret_manager_no_credentials"


# --- the stand-in's own file ---


def test_a_file_preloads_the_standin_and_keeps_what_is_written(tmp_path: Path) -> None:
    file = tmp_path / "secrets.json"
    file.write_text(json.dumps({"p": {NAME: [{"value": "from the file"}]}}))
    with serve_secret_manager(file) as first:
        secrets = SecretManagerSecrets(project="p", local_address=first.address)
        assert secrets.read(NAME) == "from the file"
        secrets.write("another", "kept")
    with serve_secret_manager(file) as second:
        assert SecretManagerSecrets(project="p", local_address=second.address).read("another") == "kept"
    assert file.stat().st_mode & 0o077 == 0


def test_another_projects_secret_is_not_found(google: Any, standin: RunningStandin) -> None:
    store(google, "value")
    with pytest.raises(TenantBlocked, match="secret_missing"):
        SecretManagerSecrets(project="other", local_address=standin.address).read(NAME)


def test_a_version_with_a_wrong_checksum_is_refused_by_the_standin(google: Any) -> None:
    store(google, "value")
    with pytest.raises(exceptions.InvalidArgument):
        google.add_secret_version(parent=PATH, payload={"data": b"value", "data_crc32c": 1})


def test_importing_and_making_the_gateway_loads_no_google_client() -> None:
    program = (
        "import sys; from shared.gateways.secrets import SecretManagerSecrets; SecretManagerSecrets(project='p');"
        "print([name for name in sys.modules if name.startswith('google.cloud.')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
