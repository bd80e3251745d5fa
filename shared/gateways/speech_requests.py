"""Builds BatchRecognize requests, and reads from a refusal which feature to leave out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from google.api_core.exceptions import GoogleAPICallError

from shared.gateways.speech_capabilities import Feature, RecognitionPlan
from shared.ports import SpeechJob

if TYPE_CHECKING:  # importing the client takes 0.4 s: only the transcribe worker pays, when it builds its recognizer
    from google.cloud.speech_v2.types import BatchRecognizeRequest, RecognitionFeatures

_NAMES_IN_REFUSALS: dict[Feature, re.Pattern[str]] = {
    "diarization": re.compile(r"diari[sz]ation", re.IGNORECASE),
    "word_times": re.compile(r"word_(level_)?time|word_?time_?offset|timestamp", re.IGNORECASE),
    "punctuation": re.compile(r"punctuation", re.IGNORECASE),
}
"""`separate_channels` is missing on purpose: without it a party is lost silently, so that refusal is final."""


def build_request(
    job: SpeechJob, plan: RecognitionPlan, *, recognizer: str, dynamic_batch: bool
) -> BatchRecognizeRequest:
    """The request for one file with output to Cloud Storage."""
    from google.cloud.speech_v2 import types

    strategy = types.BatchRecognizeRequest.ProcessingStrategy
    return types.BatchRecognizeRequest(
        recognizer=recognizer,
        config=types.RecognitionConfig(
            auto_decoding_config=types.AutoDetectDecodingConfig(),
            model=plan.model,
            language_codes=list(job.language_codes),
            features=_features(plan.features),
        ),
        files=[types.BatchRecognizeFileMetadata(uri=job.audio_uri)],
        recognition_output_config=types.RecognitionOutputConfig(
            gcs_output_config=types.GcsOutputConfig(uri=job.output_uri_prefix)
        ),
        processing_strategy=(strategy.DYNAMIC_BATCHING if dynamic_batch else strategy.PROCESSING_STRATEGY_UNSPECIFIED),
    )


def _features(wanted: frozenset[Feature]) -> RecognitionFeatures:
    from google.cloud.speech_v2 import types

    modes = types.RecognitionFeatures.MultiChannelMode
    separate = "separate_channels" in wanted
    return types.RecognitionFeatures(
        enable_automatic_punctuation="punctuation" in wanted,
        enable_word_time_offsets="word_times" in wanted,
        multi_channel_mode=(
            modes.SEPARATE_RECOGNITION_PER_CHANNEL if separate else modes.MULTI_CHANNEL_MODE_UNSPECIFIED
        ),
        # Speaker counts are left out: the service does not use them (field documentation).
        diarization_config=types.SpeakerDiarizationConfig() if "diarization" in wanted else None,
    )


def refused_features(error: GoogleAPICallError, asked: frozenset[Feature]) -> frozenset[Feature]:
    """The features we asked for that the refusal names, in its message or its field violations; often none."""
    text = f"{error.message} {error.details or ''}"
    return frozenset(feature for feature, name in _NAMES_IN_REFUSALS.items() if feature in asked and name.search(text))
