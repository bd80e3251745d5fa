"""One file of a request: found, heard, and its transcript written where the request says."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any, Literal

from google.cloud.speech_v2 import types
from google.rpc.code_pb2 import Code
from google.rpc.status_pb2 import Status

from infra.local.standins import speech_results
from infra.local.standins.faults import FaultPlan, FaultRule
from infra.local.standins.speech_hearing import Hearing, NotAudio, Recognizer
from infra.local.standins.speech_rules import diarizes, separates_channels, too_long
from infra.local.standins.speech_sidecar import RegisteredSidecars, Sidecar
from infra.local.standins.speech_storage import AudioStorage, ObjectMissing, StorageUnreachable, address_of


class FileFailed(Exception):
    """A file's error inside an operation that succeeds; `billed_s` when it was recognised all the same."""

    def __init__(self, code: str, message: str, *, billed_s: int = 0, left_uri: str = "") -> None:
        super().__init__(f"{code}: {message}")
        self.status = Status(code=Code.Value(code), message=message)
        self.billed_s = billed_s
        self.left_uri = left_uri
        """A readable output that was written all the same."""


Written = Literal["readable", "spoiled", "lost"]


@dataclass(frozen=True)
class Heard:
    """A file that was recognised; nobody has its transcript yet. Inline results have no `output_uri`."""

    result: types.BatchRecognizeFileResult
    billed_s: int
    output_uri: str = ""
    document: bytes = b""
    rule: FaultRule | None = None
    """What is to go wrong with the output."""


@dataclass(frozen=True)
class Transcribed:
    """A file that went well. `output_uri` stays empty for inline results and for an output that a fault lost.

    `is_readable`: a transcript lies, or lay, there; a fault may have put something else in its place.
    """

    result: types.BatchRecognizeFileResult
    billed_s: int
    output_uri: str = ""
    is_readable: bool = False


@dataclass(frozen=True)
class FileTranscriber:
    """Safe to share between threads."""

    storage: AudioStorage
    recognizer: Recognizer | None
    plan: FaultPlan
    sidecars: RegisteredSidecars

    def hear(self, operation: str, request: types.BatchRecognizeRequest, audio_uri: str) -> Heard:
        """Recognise one file. Takes as long as that takes, and can be repeated. Raises `FileFailed`."""
        hearing = self._hear(audio_uri, request.config)
        if too_long(request.config, hearing.duration_s):
            raise FileFailed("INVALID_ARGUMENT", "Audio is too long for the model and the features asked for")
        results = speech_results.results_of(hearing, request.config)
        billed_s = speech_results.billed_s(hearing)
        result = types.BatchRecognizeFileResult(metadata=results.metadata)
        if "inline_response_config" in request.recognition_output_config:
            result.inline_result = types.InlineResult(transcript=results)
            return Heard(result, billed_s)
        output_uri = _output_uri(operation, request, audio_uri)
        result.cloud_storage_result = types.CloudStorageResult(uri=output_uri)
        return Heard(result, billed_s, output_uri, speech_results.output_json(results), self.plan.take("output"))

    def deliver(self, heard: Heard) -> Transcribed:
        """Write the transcript where the request wants it. Raises `FileFailed`."""
        if not heard.output_uri:
            return Transcribed(heard.result, heard.billed_s)
        written = self._write(heard)
        output_uri = "" if written == "lost" else heard.output_uri
        return Transcribed(heard.result, heard.billed_s, output_uri, is_readable=written == "readable")

    def _hear(self, uri: str, config: types.RecognitionConfig) -> Hearing:
        """From a registered sidecar, one beside the audio, or the audio itself."""
        try:
            sidecar = self._sidecar(uri)
            if sidecar is not None:
                return sidecar.hearing(all_channels=separates_channels(config), diarize=diarizes(config))
            audio = self.storage.read(uri)
        except ObjectMissing as error:
            raise FileFailed("NOT_FOUND", "The audio object does not exist") from error
        except StorageUnreachable as error:
            raise FileFailed("UNAVAILABLE", "Cloud Storage did not answer") from error
        return self._recognise(audio, config)

    def _sidecar(self, uri: str) -> Sidecar | None:
        """Raises `ObjectMissing` when there is a sidecar but no audio: the real service would not find it either."""
        sidecar = self.sidecars.find(uri)
        if sidecar is None and self.storage.exists(f"{uri}.json"):
            sidecar = Sidecar.model_validate_json(self.storage.read(f"{uri}.json"))
        if sidecar is not None and not self.storage.exists(uri):
            raise ObjectMissing(uri)
        return sidecar

    def _recognise(self, audio: bytes, config: types.RecognitionConfig) -> Hearing:
        if self.recognizer is None:
            raise FileFailed("UNIMPLEMENTED", "no recognizer is installed; give the stand-in a sidecar transcript")
        if not config.language_codes[0].startswith("en"):
            raise FileFailed("UNIMPLEMENTED", "the stand-in knows English only; give it a sidecar transcript")
        try:
            return self.recognizer.hear(audio, all_channels=separates_channels(config), diarize=diarizes(config))
        except NotAudio as error:
            raise FileFailed("INVALID_ARGUMENT", "The audio encoding could not be detected") from error

    def _write(self, heard: Heard) -> Written:
        """Write the output object, or spoil it as a fault says.

        `drop` loses it, `rubbish` writes something else, `status` fails instead, `drop_after` fails after writing.
        """
        rule, output_uri, billed_s = heard.rule, heard.output_uri, heard.billed_s
        kind = rule.kind if rule is not None else ""
        if rule is not None and kind == "status":
            raise FileFailed(rule.grpc_code, f"{rule.grpc_code} on purpose", billed_s=billed_s)
        if kind == "drop":
            return "lost"
        try:
            document = _rubbish(rule.body) if rule is not None and kind == "rubbish" else heard.document
            self.storage.write(output_uri, document)
        except (ObjectMissing, StorageUnreachable) as error:
            raise FileFailed("UNAVAILABLE", "the output could not be written", billed_s=billed_s) from error
        if kind == "drop_after":
            message = "the service broke after it wrote its output"
            raise FileFailed("INTERNAL", message, billed_s=billed_s, left_uri=output_uri)
        return "spoiled" if kind == "rubbish" else "readable"


def _output_uri(operation: str, request: types.BatchRecognizeRequest, audio_uri: str) -> str:
    """The service chooses the name; ours is the same for the same operation and file."""
    prefix = request.recognition_output_config.gcs_output_config.uri.rstrip("/")
    digest = hashlib.sha256(f"{operation}|{audio_uri}".encode()).hexdigest()[:16]
    return f"{prefix}/{PurePosixPath(address_of(audio_uri).name).stem}_transcript_{digest}.json"


def _rubbish(body: Any) -> bytes:
    if body is None:
        return b"\x00 not a transcript"
    return body.encode() if isinstance(body, str) else json.dumps(body).encode()
