"""The Speech stand-in, asked through Google's own client: it behaves as the real service is documented to."""

from __future__ import annotations

import io
import json
import wave
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import grpc
import httpx
import pytest
from google.api_core.exceptions import GoogleAPICallError, InvalidArgument, NotFound, ServiceUnavailable
from google.cloud.speech_v2 import SpeechClient, types
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport
from google.rpc.code_pb2 import Code

from infra.local import gcs
from infra.local.recordings.catalogue import AUDIO
from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.speech import RunningSpeech, serve_speech
from infra.local.standins.speech_files import FileFailed, FileTranscriber
from infra.local.standins.speech_sidecar import RegisteredSidecars
from infra.local.standins.speech_storage import AudioStorage

BUCKET = "audio"
RECOGNIZER = "projects/local/locations/us/recognizers/_"
PREFIX = f"gs://{BUCKET}/transcripts/t/r/"
SEPARATE = types.RecognitionFeatures.MultiChannelMode.SEPARATE_RECOGNITION_PER_CHANNEL
TWO_PARTIES = {
    "turns": [
        {"channel": 1, "start_s": 0, "end_s": 2, "text": "How can I help?"},
        {"channel": 2, "start_s": 2.5, "end_s": 4, "text": "My sink leaks.", "speaker": "2"},
    ]
}


@pytest.fixture(scope="module")
def storage_url() -> Iterator[str]:
    with gcs.serve(bucket=BUCKET) as url:
        yield url


@pytest.fixture(scope="module")
def storage(storage_url: str) -> Iterator[AudioStorage]:
    store = AudioStorage(storage_url)
    yield store
    store.close()


@pytest.fixture(scope="module")
def running(storage_url: str) -> Iterator[RunningSpeech]:
    with serve_speech(storage_url=storage_url) as standin:
        yield standin


@pytest.fixture
def standin(running: RunningSpeech) -> Iterator[RunningSpeech]:
    yield running
    running.book.wait_until_idle()  # or this test's work would meet the next test's faults
    httpx.post(f"{running.admin_url}/_standin/reset", trust_env=False).raise_for_status()


@pytest.fixture(scope="module")
def client(running: RunningSpeech) -> Iterator[SpeechClient]:
    with grpc.insecure_channel(running.address) as channel:
        yield SpeechClient(transport=SpeechGrpcTransport(channel=channel))


@pytest.fixture
def call_audio(storage: AudioStorage) -> str:
    """A stored object with two parties in its sidecar; a new one for each test, because names follow from it."""
    uri = f"gs://{BUCKET}/recordings/call-{uuid4().hex}.mp3"
    storage.write(uri, b"never decoded")
    storage.write(f"{uri}.json", json.dumps(TWO_PARTIES).encode())
    return uri


def request_for(*uris: str, model: str = "chirp_3", language: str = "en-US", **features: Any) -> Any:
    return types.BatchRecognizeRequest(
        recognizer=RECOGNIZER,
        config=types.RecognitionConfig(
            auto_decoding_config=types.AutoDetectDecodingConfig(),
            model=model,
            language_codes=[language],
            features=types.RecognitionFeatures(**features),
        ),
        files=[types.BatchRecognizeFileMetadata(uri=uri) for uri in uris],
        recognition_output_config=types.RecognitionOutputConfig(gcs_output_config=types.GcsOutputConfig(uri=PREFIX)),
    )


def recognise(standin: RunningSpeech, client: SpeechClient, request: Any) -> Any:
    """Submit, wait, and read the operation as any client would: a `BatchRecognizeResponse`."""
    name = client.batch_recognize(request=request, timeout=10).operation.name
    standin.book.wait_until_done(name)
    raw = client.get_operation({"name": name}, timeout=10)
    assert raw.done
    return types.BatchRecognizeResponse.deserialize(raw.response.value)


def document(storage: AudioStorage, response: Any) -> dict[str, Any]:
    (result,) = response.results.values()
    parsed: dict[str, Any] = json.loads(storage.read(result.cloud_storage_result.uri))
    return parsed


def silence(seconds: int) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(2 * 8000 * seconds))
    return file.getvalue()


def upload_sample(storage: AudioStorage, name: str) -> str:
    uri = f"gs://{BUCKET}/recordings/{name}"
    storage.write(uri, Path(AUDIO / name).read_bytes())
    return uri


