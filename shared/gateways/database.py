"""Opens the Spanner database and turns its errors into ours. The client is imported on first use only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

from shared.errors import AlreadyThere, InvalidEvent, PermanentFailure, TransientFailure

if TYPE_CHECKING:
    from google.cloud.spanner_v1.database import Database

T = TypeVar("T")

OpenDatabase = Callable[[], "Database"]

READ_TIMEOUT_S = 10.0
TRANSACTION_TIMEOUT_S = 30.0
COMMIT_TIMEOUT_S = 20.0


def database_opener(*, project_id: str, instance_id: str, database_id: str, role: str | None = None) -> OpenDatabase:
    """A function that opens the database once per process, after the fork and only when it is first needed.

    `role` is the Spanner database role of the service (fine-grained access control); the emulator ignores it.
    """

    @cache
    def open_once() -> Database:
        from google.cloud import spanner

        client = spanner.Client(project=project_id, disable_builtin_metrics=True)
        database: Database = client.instance(instance_id).database(database_id, database_role=role)
        _bound_commits(database)
        return database

    return open_once


def _bound_commits(database: Database) -> None:
    """Give commits our deadline: the client's own is an hour, and `batch()` takes no other (3.71.0).

    A worker that waits for an hour holds its push request long past the ack deadline.
    """
    from google.api_core import exceptions as google_errors
    from google.api_core.gapic_v1.method import wrap_method
    from google.api_core.retry import Retry, if_exception_type

    transport = database.spanner_api.transport
    again = if_exception_type(google_errors.ResourceExhausted, google_errors.ServiceUnavailable)
    transport._wrapped_methods[transport.commit] = wrap_method(
        transport.commit,
        default_retry=Retry(predicate=again, initial=0.25, maximum=4.0, timeout=COMMIT_TIMEOUT_S),
        default_timeout=COMMIT_TIMEOUT_S,
    )


@contextmanager
def translated(what: str) -> Iterator[None]:
    """Spanner's errors as ours; `what` says what was tried, without values.

    | Spanner | ours | why |
    | --- | --- | --- |
    | AlreadyExists | AlreadyThere | an insert found its row: somebody was here before |
    | NotFound of a parent row or row | InvalidEvent | the event speaks of a tenant or request that does not exist |
    | OutOfRange, FailedPrecondition, InvalidArgument, PermissionDenied | PermanentFailure | a bug or a missing grant |
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
        raise TransientFailure("spanner_not_found", f"{what}: session, transaction or database not found") from error
    except (
        google_errors.OutOfRange,
        google_errors.FailedPrecondition,
        google_errors.InvalidArgument,
        google_errors.PermissionDenied,
    ) as error:
        raise PermanentFailure("spanner_refused", f"{what}: {type(error).__name__}") from error
    except google_errors.GoogleAPICallError as error:
        raise TransientFailure("spanner_unavailable", f"{what}: {type(error).__name__}") from error
    except google_errors.RetryError as error:
        raise TransientFailure("spanner_timeout", f"{what}: no answer in time") from error


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

    with translated(what), open_database().snapshot() as snapshot:
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

    with translated(what):
        counts: list[int] = open_database().run_in_transaction(
            work, timeout_secs=TRANSACTION_TIMEOUT_S, transaction_tag=tag
        )
    return counts
