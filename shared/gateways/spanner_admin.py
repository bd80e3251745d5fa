"""Spanner's administrative side: creating the emulator's database, sending DDL and watching it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from typing import Any

from google.api_core import exceptions
from google.api_core.retry import Retry, if_exception_type
from google.cloud import spanner
from google.cloud.spanner_v1.client import EMULATOR_ENV_VAR
from google.cloud.spanner_v1.database import Database

from shared.errors import ConfigurationError

_POLL_S = 1.0
_CREATE_TIMEOUT_S = 60.0
_POLL_RETRY = Retry(
    predicate=if_exception_type(exceptions.ServiceUnavailable, exceptions.DeadlineExceeded),
    timeout=120.0,
)


class DdlFailed(Exception):
    """Spanner stopped at a statement: `error` says why. The `applied` statements before it stay."""

    def __init__(self, applied: int, error: Exception) -> None:
        super().__init__(f"{applied} statements were applied")
        self.applied = applied
        self.error = error


def is_emulator(database: Database) -> bool:
    """Whether the client talks to the emulator: its own answer, taken from SPANNER_EMULATOR_HOST."""
    # The instance is public knowledge of the client, but the database offers no public way to it.
    return database._instance.emulator_host is not None


def ensure_emulator_database(project: str, instance: str, database: str) -> Database:
    """Create instance and database on the emulator unless they are there; the client finds it by itself.

    Raises `ConfigurationError` when SPANNER_EMULATOR_HOST is not set: on Google, Terraform creates databases.
    """
    # The variable is the client's own; asking first keeps the client from looking for a way to Google.
    if not os.environ.get(EMULATOR_ENV_VAR):
        raise ConfigurationError(
            "no_spanner_emulator",
            f"{EMULATOR_ENV_VAR} is not set, so this would create a database on Google",
            fix=f"start the local stack, or export {EMULATOR_ENV_VAR}=host:port",
        )
    client = spanner.Client(project=project, disable_builtin_metrics=True)
    place = client.instance(
        instance,
        configuration_name=f"{client.project_name}/instanceConfigs/emulator-config",
        node_count=1,
    )
    _create(place.create)
    target: Database = place.database(database)
    _create(target.create)
    return target


def _create(create: Callable[[], Any]) -> None:
    try:
        create().result(_CREATE_TIMEOUT_S)
    except exceptions.AlreadyExists:
        return


def apply_ddl(
    database: Database, statements: Sequence[str], *, on_progress: Callable[[int], None], poll_s: float = _POLL_S
) -> None:
    """Send statements as one schema update and wait for its end; `on_progress` hears how many are applied.

    Spanner applies a batch statement by statement, each atomically, and stops at the first that fails. One batch
    is what Google advises: every separate update is a schema version and takes seconds to minutes.
    Raises `DdlFailed`.
    """
    try:
        operation = database.update_ddl(list(statements))
    except exceptions.GoogleAPIError as error:
        raise DdlFailed(0, error) from error
    reported = 0
    while not _is_done(operation):
        if (applied := _applied(operation)) > reported:
            reported = applied
            on_progress(applied)
        time.sleep(poll_s)
    try:
        operation.result()
    except exceptions.GoogleAPIError as error:
        raise DdlFailed(_applied(operation), error) from error


def _is_done(operation: Any) -> bool:
    try:
        return bool(operation.done(retry=_POLL_RETRY))
    except exceptions.GoogleAPIError as error:
        raise DdlFailed(_applied(operation), error) from error


def _applied(operation: Any) -> int:
    """Each applied statement has a commit timestamp in the operation's metadata."""
    return len(operation.metadata.commit_timestamps) if operation.metadata is not None else 0