def spoken(results: list[dict[str, Any]]) -> str:
    return " ".join(result["alternatives"][0]["transcript"] for result in results).lower()


# --- recognition of real speech -----------------------------------------------------------------


@pytest.mark.speech
def test_hears_each_party_on_its_own_channel(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage
) -> None:
    uri = upload_sample(storage, "leaking-sink.mp3")
    request = request_for(uri, multi_channel_mode=SEPARATE, enable_word_time_offsets=True)

    response = recognise(standin, client, request)

    output = document(storage, response)
    assert "how can i help" in spoken([one for one in output["results"] if one["channelTag"] == 1])
    caller = spoken([one for one in output["results"] if one["channelTag"] == 2])
    assert "still leaking" in caller
    assert "kitchen" in caller
    assert response.total_billed_duration.total_seconds() == 2 * 26  # 25.5 s, whole seconds, two channels
    assert output["metadata"]["totalBilledDuration"] == "52s"


@pytest.mark.speech
def test_repeats_itself_to_the_letter(standin: RunningSpeech, client: SpeechClient, storage: AudioStorage) -> None:
    uri = upload_sample(storage, "wrong-number.mp3")
    request = request_for(uri, enable_word_time_offsets=True)

    first, second = (document(storage, recognise(standin, client, request)) for _ in range(2))

    assert first["results"]
    assert first == second


@pytest.mark.speech
def test_tells_two_voices_apart_on_one_channel(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage
) -> None:
    uri = upload_sample(storage, "wrong-number.mp3")

    output = document(
        storage, recognise(standin, client, request_for(uri, diarization_config=types.SpeakerDiarizationConfig()))
    )

    words = [word for one in output["results"] for word in one["alternatives"][0]["words"]]
    by_label = {label: [word["word"] for word in words if word["speakerLabel"] == label] for label in ("1", "2")}
    assert by_label["1"][:2] == ["Example", "cleaning,"]
    assert "dog" in by_label["2"]
    assert "dog" not in by_label["1"]
    assert all("startOffset" not in word for word in words), "word times were not asked for"


@pytest.mark.speech
def test_silence_succeeds_without_results_and_is_billed(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage
) -> None:
    uri = f"gs://{BUCKET}/recordings/silence.wav"
    storage.write(uri, silence(4))

    response = recognise(standin, client, request_for(uri))

    assert document(storage, response) == {"metadata": {"totalBilledDuration": "4s"}}


# --- sidecars and the output object -------------------------------------------------------------


def test_unset_channel_mode_loses_the_second_party(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str
) -> None:
    output = document(storage, recognise(standin, client, request_for(call_audio)))
    assert spoken(output["results"]) == "how can i help?"


def test_output_object_has_the_services_own_form(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str
) -> None:
    request = request_for(call_audio, multi_channel_mode=SEPARATE, enable_word_time_offsets=True)

    response = recognise(standin, client, request)

    uri = response.results[call_audio].cloud_storage_result.uri
    assert uri.startswith(f"{PREFIX}call-")
    assert "_transcript_" in uri
    assert uri.endswith(".json")
    last = document(storage, response)["results"][-1]
    assert last["channelTag"] == 2
    assert last["languageCode"] == "en-us"
    assert last["resultEndOffset"] == "4s"
    assert last["alternatives"][0]["words"][1] == {"startOffset": "3s", "endOffset": "3.500s", "word": "sink"}


def test_registered_transcript_serves_every_matching_recording(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage
) -> None:
    uri = f"gs://{BUCKET}/recordings/any.mp3"
    storage.write(uri, b"never decoded")
    answer = httpx.post(
        f"{standin.admin_url}/_standin/transcripts",
        json={"audio_uri": f"gs://{BUCKET}/recordings/*", "transcript": TWO_PARTIES},
        trust_env=False,
    )
    assert answer.status_code == 204

    output = document(storage, recognise(standin, client, request_for(uri)))

    assert spoken(output["results"]) == "how can i help?"


