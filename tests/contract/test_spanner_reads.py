"""A read while Spanner is away ends: the client itself would start again for ever, without a pause."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
from google.cloud import spanner
from google.cloud.spanner_v1 import CreateSessionRequest, ExecuteSqlRequest, PartialResultSet, ReadRequest, Session
from google.cloud.spanner_v1.database import Database

from shared.errors import TransientFailure
from shared.gateways import database as database_module
from shared.gateways.database import read_rows
from shared.gateways.keyed_rows import read_row


class AbsentSpanner:
    """Gives sessions and then answers every query with UNAVAILABLE, as during an outage after start-up."""

    def __init__(self) -> None:
        self.queries = 0

    def session(self, request: Any, _context: grpc.ServicerContext) -> Session:
        return Session(name=f"{request.database}/sessions/one", multiplexed=True)

    def query(self, _request: Any, context: grpc.ServicerContext) -> Iterator[PartialResultSet]:
        self.queries += 1
        context.abort(grpc.StatusCode.UNAVAILABLE, "away")


@pytest.fixture
def absent() -> AbsentSpanner:
    return AbsentSpanner()


@pytest.fixture
def database(absent: AbsentSpanner, monkeypatch: pytest.MonkeyPatch) -> Iterator[Database]:
    server = grpc.server(ThreadPoolExecutor(2))
    methods = {
        "CreateSession": grpc.unary_unary_rpc_method_handler(
            absent.session,
            request_deserializer=CreateSessionRequest.deserialize,
            response_serializer=Session.serialize,
        ),
        "ExecuteStreamingSql": grpc.unary_stream_rpc_method_handler(
            absent.query,
            request_deserializer=ExecuteSqlRequest.deserialize,
            response_serializer=PartialResultSet.serialize,
        ),
        "StreamingRead": grpc.unary_stream_rpc_method_handler(
            absent.query,
            request_deserializer=ReadRequest.deserialize,
            response_serializer=PartialResultSet.serialize,
        ),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("google.spanner.v1.Spanner", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv("SPANNER_EMULATOR_HOST", f"127.0.0.1:{port}")
    client = spanner.Client(project="p", disable_builtin_metrics=True)
    yield client.instance("i").database("d")
    client.close()
    server.stop(grace=None).wait()


def _query(database: Database) -> object:
    return read_rows(lambda: database, "SELECT 1", {}, {}, what="read")


def _by_key(database: Database) -> object:
    return read_row(lambda: database, "tenants", ["name"], {"tenant_id": "x"}, what="read")


@pytest.mark.parametrize("read", [_query, _by_key])
def test_a_read_gives_up_in_its_time_and_does_not_hammer(
    database: Database, absent: AbsentSpanner, monkeypatch: pytest.MonkeyPatch, read: Callable[[Database], object]
) -> None:
    monkeypatch.setattr(database_module, "READ_TIMEOUT_S", 1.0)
    begun = time.monotonic()

    with pytest.raises(TransientFailure):
        read(database)

    assert time.monotonic() - begun < 10
    assert 1 <= absent.queries < 50
