"""The secrets gateway against the stand-in: fresh, cached, stale or blocked, and never shown."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from google.api_core import exceptions
from google.cloud.secretmanager_v1 import SecretManagerServiceClient
from google.cloud.secretmanager_v1.services.secret_manager_service.transports.grpc import (
    SecretManagerServiceGrpcTransport,
)

from infra.local.standins.faults import FaultRule
from infra.local.standins.grpc_serving import RunningStandin
from infra.local.standins.secret_manager import serve_secret_manager
from shared.errors import ConfigurationError, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.secrets import MAX_STALE_S, REFUSAL_TTL_S, REREAD_INTERVAL_S, STALE_PAUSE_S, SecretManagerSecrets

NAME = "crm-hubspot-acme"
PATH = f"projects/p/secrets/{NAME}"
TTL_S = 300.0


class Clock:
    """Monotonic seconds that only a test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def running() -> Iterator[RunningStandin]:
    with serve_secret_manager() as standin:
        yield standin


@pytest.fixture
def standin(running: RunningStandin) -> RunningStandin:
    httpx.post(f"{running.admin_url}/_standin/reset").raise_for_status()
    return running


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def secrets(standin: RunningStandin, clock: Clock) -> SecretManagerSecrets:
    return SecretManagerSecrets(project="p", ttl_s=TTL_S, local_address=standin.address, monotonic=clock)


@pytest.fixture
def google(standin: RunningStandin) -> Iterator[Any]:
    """Google's own client: the person who administers the secrets."""
    with grpc.insecure_channel(standin.address) as channel:
        yield SecretManagerServiceClient(transport=SecretManagerServiceGrpcTransport(channel=channel))


def _store(google: Any, value: bytes | str, *, name: str = NAME) -> None:
    with contextlib.suppress(exceptions.AlreadyExists):
        google.create_secret(parent="projects/p", secret_id=name, secret={"replication": {"automatic": {}}})
    data = value.encode() if isinstance(value, str) else value
    google.add_secret_version(parent=f"projects/p/secrets/{name}", payload={"data": data})


def _accesses(standin: RunningStandin) -> int:
    return int(httpx.get(f"{standin.admin_url}/_standin/state").json()["accesses"])


def _fault(standin: RunningStandin, **rule: Any) -> None:
    standin.plan.add(FaultRule(**({"operation": "access"} | rule)))


def _outage(standin: RunningStandin) -> None:
    _fault(standin, kind="status", grpc_code="UNAVAILABLE", times=10_000)


# --- reading ---


def test_the_latest_version_is_read_without_the_files_line_end(google: Any, secrets: SecretManagerSecrets) -> None:
    _store(google, "first")
    _store(google, "second\r\n")
    assert secrets.read(NAME) == "second"


def test_many_reads_ask_once_until_the_value_is_old(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "first")
    assert {secrets.read(NAME) for _ in range(5)} == {"first"}
    _store(google, "second")
    assert _accesses(standin) == 1
    clock.now += TTL_S
    assert secrets.read(NAME) == "second"
    assert _accesses(standin) == 2


def test_a_short_hiccup_is_not_noticed(google: Any, standin: RunningStandin, secrets: SecretManagerSecrets) -> None:
    _store(google, "value")
    _fault(standin, kind="status", grpc_code="UNAVAILABLE", times=2)
    assert secrets.read(NAME) == "value"