def test_inline_output_comes_back_in_the_operation(
    standin: RunningSpeech, client: SpeechClient, call_audio: str
) -> None:
    request = request_for(call_audio)
    request.recognition_output_config = types.RecognitionOutputConfig(inline_response_config=types.InlineOutputConfig())

    response = recognise(standin, client, request)

    (result,) = response.results[call_audio].inline_result.transcript.results
    assert result.alternatives[0].transcript == "How can I help?"


def test_state_tells_how_often_each_recording_was_paid_for(
    standin: RunningSpeech, client: SpeechClient, call_audio: str
) -> None:
    for _ in range(2):
        recognise(standin, client, request_for(call_audio, multi_channel_mode=SEPARATE))

    state = httpx.get(f"{standin.admin_url}/_standin/state", trust_env=False).json()

    assert state["started"] == {call_audio: 2}
    assert state["billed_s"] == 2 * 2 * 4
    assert [one["separates_channels"] for one in state["operations"]] == [True, True]


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

    assert files.transcribe("operations/1", request_for(call_audio), call_audio).output_uri
    with pytest.raises(FileFailed, match="no recognizer is installed"):
        files.transcribe("operations/2", request_for(uri), uri)


# --- operations and faults ----------------------------------------------------------------------


def test_unknown_operation_is_not_found(standin: RunningSpeech, client: SpeechClient) -> None:
    assert standin.book.state()["operations"] == []
    with pytest.raises(NotFound):
        client.get_operation({"name": "projects/local/locations/us/operations/none"}, timeout=10)


def test_operations_are_listed_by_location_page_by_page(
    standin: RunningSpeech, client: SpeechClient, call_audio: str
) -> None:
    names = [client.batch_recognize(request=request_for(call_audio), timeout=10).operation.name for _ in range(3)]
    parent = "projects/local/locations/us"

    first = client.list_operations({"name": parent, "page_size": 2}, timeout=10)
    second = client.list_operations({"name": parent, "page_size": 2, "page_token": first.next_page_token}, timeout=10)

    assert [one.name for one in [*first.operations, *second.operations]] == names[::-1]
    assert second.next_page_token == ""
    assert not client.list_operations({"name": "projects/local/locations/eu"}, timeout=10).operations


def test_dropped_answer_leaves_the_operation_running(
    standin: RunningSpeech, client: SpeechClient, call_audio: str
) -> None:
    standin.plan.add(FaultRule(operation="batch_recognize", kind="drop_after"))

    with pytest.raises(ServiceUnavailable):
        client.batch_recognize(request=request_for(call_audio), timeout=10, retry=None)

    assert standin.book.state()["started"] == {call_audio: 1}


def test_lost_output_is_reported_as_success(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str
) -> None:
    standin.plan.add(FaultRule(operation="output", kind="drop"))

    response = recognise(standin, client, request_for(call_audio))

    uri = response.results[call_audio].cloud_storage_result.uri
    assert uri
    assert not storage.exists(uri)
    assert readable(standin) == []


def readable(standin: RunningSpeech) -> list[str]:
    """What the chaos run's audit asks: where a transcript was written, removed since or not."""
    return [str(uri) for one in standin.book.state()["operations"] for uri in one["readable_uris"]]


@pytest.mark.parametrize("rule", [None, FaultRule(operation="output", kind="drop_after")])
def test_a_transcript_that_was_written_is_remembered_whatever_the_operation_says(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str, rule: FaultRule | None
) -> None:
    """Whoever repeats it pays for what lay there, and the pipeline removes it once it has it."""
    if rule is not None:
        standin.plan.add(rule)

    recognise(standin, client, request_for(call_audio))

    (uri,) = readable(standin)
    assert storage.exists(uri)


def test_rubbish_output_is_written_as_asked(
    standin: RunningSpeech, client: SpeechClient, storage: AudioStorage, call_audio: str
) -> None:
    standin.plan.add(FaultRule(operation="output", kind="rubbish", body={"results": "many"}))
    assert document(storage, recognise(standin, client, request_for(call_audio))) == {"results": "many"}
    assert readable(standin) == []


def test_whole_operation_can_fail(standin: RunningSpeech, client: SpeechClient, call_audio: str) -> None:
    standin.plan.add(FaultRule(operation="recognition", kind="status", grpc_code="INTERNAL"))
    name = client.batch_recognize(request=request_for(call_audio), timeout=10).operation.name
    assert standin.book.wait_until_done(name).error.code == Code.INTERNAL
