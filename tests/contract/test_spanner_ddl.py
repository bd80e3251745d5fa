"""Schema updates that take their time, as on real Spanner (the emulator finishes each before it answers)."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud import spanner
from google.cloud.spanner_admin_database_v1 import UpdateDatabaseDdlMetadata, UpdateDatabaseDdlRequest
from google.cloud.spanner_v1.database import Database
from google.longrunning.operations_pb2 import GetOperationRequest, Operation
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.empty_pb2 import Empty

from shared.gateways.spanner_admin import DdlFailed, apply_ddl

STATEMENTS = ["CREATE TABLE a", "CREATE TABLE b", "CREATE INDEX c"]


class SlowSpanner:
    """Answers UpdateDatabaseDdl with a running operation; each look at it applies one statement more."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.applied = 0
        self.fails_at: int | None = None
        self.unavailable_looks = 0

    def update(self, request: Any, _context: grpc.ServicerContext) -> Operation:
        self.statements = list(request.statements)
        return self._operation()

    def look(self, _request: GetOperationRequest, context: grpc.ServicerContext) -> Operation:
        if self.unavailable_looks:
            self.unavailable_looks -= 1
            context.abort(grpc.StatusCode.UNAVAILABLE, "try again")
        if self.applied != self.fails_at:
            self.applied += 1
        return self._operation()

    def _operation(self) -> Operation:
        metadata = UpdateDatabaseDdlMetadata(
            statements=self.statements, commit_timestamps=[{"seconds": 1 + n} for n in range(self.applied)]
        )
        packed = AnyMessage()
        packed.Pack(UpdateDatabaseDdlMetadata.pb(metadata))
        operation = Operation(name="projects/p/instances/i/databases/d/operations/one", metadata=packed)
        if self.applied == self.fails_at:
            operation.done = True
            operation.error.code = grpc.StatusCode.FAILED_PRECONDITION.value[0]
            operation.error.message = "Found uniqueness violation on index c"
        elif self.applied == len(self.statements):
            operation.done = True
            operation.response.Pack(Empty())
        return operation


@pytest.fixture
def slow() -> SlowSpanner:
    return SlowSpanner()


@pytest.fixture
def database(slow: SlowSpanner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    server = grpc.server(ThreadPoolExecutor(2))
    handlers = {
        "google.spanner.admin.database.v1.DatabaseAdmin": {
            "UpdateDatabaseDdl": grpc.unary_unary_rpc_method_handler(
                slow.update,
                request_deserializer=UpdateDatabaseDdlRequest.deserialize,
                response_serializer=Operation.SerializeToString,
            )
        },
        "google.longrunning.Operations": {
            "GetOperation": grpc.unary_unary_rpc_method_handler(
                slow.look,
                request_deserializer=GetOperationRequest.FromString,
                response_serializer=Operation.SerializeToString,
            )
        },
    }
    for service, methods in handlers.items():
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", f"127.0.0.1:{port}")
    client = spanner.Client(project="p", disable_builtin_metrics=True)
    yield client.instance("i").database("d")
    client.close()
    server.stop(grace=None).wait()


def test_progress_is_told_statement_by_statement_until_the_end(database: Database, slow: SlowSpanner) -> None:
    told: list[int] = []

    apply_ddl(database, STATEMENTS, on_progress=told.append, poll_s=0)

    assert slow.statements == STATEMENTS
    assert told == [1, 2]


def test_a_failure_on_the_way_counts_the_statements_that_stay(database: Database, slow: SlowSpanner) -> None:
    slow.fails_at = 2

    with pytest.raises(DdlFailed) as caught:
        apply_ddl(database, STATEMENTS, on_progress=lambda _: None, poll_s=0)

    assert caught.value.applied == 2
    assert "uniqueness violation" in str(caught.value.error)


def test_a_look_that_fails_for_a_moment_is_repeated(database: Database, slow: SlowSpanner) -> None:
    slow.unavailable_looks = 1
    told: list[int] = []

    apply_ddl(database, STATEMENTS, on_progress=told.append, poll_s=0)

    assert told == [1, 2]
