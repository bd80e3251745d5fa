"""Opens the Spanner database and turns its errors into ours. The client is imported on first use only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from shared.errors import AlreadyThere, InvalidEvent, TransientFailure

if TYPE_CHECKING:
    from google.cloud.spanner_v1.batch import Batch
    from google.cloud.spanner_v1.database import Database

T = TypeVar("T")

OpenDatabase = Callable[[], "Database"]

READ_TIMEOUT_S = 10.0
REQUEST_TIMEOUT_S = 10.0
"""Any other request on the way to a commit: a session, the beginning of a transaction, a statement, a rollback."""
COMMIT_TIMEOUT_S = 20.0
TRANSACTION_TIMEOUT_S = 30.0
"""How long an aborted transaction is begun again. One that hangs ends earlier: the first request without an answer
ends it."""
ABORTED_PAUSE_S = 0.03
"""Before an aborted transaction is begun again, where Spanner gives no hint itself: the emulator never does, and the
client's own guess begins with two seconds and doubles. The emulator takes one transaction at a time and aborts whoever
comes meanwhile. Two writers with pauses between: p95 9 ms instead of 108 ms with 0.1 s; shorter pauses serve many
writers at once worse (24 without a rest: 174 transactions/s, with 0.01 s 66/s)."""

_QUICK_REQUESTS = (
    "create_session",
    "batch_create_sessions",
    "get_session",
    "begin_transaction",
    "execute_sql",
    "rollback",
)


def database_opener(*, project_id: str, instance_id: str, database_id: str, role: str | None = None) -> OpenDatabase:
    """A function that opens the database once per process, after the fork and only when it is first needed.

    `role` is the Spanner database role of the service (fine-grained access control); the emulator ignores it.
    """

    @cache
    def open_once() -> Database:
        from google.cloud import spanner

        client = spanner.Client(project=project_id, disable_builtin_metrics=True)
        database: Database = client.instance(instance_id).database(database_id, database_role=role)
        _bound_requests(database)
        return database

    return open_once


def _bound_requests(database: Database) -> None:
    """Give requests our deadlines: the client's own is an hour for commits, and `batch()` takes no other (3.71.0).

    A worker that waits for an hour holds its push request long past the ack deadline.
    """
    from google.api_core import exceptions as google_errors
    from google.api_core.gapic_v1.method import wrap_method
    from google.api_core.retry import Retry, if_exception_type

    transport = database.spanner_api.transport
    again = if_exception_type(google_errors.ResourceExhausted, google_errors.ServiceUnavailable)
    for name, timeout_s in [*((name, REQUEST_TIMEOUT_S) for name in _QUICK_REQUESTS), ("commit", COMMIT_TIMEOUT_S)]:
        method = getattr(transport, name)
        transport._wrapped_methods[method] = wrap_method(
            method,
            default_retry=Retry(predicate=again, initial=0.25, maximum=4.0, timeout=timeout_s),
            default_timeout=timeout_s,
        )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Spanner's errors as ours; `what` says what was tried, without values.

    | Spanner | ours | why |
    | --- | --- | --- |
    | AlreadyExists | AlreadyThere | an insert found its row: somebody was here before |
    | NotFound of a parent row or row | InvalidEvent | the event speaks of a tenant or request that does not exist |
    | InvalidArgument, FailedPrecondition, OutOfRange, PermissionDenied | TransientFailure | ours to mend: a schema or a
    grant that this version does not find yet. The call has to survive it; attempts bound what is a bug |
    | everything else (Aborted after retries, Unavailable, DeadlineExceeded, session loss, …) | TransientFailure | |
    """
    from google.api_core import exceptions as google_errors

    try:
        yield
    except google_errors.AlreadyExists as error:
        raise AlreadyThere(what) from error
    except google_errors.NotFound as error:
        if _is_missing_row(error):
            raise InvalidEvent("row_missing", f"{what}: a row it belongs to does not exist") from error
        lost = f"{what}: session, transaction, database, table or column not found"
        raise TransientFailure("spanner_not_found", lost, fix=_REFUSED_FIX) from error
    except (
        google_errors.OutOfRange,
        google_errors.FailedPrecondition,
        google_errors.InvalidArgument,
        google_errors.PermissionDenied,
    ) as error:
        raise TransientFailure("spanner_refused", f"{what}: {type(error).__name__}", fix=_REFUSED_FIX) from error
    except google_errors.GoogleAPICallError as error:
        raise TransientFailure("spanner_unavailable", f"{what}: {type(error).__name__}") from error
    except google_errors.RetryError as error:
        raise TransientFailure("spanner_timeout", f"{what}: no answer in time") from error


