"""What a client of Speech sends and reads, in its own protocol."""

from __future__ import annotations

import io
import json
import wave
from pathlib import Path
from typing import Any

from google.cloud.speech_v2 import SpeechClient, types

from infra.local.recordings.catalogue import AUDIO
from infra.local.standins.speech import RunningSpeech
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


def readable(standin: RunningSpeech) -> list[str]:
    """What the chaos run's audit asks: where a transcript was written, removed since or not."""
    return [str(uri) for one in standin.book.state()["operations"] for uri in one["readable_uris"]]
