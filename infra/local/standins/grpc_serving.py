"""How the gRPC stand-ins are run: one service on loopback, faults before and after each method, an admin port."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

import grpc
from flask import Flask
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.serving import make_http_server, serve_in_thread

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Behaviour = Callable[[Any, grpc.ServicerContext], Any]
Rubbish = Callable[[Any, Any, grpc.ServicerContext], Any]
"""Turns (rule's body, request, context) into an answer that looks like a success."""

_WORKERS = 32
"""A stalled call keeps its thread, so there are more threads than any test has callers."""


@dataclass(frozen=True)
class RunningStandin:
    """A stand-in while its `with` block runs. `address` is host:port, `admin_url` the admin interface's base."""

    address: str
    admin_url: str
    plan: FaultPlan


def no_rubbish(_body: Any, _request: Any, context: grpc.ServicerContext) -> NoReturn:
    """For methods whose answer has no text to spoil."""
    context.abort(grpc.StatusCode.UNIMPLEMENTED, "this stand-in has no rubbish answer for this method")


def unary(
    behaviour: Behaviour,
    *,
    request: Any,
    response: Any,
    plan: FaultPlan,
    operation: str,
    rubbish: Rubbish = no_rubbish,
) -> Handler:
    """A unary method with faults; `request` and `response` are proto-plus message classes."""

    def answer(message: Any, context: grpc.ServicerContext) -> Any:
        rule = plan.take(operation)
        if not context.is_active():
            # The caller gave up during a stall: a cancelled call does no work and must not count in a later test.
            context.abort(grpc.StatusCode.CANCELLED, "the caller is gone")
        if rule is None:
            return behaviour(message, context)
        if rule.kind == "status":
            _refuse(rule, context)
        if rule.kind == "rubbish":
            return rubbish(rule.body, message, context)
        if rule.kind == "drop_after":
            behaviour(message, context)
        return _hang_up(context)

    return grpc.unary_unary_rpc_method_handler(
        answer, request_deserializer=request.deserialize, response_serializer=response.serialize
    )


def _hang_up(context: grpc.ServicerContext) -> NoReturn:
    """What a client sees when the connection goes away under its call."""
    context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


def _refuse(rule: FaultRule, context: grpc.ServicerContext) -> None:
    """Abort with the rule's code; a body of `{"retry_delay_s": 2}` adds Google's RetryInfo detail."""
    code = grpc.StatusCode[rule.grpc_code]
    status = Status(code=code.value[0], message=f"{rule.grpc_code} on purpose")
    if isinstance(rule.body, dict) and "retry_delay_s" in rule.body:
        delay = Duration()
        delay.FromMilliseconds(int(float(rule.body["retry_delay_s"]) * 1000))
        packed = AnyMessage()
        packed.Pack(RetryInfo(retry_delay=delay))
        status.details.append(packed)
    context.abort_with_status(rpc_status.to_status(status))


def make_grpc_server(service: str, methods: Mapping[str, Handler], *, port: int = 0) -> tuple[grpc.Server, int]:
    """An unstarted server for one service on 127.0.0.1; port 0 picks a free one, which is returned.

    Port sharing is off: gRPC's default would let two stand-ins answer in turns on the same port.
    """
    server = grpc.server(ThreadPoolExecutor(max_workers=_WORKERS), options=[("grpc.so_reuseport", 0)])
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, dict(methods)),))
    return server, server.add_insecure_port(f"127.0.0.1:{port}")


@contextmanager
def serve_grpc_in_thread(
    service: str, methods: Mapping[str, Handler], *, admin: Flask, plan: FaultPlan
) -> Iterator[RunningStandin]:
    """Serve while the block runs, for tests."""
    server, port = make_grpc_server(service, methods)
    server.start()
    try:
        with serve_in_thread(admin) as admin_url:
            yield RunningStandin(f"127.0.0.1:{port}", admin_url, plan)
    finally:
        server.stop(grace=0).wait(timeout=5)


def serve_grpc_forever(
    service: str, methods: Mapping[str, Handler], *, admin: Flask, port: int, admin_port: int
) -> None:
    """Serve until the process is told to end, as a part of the local stack."""
    server, _ = make_grpc_server(service, methods, port=port)
    http = make_http_server(admin, admin_port)
    server.start()
    try:
        http.serve_forever()
    except KeyboardInterrupt:
        pass
    finally:
        server.stop(grace=1).wait(timeout=2)


def grpc_arguments(name: str) -> argparse.ArgumentParser:
    """The command line that all gRPC stand-ins share: `--port` for gRPC, `--admin-port` for HTTP."""
    parser = argparse.ArgumentParser(prog=f"python -m infra.local.standins.{name}")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--admin-port", type=int, required=True)
    return parser