_REFUSED_FIX = "run `pipeline migrate`; check the service's database role"

_MISSING_ROW = re.compile(r"\bparent (table|row)\b|\brow\b.* (not found|is missing)", re.IGNORECASE)
"""Emulator: "… not found in parent table: …", "Table t: Row {…} not found."

Spanner: "Parent row for row … is missing".
"""


def _is_missing_row(error: Exception) -> bool:
    return bool(_MISSING_ROW.search(str(error)))


def read_rows(
    open_database: OpenDatabase, sql: str, params: dict[str, Any], types: dict[str, Any], *, what: str
) -> list[list[Any]]:
    """Rows of one statement from a single-use snapshot (one read)."""
    from shared.gateways.spanner_errors import read_retry

    database = open_database()
    with translated(what), replacing_lost_session(database), database.snapshot() as snapshot:
        return list(
            snapshot.execute_sql(
                sql,
                params=params,
                param_types=types,
                timeout=READ_TIMEOUT_S,
                retry=read_retry(READ_TIMEOUT_S),  # without it, the client spins for ever while Spanner is away
            )
        )


def update_rows(
    open_database: OpenDatabase, statements: list[tuple[str, dict[str, Any], dict[str, Any]]], *, what: str, tag: str
) -> list[int]:
    """Run DML statements in one read-write transaction (one commit); returns each statement's row count.

    The callback may run several times: it holds nothing but the statements.
    """

    def work(transaction: Any) -> list[int]:
        return [transaction.execute_update(sql, params=params, param_types=types) for sql, params, types in statements]

    return transact(open_database, work, what=what, tag=tag)


def transact(open_database: OpenDatabase, work: Callable[[Any], T], *, what: str, tag: str) -> T:
    """Run `work` in one read-write transaction (one commit).

    It may run several times: no HTTP and no publish inside.
    """
    with translated(what):
        return run_transaction(open_database(), work, tag=tag)


def run_transaction(database: Database, work: Callable[[Any], T], *, tag: str) -> T:
    """The same with the client's own errors."""
    try:
        with replacing_lost_session(database):
            result: T = database.run_in_transaction(
                work,
                timeout_secs=TRANSACTION_TIMEOUT_S,
                default_retry_delay=ABORTED_PAUSE_S,
                transaction_tag=tag,
            )
    finally:
        # The client (3.71.0) marks the thread before it looks for a session, and forgets to unmark it when Spanner
        # gives none. Every later transaction of this thread would be refused as nested, for the process's life.
        database._local.transaction_running = False
    return result


@contextmanager
def blind_commit(open_database: OpenDatabase, *, what: str) -> Iterator[Batch]:
    """Mutations in one commit, without a read or a lock; written when the block ends well."""
    database = open_database()
    patience = {"timeout_secs": COMMIT_TIMEOUT_S, "default_retry_delay": ABORTED_PAUSE_S}
    with translated(what), replacing_lost_session(database), database.batch(**patience) as batch:
        yield batch


@contextmanager
def replacing_lost_session(database: Database) -> Iterator[None]:
    """Make the client ask for a new session once Spanner does not know its own any more.

    The client (3.71.0) keeps one multiplexed session for all, renews it every week in a thread that dies of its first
    error, and never looks again: when that session ends, every request of the process fails until it is restarted.
    """
    from google.api_core.exceptions import NotFound

    try:
        yield
    except NotFound as error:
        if "Session not found" in str(error):
            database._sessions_manager._multiplexed_session = None
        raise
