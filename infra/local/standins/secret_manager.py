"""Secret Manager stand-in: speaks `google.cloud.secretmanager.v1.SecretManagerService` over gRPC.

Holds secrets in memory and, when given a file, there too: `{"<project>": {"<secret>": [{"value": "…", "state":
"ENABLED"}]}}`, versions in order. A file written by hand preloads the stand-in. The admin interface shows names and
counts, never values. With `--state FILE` it outlives a restart, counts included.

Fault operations: `create_secret`, `add_version`, `access`, `get_secret`, `list_versions`, `disable_version`; `rubbish`
on `access` answers the rule's body with the true value's checksum (a damaged payload).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import google_crc32c
import grpc
from flask import Flask
from google.cloud import secretmanager_v1 as sm

from infra.local.standins import grpc_serving
from infra.local.standins.faults import FaultPlan, admin_blueprint
from infra.local.standins.keeping import add_state_argument, keep
from infra.local.standins.secret_manager_store import Refused, SecretStore

SERVICE = "google.cloud.secretmanager.v1.SecretManagerService"
MAX_PAYLOAD_BYTES = 65_536
_SECRET_ID = re.compile(r"^[A-Za-z0-9_-]{1,255}$")
_VERSION_PATH = re.compile(r"^(?P<secret>projects/[^/]+/secrets/[^/]+)/versions/(?P<version>latest|[0-9]+)$")
_SECRET_PATH = re.compile(r"^projects/(?P<project>[^/]+)/secrets/(?P<secret>[^/]+)$")


class SecretManagerService:
    """The methods of SecretManagerService that the pipeline and its operators use."""

    def __init__(self, file: Path | None = None) -> None:
        self.plan = FaultPlan()
        self.store = SecretStore(file)

    def methods(self) -> dict[str, grpc_serving.Handler]:
        unary = self._unary
        return {
            "CreateSecret": unary("create_secret", self._create, sm.CreateSecretRequest, sm.Secret),
            "GetSecret": unary("get_secret", self._get, sm.GetSecretRequest, sm.Secret),
            "AddSecretVersion": unary("add_version", self._add, sm.AddSecretVersionRequest, sm.SecretVersion),
            "AccessSecretVersion": grpc_serving.unary(
                _refusing(self._access),
                request=sm.AccessSecretVersionRequest,
                response=sm.AccessSecretVersionResponse,
                plan=self.plan,
                operation="access",
                rubbish=self._damaged,
            ),
            "ListSecretVersions": unary(
                "list_versions", self._list, sm.ListSecretVersionsRequest, sm.ListSecretVersionsResponse
            ),
            "DisableSecretVersion": unary(
                "disable_version", self._disable, sm.DisableSecretVersionRequest, sm.SecretVersion
            ),
        }

    def admin_app(self) -> Flask:
        app = Flask("secret_manager_standin")
        app.register_blueprint(admin_blueprint(self.plan, state=self.store.document, reset=self.store.reset))
        return app

    def _unary(
        self, operation: str, behaviour: grpc_serving.Behaviour, request: Any, response: Any
    ) -> grpc_serving.Handler:
        return grpc_serving.unary(
            _refusing(behaviour), request=request, response=response, plan=self.plan, operation=operation
        )

    def _create(self, request: Any, _context: Any) -> sm.Secret:
        if not _SECRET_ID.match(request.secret_id):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "secret_id must match [A-Za-z0-9_-]{1,255}")
        if "replication" not in request.secret:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "secret.replication is required")
        path = f"{request.parent}/secrets/{request.secret_id}"
        self.store.create(path)
        return sm.Secret(name=path, replication=request.secret.replication)

    def _get(self, request: Any, _context: Any) -> sm.Secret:
        self.store.versions(_secret_path(request.name))
        return sm.Secret(name=request.name, replication=sm.Replication(automatic=sm.Replication.Automatic()))

    def _add(self, request: Any, _context: Any) -> sm.SecretVersion:
        data = request.payload.data
        if len(data) > MAX_PAYLOAD_BYTES:
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"payload is larger than {MAX_PAYLOAD_BYTES} bytes")
        if "data_crc32c" in request.payload and request.payload.data_crc32c != _checksum(data):
            raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "data_crc32c does not match the data")
        number = self.store.add(_secret_path(request.parent), data)
        return _version(request.parent, number, "ENABLED")

    def _access(self, request: Any, _context: Any) -> sm.AccessSecretVersionResponse:
        path, version = _split(request.name)
        number, data = self.store.access(path, version)
        return _payload(f"{path}/versions/{number}", data, checksum=_checksum(data))

    def _damaged(self, body: Any, request: Any, context: grpc.ServicerContext) -> sm.AccessSecretVersionResponse:
        answer = _refusing(self._access)(request, context)
        return _payload(answer.name, str(body).encode(), checksum=answer.payload.data_crc32c)

    def _list(self, request: Any, _context: Any) -> sm.ListSecretVersionsResponse:
        versions = self.store.versions(_secret_path(request.parent))
        newest_first = list(enumerate(versions, start=1))[::-1]
        return sm.ListSecretVersionsResponse(
            versions=[_version(request.parent, number, version.state) for number, version in newest_first],
            total_size=len(versions),
        )

    def _disable(self, request: Any, _context: Any) -> sm.SecretVersion:
        path, version = _split(request.name)
        number, changed = self.store.disable(path, version)
        return _version(path, number, changed.state)


def _refusing(behaviour: grpc_serving.Behaviour) -> grpc_serving.Behaviour:
    def answer(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            return behaviour(request, context)
        except Refused as refused:
            context.abort(refused.code, refused.message)

    return answer


def _secret_path(name: str) -> str:
    if not _SECRET_PATH.match(name):
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "The name must be projects/*/secrets/*.")
    return name


def _split(name: str) -> tuple[str, str]:
    match = _VERSION_PATH.match(name)
    if match is None:
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, "The name must be projects/*/secrets/*/versions/*.")
    return match["secret"], match["version"]


def _version(path: str, number: int, state: str) -> sm.SecretVersion:
    return sm.SecretVersion(name=f"{path}/versions/{number}", state=state)


def _payload(name: str, data: bytes, *, checksum: int) -> sm.AccessSecretVersionResponse:
    return sm.AccessSecretVersionResponse(name=name, payload=sm.SecretPayload(data=data, data_crc32c=checksum))


def _checksum(data: bytes) -> int:
    return int(google_crc32c.value(data))


@contextmanager
def serve_secret_manager(file: Path | None = None) -> Iterator[grpc_serving.RunningStandin]:
    """The stand-in on free ports while the block runs, for tests."""
    service = SecretManagerService(file)
    with grpc_serving.serve_grpc_in_thread(
        SERVICE, service.methods(), admin=service.admin_app(), plan=service.plan
    ) as running:
        yield running


def main() -> None:
    """`python -m infra.local.standins.secret_manager --port N --admin-port M [--file PATH] [--state FILE]`."""
    parser = grpc_serving.grpc_arguments("secret_manager")
    parser.add_argument("--file", type=Path, help="JSON file that holds the secrets between runs")
    add_state_argument(parser)
    arguments = parser.parse_args()
    service = SecretManagerService(arguments.file)
    keep(arguments.state, {"secrets": service.store})
    grpc_serving.serve_grpc_forever(
        SERVICE,
        service.methods(),
        admin=service.admin_app(),
        port=arguments.port,
        admin_port=arguments.admin_port,
    )


if __name__ == "__main__":
    main()
