"""What was heard, as Speech's own messages: the JSON output object and the operation's protobuf."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from google.cloud.speech_v2 import types
from google.longrunning.operations_pb2 import Operation
from google.protobuf import json_format
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status

from infra.local.standins.speech_hearing import Hearing, Utterance
from infra.local.standins.speech_rules import diarizes, separates_channels

_TYPE_PREFIX = "type.googleapis.com/google.cloud.speech.v2."


def billed_s(hearing: Hearing) -> int:
    """Whole seconds, each channel for itself."""
    return math.ceil(hearing.duration_s) * hearing.channels


def results_of(hearing: Hearing, config: types.RecognitionConfig) -> types.BatchRecognizeResults:
    """The document that is written to the output object; no results when nobody spoke."""
    return types.BatchRecognizeResults(
        results=[_result(utterance, config) for utterance in hearing.utterances],
        metadata=types.RecognitionResponseMetadata(total_billed_duration=timedelta(seconds=billed_s(hearing))),
    )


def output_json(results: types.BatchRecognizeResults) -> bytes:
    """Protobuf's own JSON, with its camelCase names and `1.200s` durations."""
    return json_format.MessageToJson(types.BatchRecognizeResults.pb(results)).encode()


def _result(utterance: Utterance, config: types.RecognitionConfig) -> types.SpeechRecognitionResult:
    return types.SpeechRecognitionResult(
        alternatives=[
            types.SpeechRecognitionAlternative(
                transcript=" ".join(word.text for word in utterance.words),
                # chirp_3 gives 0.0, which means "no data"; the others are sure of themselves.
                confidence=0.0 if config.model == "chirp_3" else 0.9,
                words=_words(utterance, config),
            )
        ],
        channel_tag=utterance.channel if separates_channels(config) else 0,
        result_end_offset=timedelta(seconds=utterance.end_s),
        language_code=config.language_codes[0].lower(),
    )


def _words(utterance: Utterance, config: types.RecognitionConfig) -> list[types.WordInfo]:
    """Words are listed only when something was asked about them."""
    with_times, with_speakers = config.features.enable_word_time_offsets, diarizes(config)
    if not (with_times or with_speakers):
        return []
    return [
        types.WordInfo(
            word=heard.text,
            start_offset=timedelta(seconds=heard.start_s) if with_times else None,
            end_offset=timedelta(seconds=heard.end_s) if with_times else None,
            speaker_label=heard.speaker if with_speakers else "",
        )
        for heard in utterance.words
    ]


def running(name: str, request: types.BatchRecognizeRequest) -> Operation:
    return Operation(name=name, metadata=_metadata(request, progress_percent=0))


def finished(
    name: str, request: types.BatchRecognizeRequest, results: Mapping[str, types.BatchRecognizeFileResult]
) -> Operation:
    """An operation succeeds even when all of its files failed."""
    total = sum((result.metadata.total_billed_duration for result in results.values()), timedelta())
    response = types.BatchRecognizeResponse(results=dict(results), total_billed_duration=total)
    packed = _packed("BatchRecognizeResponse", types.BatchRecognizeResponse.serialize(response))
    return Operation(name=name, metadata=_metadata(request, progress_percent=100), done=True, response=packed)


def failed(name: str, request: types.BatchRecognizeRequest, error: Status) -> Operation:
    return Operation(name=name, metadata=_metadata(request, progress_percent=100), done=True, error=error)


def unreadable(operation: Operation) -> Operation:
    """A finished operation whose response is no message: what the fault `rubbish` answers."""
    broken = _packed("BatchRecognizeResponse", b"\xff\xff not protobuf")
    return Operation(name=operation.name, metadata=operation.metadata, done=True, response=broken)


def _metadata(request: types.BatchRecognizeRequest, *, progress_percent: int) -> AnyMessage:
    metadata = types.OperationMetadata(
        method="google.cloud.speech.v2.Speech.BatchRecognize",
        batch_recognize_request=request,
        progress_percent=progress_percent,
    )
    return _packed("OperationMetadata", types.OperationMetadata.serialize(metadata))


def _packed(kind: str, value: Any) -> AnyMessage:
    return AnyMessage(type_url=_TYPE_PREFIX + kind, value=value)
