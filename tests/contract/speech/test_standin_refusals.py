"""The Speech stand-in refuses what the real service refuses: requests, and single files of an operation."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import grpc
import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound
from google.cloud.speech_v2 import SpeechClient, types
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport
from google.rpc.code_pb2 import Code

from infra.local.standins.faults import FaultPlan
from infra.local.standins.speech import RunningSpeech, serve_speech
from infra.local.standins.speech_files import FileFailed, FileTranscriber
from infra.local.standins.speech_sidecar import RegisteredSidecars
from infra.local.standins.speech_storage import AudioStorage
from tests.contract.speech.calls import (
    BUCKET,
    recognise,
    request_for,
    silence,
)

# --- refusals -----------------------------------------------------------------------------------


def _another_recognizer(request: Any) -> None:
    request.recognizer = "projects/local/locations/us/recognizers/mine"


def _no_recognizer(request: Any) -> None:
    request.recognizer = "recognizers/_"


def _model(name: str) -> Callable[[Any], None]:
    def change(request: Any) -> None:
        request.config.model = name

    return change


def _chirp_3_in_global(request: Any) -> None:
    request.recognizer = "projects/local/locations/global/recognizers/_"


def _diarization_on_telephony(request: Any) -> None:
    request.config.model = "telephony"
    request.config.features.diarization_config = types.SpeakerDiarizationConfig()


def _word_confidence(request: Any) -> None:
    request.config.features.enable_word_confidence = True


def _two_files_inline(request: Any) -> None:
    request.files = [*request.files, *request.files]
    request.recognition_output_config = types.RecognitionOutputConfig(inline_response_config=types.InlineOutputConfig())


def _local_file(request: Any) -> None:
    request.files[0].uri = "file:///etc/hosts"


def _no_output(request: Any) -> None:
    request.recognition_output_config = types.RecognitionOutputConfig()


def _no_language(request: Any) -> None:
    request.config.language_codes = []


def _no_decoding(request: Any) -> None:
    del request.config.auto_decoding_config


def _sixteen_files(request: Any) -> None:
    request.files = [request.files[0]] * 16


@pytest.mark.parametrize(
    ("spoil", "error", "message"),
    [
        (_another_recognizer, NotFound, "Unable to find Recognizer"),
        (_no_recognizer, InvalidArgument, "Invalid resource name"),
        (_model("nova"), InvalidArgument, 'The model "nova" does not exist in the location named "us"'),
        (_chirp_3_in_global, InvalidArgument, 'does not exist in the location named "global"'),
        (_diarization_on_telephony, InvalidArgument, "Recognizer does not support feature: speaker_diarization"),
        (_word_confidence, InvalidArgument, "Recognizer does not support feature: word_level_confidence"),
        (_two_files_inline, InvalidArgument, "exactly one file"),
        (_local_file, InvalidArgument, "Cloud Storage URI"),
        (_no_output, InvalidArgument, "output config"),
        (_no_language, InvalidArgument, "language code"),
        (_no_decoding, InvalidArgument, "decoding config"),
        (_sixteen_files, InvalidArgument, "Between 1 and 15 files"),
    ],
)
def test_refuses_what_the_real_service_refuses(
    standin: RunningSpeech,
    client: SpeechClient,
    spoil: Callable[[Any], None],
    error: type[GoogleAPICallError],
    message: str,
) -> None:
    request = request_for(f"gs://{BUCKET}/recordings/call.mp3")
    spoil(request)

    with pytest.raises(error) as refused:
        client.batch_recognize(request=request, timeout=10)

    assert message in refused.value.message
    assert standin.book.state()["operations"] == []


def test_refusal_names_the_field_at_fault(standin: RunningSpeech, client: SpeechClient) -> None:
    standin.rules.withdrawn.add("word_level_timestamps")
    request = request_for(f"gs://{BUCKET}/recordings/call.mp3", enable_word_time_offsets=True)

    with pytest.raises(InvalidArgument) as refused:
        client.batch_recognize(request=request, timeout=10)

    (detail,) = refused.value.details
    assert detail.field_violations[0].field == "features.enable_word_time_offsets"


def test_regional_endpoint_refuses_other_locations(storage_url: str) -> None:
    with serve_speech(storage_url=storage_url, location="eu") as european:
        channel = grpc.insecure_channel(european.address)
        elsewhere = SpeechClient(transport=SpeechGrpcTransport(channel=channel))
        with pytest.raises(InvalidArgument, match="Expected resource location to be eu, but found us"):
            elsewhere.batch_recognize(request=request_for(f"gs://{BUCKET}/a.mp3"), timeout=10)
        channel.close()


# --- errors of one file inside an operation that succeeds ---------------------------------------


class BadFile(NamedTuple):
    """What lies in the bucket, and the error it leads to."""

    name: str
    code: str
    content: bytes | None = b"never decoded"
    sidecar: dict[str, Any] | None = None
    word_times: bool = False


BAD_FILES = (
    BadFile("missing.mp3", "NOT_FOUND", content=None),
    BadFile("page.mp3", "INVALID_ARGUMENT", content=b"<html>not audio</html>"),
    BadFile("21-minutes.mp3", "INVALID_ARGUMENT", sidecar={"duration_s": 1201}, word_times=True),
    BadFile("61-minutes.mp3", "INVALID_ARGUMENT", sidecar={"duration_s": 3601}),
)


@pytest.mark.parametrize("bad", BAD_FILES, ids=lambda bad: bad.name)
def test_file_errors_lie_inside_a_successful_operation(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, bad: BadFile
) -> None:
    uri = f"gs://{BUCKET}/recordings/{bad.name}"
    if bad.content is not None:
        storage.write(uri, bad.content)
    if bad.sidecar is not None:
        storage.write(f"{uri}.json", json.dumps(bad.sidecar).encode())

    response = recognise(standin, client, request_for(uri, enable_word_time_offsets=bad.word_times))

    assert Code.Name(response.results[uri].error.code) == bad.code
    assert response.total_billed_duration.total_seconds() == 0


def test_other_languages_need_a_sidecar(standin: RunningSpeech, client: SpeechClient, storage: AudioStorage) -> None:
    uri = f"gs://{BUCKET}/recordings/spanish.wav"
    storage.write(uri, silence(1))

    response = recognise(standin, client, request_for(uri, language="es-ES"))

    assert Code.Name(response.results[uri].error.code) == "UNIMPLEMENTED"


def test_without_a_recognizer_only_sidecars_are_transcribed(storage: AudioStorage, call_audio: str) -> None:
    files = FileTranscriber(storage, None, FaultPlan(), RegisteredSidecars())
    uri = f"gs://{BUCKET}/recordings/no-sidecar.wav"
    storage.write(uri, silence(1))

    assert files.hear("operations/1", request_for(call_audio), call_audio).output_uri
    with pytest.raises(FileFailed, match="no recognizer is installed"):
        files.hear("operations/2", request_for(uri), uri)
