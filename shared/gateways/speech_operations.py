"""Long-running operations of Speech: what one says of its recognition, and which one is writing to a prefix."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from google.api_core.exceptions import GoogleAPICallError

from shared.errors import PermanentFailure, TransientFailure
from shared.gateways.speech_errors import code_of, shortened, translated
from shared.ports import SpeechOperation

if TYPE_CHECKING:
    from google.cloud.speech_v2 import SpeechClient

POLL_TIMEOUT_S = 10.0
OPERATION_UNKNOWN = "speech_operation_unknown"
"""Speech forgets finished operations after some days; the stage looks for the output object then."""

_SEARCH_PAGES = 5
_SEARCH_PAGE_SIZE = 100


def poll(client: SpeechClient, name: str) -> SpeechOperation:
    """Ask once. `error` of a failed operation reads `CODE: message`.

    Raises `PermanentFailure` (`speech_operation_unknown`, forbidden), `TransientFailure`.
    """
    try:
        raw = client.get_operation({"name": name}, timeout=POLL_TIMEOUT_S, retry=None)
    except GoogleAPICallError as error:
        if code_of(error) == "NOT_FOUND":
            raise PermanentFailure(OPERATION_UNKNOWN, "Speech knows no operation of this name") from error
        raise translated(error, tried="GetOperation") from error
    if not raw.done:
        return SpeechOperation(name=name, state="running")
    if raw.error.code:
        return _failed(name, raw.error)
    return _finished(name, raw.response.value)


def _finished(name: str, response: bytes) -> SpeechOperation:
    """The one file's result: an operation that succeeded may carry a file that failed."""
    from google.cloud.speech_v2.types import BatchRecognizeResponse
    from google.protobuf.message import DecodeError

    try:
        answer = BatchRecognizeResponse.deserialize(response)
    except DecodeError as error:
        raise TransientFailure("speech_operation_unreadable", "GetOperation: the response is not protobuf") from error
    result = next(iter(answer.results.values()), None)
    if result is None:
        return SpeechOperation(name=name, state="failed", error="INTERNAL: the response names no file")
    if result.error.code:
        return _failed(name, result.error)
    return SpeechOperation(
        name=name,
        state="succeeded",
        # `uri` is the older field; Google fills both today.
        output_uri=result.cloud_storage_result.uri or result.uri,
        billed_s=answer.total_billed_duration.total_seconds(),
    )


def _failed(name: str, status: Any) -> SpeechOperation:
    from google.rpc.code_pb2 import Code

    code = Code.Name(status.code) if status.code in Code.values() else "UNKNOWN"
    return SpeechOperation(name=name, state="failed", error=f"{code}: {shortened(status.message)}")


def find_running(client: SpeechClient, *, parent: str, output_uri_prefix: str, apart_from: str = "") -> str:
    """The running operation that writes to this prefix and is not `apart_from`, or an empty string.

    Looks at the first 500 operations of the location. Raises `GoogleAPICallError` as the client does.
    """
    from google.cloud.speech_v2.types import OperationMetadata

    for operation in _operations(client, parent):
        if operation.done or operation.name == apart_from:
            continue
        request = OperationMetadata.deserialize(operation.metadata.value).batch_recognize_request
        if request.recognition_output_config.gcs_output_config.uri == output_uri_prefix:
            return str(operation.name)
    return ""


def _operations(client: SpeechClient, parent: str) -> Iterator[Any]:
    token = ""
    for _ in range(_SEARCH_PAGES):
        page = client.list_operations(
            {"name": parent, "page_size": _SEARCH_PAGE_SIZE, "page_token": token}, timeout=POLL_TIMEOUT_S, retry=None
        )
        yield from page.operations
        token = page.next_page_token
        if not token:
            return
