"""The Speech stand-in, asked through Google's own client: what it hears, and how it says so."""

from __future__ import annotations

import httpx
import pytest
from google.cloud.speech_v2 import SpeechClient, types

from infra.local.standins.speech import RunningSpeech
from infra.local.standins.speech_storage import AudioStorage
from tests.contract.speech.calls import (
    BUCKET,
    PREFIX,
    SEPARATE,
    TWO_PARTIES,
    document,
    recognise,
    request_for,
    silence,
    spoken,
    upload_sample,
)

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