def test_a_damaged_value_is_never_handed_out(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    _store(google, "value")
    _fault(standin, kind="rubbish", body="valeu")
    assert secrets.read(NAME) == "value"
    _fault(standin, kind="rubbish", body="valeu", times=100)
    with pytest.raises(TransientFailure) as caught:
        SecretManagerSecrets(project="p", local_address=standin.address).read(NAME)
    assert caught.value.code == "secret_damaged"


@pytest.mark.parametrize(
    ("value", "code"), [(b"\xff\xfe\x00", "secret_unreadable"), (b"\n", "secret_empty"), (b"", "secret_empty")]
)
def test_a_value_that_is_no_text_blocks_the_tenant(
    google: Any, secrets: SecretManagerSecrets, value: bytes, code: str
) -> None:
    _store(google, value)
    with pytest.raises(TenantBlocked) as caught:
        secrets.read(NAME)
    assert caught.value.code == code
    assert NAME in caught.value.detail


# --- refusals ---


def test_a_missing_secret_blocks_the_tenant_and_is_named(secrets: SecretManagerSecrets) -> None:
    with pytest.raises(TenantBlocked) as caught:
        secrets.read("no-such-secret")
    assert caught.value.code == "secret_missing"
    assert "no-such-secret" in caught.value.detail
    assert caught.value.fix


def test_a_secret_without_versions_is_missing(google: Any, secrets: SecretManagerSecrets) -> None:
    google.create_secret(parent="projects/p", secret_id=NAME, secret={"replication": {"automatic": {}}})
    with pytest.raises(TenantBlocked, match="secret_missing"):
        secrets.read(NAME)


def test_a_forbidden_secret_says_which_role_is_missing(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    _store(google, "value")
    _fault(standin, kind="status", grpc_code="PERMISSION_DENIED")
    with pytest.raises(TenantBlocked) as caught:
        secrets.read(NAME)
    assert caught.value.code == "secret_forbidden"
    assert "secretAccessor" in caught.value.fix


def test_a_disabled_newest_version_blocks_even_with_an_older_one(google: Any, secrets: SecretManagerSecrets) -> None:
    _store(google, "old")
    _store(google, "new")
    google.disable_secret_version(name=f"{PATH}/versions/2")
    with pytest.raises(TenantBlocked, match="secret_disabled"):
        secrets.read(NAME)


def test_a_refusal_is_remembered_for_seconds_only(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    for _ in range(5):
        with pytest.raises(TenantBlocked):
            secrets.read(NAME)
    assert _accesses(standin) == 1
    _store(google, "value")
    clock.now += REFUSAL_TTL_S
    assert secrets.read(NAME) == "value"


def test_a_clear_no_ends_a_cached_value(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "value")
    secrets.read(NAME)
    google.disable_secret_version(name=f"{PATH}/versions/1")
    clock.now += TTL_S
    with pytest.raises(TenantBlocked):
        secrets.read(NAME)
    _outage(standin)
    clock.now += REFUSAL_TTL_S
    with pytest.raises(TransientFailure):
        secrets.read(NAME)


# --- outages ---


def test_an_outage_is_transient_when_nothing_was_read_before(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets
) -> None:
    _store(google, "value")
    _outage(standin)
    with pytest.raises(TransientFailure) as caught:
        secrets.read(NAME)
    assert caught.value.code == "secret_manager_unavailable"


def test_an_old_value_serves_through_an_outage_up_to_its_cap(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "value")
    secrets.read(NAME)
    _outage(standin)
    until = clock.now + MAX_STALE_S
    while clock.now + TTL_S < until:
        clock.now += TTL_S
        assert secrets.read(NAME) == "value"
    clock.now = until
    with pytest.raises(TransientFailure):
        secrets.read(NAME)


def test_an_old_value_is_replaced_soon_after_the_outage(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "value")
    secrets.read(NAME)
    _store(google, "rotated")
    _outage(standin)
    clock.now += TTL_S
    assert secrets.read(NAME) == "value"
    standin.plan.clear()
    assert secrets.read(NAME) == "value"
    clock.now += STALE_PAUSE_S
    assert secrets.read(NAME) == "rotated"


def test_while_one_caller_waits_for_a_fresh_value_the_others_go_on(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "value")
    secrets.read(NAME)
    clock.now += TTL_S
    _fault(standin, kind="stall", delay_s=1)
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(secrets.read, NAME) for _ in range(4)]
        served = [read.result() for read in islice(as_completed(reads), 3)]
        assert served == ["value"] * 3
        assert [read.done() for read in reads].count(False) == 1
    assert _accesses(standin) == 2


# --- rereading ---


def test_a_reread_brings_a_rotated_value_at_once(google: Any, secrets: SecretManagerSecrets, clock: Clock) -> None:
    _store(google, "first")
    secrets.read(NAME)
    _store(google, "second")
    clock.now += REREAD_INTERVAL_S
    assert secrets.reread(NAME) == "second"
    assert secrets.read(NAME) == "second"


def test_rereading_in_a_loop_asks_once_in_a_few_seconds(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "wrong")
    secrets.read(NAME)
    for _ in range(20):
        clock.now += REREAD_INTERVAL_S / 10
        assert secrets.reread(NAME) == "wrong"
    assert _accesses(standin) == 3


def test_a_reread_never_passes_an_old_value_off_as_new(
    google: Any, standin: RunningStandin, secrets: SecretManagerSecrets, clock: Clock
) -> None:
    _store(google, "value")
    secrets.read(NAME)
    clock.now += REREAD_INTERVAL_S
    _outage(standin)
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
    _fault(standin, operation="create_secret", kind="status", grpc_code="PERMISSION_DENIED")
    with pytest.raises(ConfigurationError):
        secrets.write(NAME, "value")


# --- discretion ---


@pytest.mark.parametrize("code", ["UNAVAILABLE", "PERMISSION_DENIED", "NOT_FOUND", "FAILED_PRECONDITION"])
def test_neither_errors_nor_representations_show_a_value(
    google: Any, standin: RunningStandin, clock: Clock, code: str
) -> None:
    _store(google, "hunter-two")
    secrets = SecretManagerSecrets(project="p", ttl_s=TTL_S, local_address=standin.address, monotonic=clock)
    secrets.read(NAME)
    shown = [repr(secrets), repr(vars(secrets))]
    clock.now += TTL_S
    _fault(standin, kind="status", grpc_code=code, times=4)
    try:
        secrets.reread(NAME)
    except PipelineError as error:
        shown += [str(error), error.fix]
    assert len(shown) == 4
    assert "hunter-two" not in "".join(shown)


def test_the_standin_shows_names_but_no_values(google: Any, standin: RunningStandin) -> None:
    _store(google, "hunter-two")
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
    _store(google, "value")
    with pytest.raises(TenantBlocked, match="secret_missing"):
        SecretManagerSecrets(project="other", local_address=standin.address).read(NAME)


def test_a_version_with_a_wrong_checksum_is_refused_by_the_standin(google: Any) -> None:
    _store(google, "value")
    with pytest.raises(exceptions.InvalidArgument):
        google.add_secret_version(parent=PATH, payload={"data": b"value", "data_crc32c": 1})


def test_importing_and_making_the_gateway_loads_no_google_client() -> None:
    program = (
        "import sys; from shared.gateways.secrets import SecretManagerSecrets; SecretManagerSecrets(project='p');"
        "print([name for name in sys.modules if name.startswith('google.cloud.')])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert shown.stdout.strip() == "[]"
