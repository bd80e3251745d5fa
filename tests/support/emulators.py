"""Session fixtures for tests against real emulators: each is started once, on first use, and ends with the session."""

from __future__ import annotations

import itertools
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from infra.local.emulators import Emulators, pubsub_spec, spanner_spec, storage_spec
from infra.local.install import ensure_emulators
from infra.local.plan import PROJECT_ROOT
from infra.local.ports import Ports
from infra.local.probes import wait_until_ready
from infra.local.processes import ProcessGroup, ServiceSpec
from shared.errors import ConfigurationError

TEST_PROJECT = "test-project"
TEST_INSTANCE = "test-instance"
_READY_TIMEOUT_S = 60.0

_SPANNER_CLIENT_ENV = {
    # The emulator loses concurrent read-write transactions on multiplexed sessions.
    "GOOGLE_CLOUD_SPANNER_MULTIPLEXED_SESSIONS_FOR_RW": "false",
    "SPANNER_DISABLE_BUILTIN_METRICS": "true",
    "SPANNER_ENABLE_EXTENDED_TRACING": "false",
}


@dataclass(frozen=True, kw_only=True)
class FreshDatabase:
    """A database of one test's own. `SPANNER_EMULATOR_HOST` is set, so Google's client finds it by these ids."""

    address: str
    project_id: str
    instance_id: str
    database_id: str


SpannerDatabaseFactory = Callable[[Sequence[str]], FreshDatabase]


@dataclass(frozen=True)
class _Starter:
    """Starts emulators for the session, all under one warden."""

    group: ProcessGroup
    ports: Ports

    def start(self, spec: ServiceSpec) -> str:
        child = self.group.spawn(spec)
        wait_until_ready(child, timeout_s=_READY_TIMEOUT_S, cancelled=threading.Event())
        return spec.address


@pytest.fixture(scope="session")
def _emulator_programs(request: pytest.FixtureRequest) -> Emulators:
    """Where the emulators are; installs what is missing if it can."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    try:
        with capture.global_and_fixture_disabled():  # an installation's progress is for the person who waits
            return ensure_emulators(print)
    except ConfigurationError as error:
        do_without(f"{error.detail}; {error.fix}")


def do_without(advice: str) -> NoReturn:
    """A missing emulator is a skip on a laptop and a failure in CI, where nobody reads skips."""
    if os.environ.get("CI"):
        pytest.fail(advice)
    pytest.skip(advice)


@pytest.fixture(scope="session")
def _starter() -> Iterator[_Starter]:
    with tempfile.TemporaryDirectory(prefix="pipeline-emulators-") as logs, ExitStack() as stack:
        group, ports = ProcessGroup(cwd=PROJECT_ROOT, log_dir=Path(logs)), Ports()
        stack.callback(ports.release)
        stack.callback(group.close)
        group.open()
        yield _Starter(group, ports)


@pytest.fixture(scope="session")
def pubsub_emulator(_starter: _Starter, _emulator_programs: Emulators) -> str:
    """host:port of Google's Pub/Sub emulator. Use a project id of your own; topics of other tests are there too."""
    return _starter.start(pubsub_spec(_emulator_programs, port=_starter.ports.take(), env=dict(os.environ)))


@pytest.fixture(scope="session")
def spanner_emulator(_starter: _Starter, _emulator_programs: Emulators) -> Iterator[str]:
    """host:port of Google's Spanner emulator, with `TEST_INSTANCE`; the environment points Google's client to it."""
    from infra.local.spanner import create_instance

    address = _starter.start(spanner_spec(_emulator_programs, port=_starter.ports.take(), env=dict(os.environ)))
    create_instance(address=address, project_id=TEST_PROJECT, instance_id=TEST_INSTANCE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPANNER_EMULATOR_HOST", address)
        for name, value in _SPANNER_CLIENT_ENV.items():
            patch.setenv(name, value)
        yield address


@pytest.fixture(scope="session")
def gcs_server(_starter: _Starter) -> str:
    """Base URL of a Cloud Storage stand-in without buckets; `infra.local.gcs.create_bucket` makes one."""
    try:
        spec = storage_spec(port=_starter.ports.take(), env=dict(os.environ))
    except FileNotFoundError as error:
        do_without(str(error))
    return _starter.start(spec)


@dataclass(frozen=True)
class SpannerDatabases:
    """Makes, reads and drops databases in the emulator's instance."""

    address: str

    def create(self, ddl: Sequence[str]) -> FreshDatabase:
        from infra.local.spanner import create_database

        made = FreshDatabase(
            address=self.address,
            project_id=TEST_PROJECT,
            instance_id=TEST_INSTANCE,
            database_id=f"test-{os.getpid()}-{next(_NUMBERS)}",
        )
        create_database(**asdict(made), ddl=ddl)
        return made

    def schema(self, made: FreshDatabase) -> tuple[str, ...]:
        """Its DDL as it is now, parents before children."""
        from infra.local.spanner import database_ddl

        return database_ddl(**asdict(made))

    def drop(self, made: FreshDatabase) -> None:
        from infra.local.spanner import drop_database

        drop_database(**asdict(made))


@pytest.fixture(scope="session")
def spanner_databases(spanner_emulator: str) -> SpannerDatabases:
    return SpannerDatabases(spanner_emulator)


@pytest.fixture
def spanner_database(spanner_databases: SpannerDatabases) -> Iterator[SpannerDatabaseFactory]:
    """Call it with DDL statements for a fresh database (its DDL costs the emulator up to 120 ms); all of them are
    dropped after the test."""
    made: list[FreshDatabase] = []

    def create(ddl: Sequence[str]) -> FreshDatabase:
        made.append(spanner_databases.create(ddl))
        return made[-1]

    yield create
    for database in made:
        spanner_databases.drop(database)


_NUMBERS = itertools.count(1)
