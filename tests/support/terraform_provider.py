"""A stand-in for Google's Terraform provider: speaks the plugin protocol, knows the real one's schema, makes nothing.

Terraform itself then does what it does on a laptop with the real provider: it refuses unknown arguments and missing
ones, resolves every reference, plans and applies. Values that the cloud would choose are unknown while planning, as the
real ones are, so that a `for_each` over them fails here too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import grpc
import msgpack

from tests.support.provider_schema import SNAPSHOT
from tests.support.terraform_wire import message, parsed, schema_message

ADDRESS = "registry.terraform.io/hashicorp/google"
UNKNOWN = msgpack.ExtType(0, b"\0")
PROJECT_NUMBER = "555010155501"

Block = Mapping[str, Any]
Handler = Callable[[bytes], bytes]


@contextmanager
def provider_running() -> Iterator[dict[str, str]]:
    """Serve the provider; the variables make a `terraform` that is started with them use it."""
    server = grpc.server(ThreadPoolExecutor(max_workers=8), options=[("grpc.max_receive_message_length", -1)])
    server.add_generic_rpc_handlers((_Provider(),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    place = {
        "Protocol": "grpc",
        "ProtocolVersion": 5,
        "Pid": 1,
        "Test": True,
        "Addr": {"Network": "tcp", "String": f"127.0.0.1:{port}"},
    }
    try:
        yield {"TF_REATTACH_PROVIDERS": json.dumps({ADDRESS: place})}
    finally:
        server.stop(grace=None)


class _Provider(grpc.GenericRpcHandler):  # type: ignore[type-arg] # at run time it takes none
    def __init__(self) -> None:
        self._snapshot = json.loads(SNAPSHOT.read_text(encoding="utf-8"))
        self._methods: dict[str, Handler] = {
            "GetSchema": lambda _request: self._schema,
            "PrepareProviderConfig": lambda request: message([(1, parsed(request)[1])]),
            "Configure": self._configure,
            "ValidateResourceTypeConfig": lambda _request: b"",
            "ValidateDataSourceConfig": lambda _request: b"",
            "UpgradeResourceState": self._upgrade,
            "ReadResource": lambda request: message([(1, parsed(request)[2])]),
            "PlanResourceChange": self._plan,
            "ApplyResourceChange": self._apply,
            "ReadDataSource": self._read,
            "Stop": lambda _request: b"",
        }
        self._project = ""

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        handler = self._methods.get(handler_call_details.method.rpartition("/")[2])
        if handler is None:
            return None
        return grpc.unary_unary_rpc_method_handler(lambda request, _context: handler(request))

    @cached_property
    def _schema(self) -> bytes:
        def entries(number: int, kind: str) -> list[tuple[int, bytes | str | int]]:
            named = self._snapshot[kind].items()
            return [(number, message([(1, name), (2, schema_message(block))])) for name, block in named]

        provider = schema_message(self._snapshot["provider_config"])
        return message([(1, provider), *entries(2, "resources"), *entries(3, "data_sources")])

    def _configure(self, request: bytes) -> bytes:
        self._project = _value(parsed(request)[2]).get("project") or ""
        return b""

    def _upgrade(self, request: bytes) -> bytes:
        state = json.loads(parsed(parsed(request)[3])[1])
        return message([(1, _dynamic(state))])

    def _plan(self, request: bytes) -> bytes:
        fields = parsed(request)
        block = self._snapshot["resources"][fields[1].decode()]
        proposed = _value(fields[3])
        return message([(1, _dynamic(_with_unknown(proposed, block))), (5, 1)])

    def _apply(self, request: bytes) -> bytes:
        fields = parsed(request)
        planned = _value(fields[3])
        if planned is None:
            return message([(1, _dynamic(None)), (4, 1)])
        type_name = fields[1].decode()
        block = self._snapshot["resources"][type_name]
        return message([(1, _dynamic(self._settled(planned, block, type_name))), (4, 1)])

    def _read(self, request: bytes) -> bytes:
        fields = parsed(request)
        type_name = fields[1].decode()
        block = self._snapshot["data_sources"][type_name]
        return message([(1, _dynamic(self._settled(_with_unknown(_value(fields[2]), block), block, type_name)))])

    def _settled(self, state: Any, block: Block, type_name: str) -> Any:
        """What the cloud would have answered: every unknown value has one."""
        known = {name: value for name, value in state.items() if isinstance(value, str)}
        name = known.get("name") or known.get("account_id") or known.get("secret_id") or type_name
        project = known.get("project") or self._project
        chosen = {
            "uri": f"https://{name}-{PROJECT_NUMBER}.run.app",
            "email": f"{name}@{project}.iam.gserviceaccount.com",
            "member": f"serviceAccount:{name}@{project}.iam.gserviceaccount.com",
            "writer_identity": f"serviceAccount:sink-{name}@logging.example.com",
            "email_address": f"service-{PROJECT_NUMBER}@gs-project-accounts.iam.gserviceaccount.com",
            "number": PROJECT_NUMBER,
            "project": project,
            "project_id": project,
            "address": "192.0.2.10",
        }
        return _settle(state, block, lambda attribute: chosen.get(attribute, f"{type_name}/{name}/{attribute}"))


def _with_unknown(state: Any, block: Block) -> Any:
    """What nobody set and the cloud chooses, marked as unknown."""
    if state is None:
        return None
    result = dict(state)
    for name, item in block["attributes"].items():
        if "computed" in item["is"] and result.get(name) is None:
            result[name] = UNKNOWN
    for name, item in block["blocks"].items():
        if isinstance(result.get(name), list):
            result[name] = [_with_unknown(one, item) for one in result[name]]
    return result


def _settle(state: Any, block: Block, text: Callable[[str], str]) -> Any:
    result = dict(state)
    for name, item in block["attributes"].items():
        if isinstance(result.get(name), msgpack.ExtType):
            result[name] = _made_up(item["type"], text(name))
    for name, item in block["blocks"].items():
        if isinstance(result.get(name), list):
            result[name] = [_settle(one, item, text) for one in result[name]]
    return result


def _made_up(kind: Any, text: str) -> Any:
    if isinstance(kind, list):
        return {} if kind[0] == "map" else []
    return {"string": text, "number": 1, "bool": False}.get(kind)


def _value(dynamic: bytes) -> Any:
    return msgpack.unpackb(parsed(dynamic)[1], strict_map_key=False)


def _dynamic(value: Any) -> bytes:
    return message([(1, msgpack.packb(value))])
