"""What the real Speech service refuses before it starts any work (reference: Speech §3.1 and §3.2).

Kept apart from the gateway's capability table on purpose: the stand-in must not share our mistakes.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from google.cloud.speech_v2 import types

MAX_FILES = 15
_RECOGNIZER = re.compile(r"^projects/[^/]+/locations/([^/]+)/recognizers/([^/]+)$")
_HOUR_S = 3600.0


@dataclass(frozen=True)
class Refusal:
    """A gRPC error: code's name, message, and the field it is about where Google names one."""

    code: str
    message: str
    field: str = ""


@dataclass(frozen=True)
class ModelRules:
    """What one model takes. An empty set of locations means everywhere; lengths in seconds."""

    locations: frozenset[str] = frozenset()
    diarizes: frozenset[str] = frozenset()
    """Lower-case languages."""
    word_confidence: bool = True
    max_s: float = 8 * _HOUR_S
    max_s_with_word_times: float = 8 * _HOUR_S


MODELS = {
    "chirp_3": ModelRules(
        locations=frozenset(
            {"us", "eu", "asia-northeast1", "asia-southeast1", "asia-south1"}
            | {"europe-west2", "europe-west3", "northamerica-northeast1"}
        ),
        diarizes=frozenset(
            {"en-us", "en-gb", "en-in", "es-es", "es-us", "fr-fr", "fr-ca", "de-de", "it-it", "pt-br"}
            | {"ja-jp", "ko-kr", "hi-in", "cmn-hans-cn"}
        ),
        word_confidence=False,
        max_s=_HOUR_S,
        max_s_with_word_times=20 * 60.0,
    ),
    "chirp_2": ModelRules(locations=frozenset({"us-central1", "europe-west4", "asia-southeast1"})),
    "telephony": ModelRules(),
    "long": ModelRules(),
}


@dataclass
class Rules:
    """The checks of one stand-in. `location` is the endpoint's own; empty serves every location.

    `withdrawn` names features (as the service calls them) that are refused for every model from now on: how a test
    plays a service that knows less than our table says.
    """

    location: str = ""
    withdrawn: set[str] = field(default_factory=set)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    def withdraw(self, features: Iterable[str]) -> None:
        with self._lock:
            self.withdrawn.update(features)

    def restore(self) -> None:
        """Nothing is withdrawn any more."""
        with self._lock:
            self.withdrawn.clear()

    @contextmanager
    def standing_still(self) -> Iterator[set[str]]:
        """See keeping.py; the location is the command line's affair."""
        with self._lock:
            yield self.withdrawn

    def take_up(self, kept: set[str]) -> None:
        with self._lock:
            self.withdrawn = kept

    def refusal(self, request: types.BatchRecognizeRequest) -> Refusal | None:
        """The first reason to refuse, or None."""
        return (
            self._refused_recognizer(request.recognizer)
            or _refused_files(request)
            or _refused_output(request)
            or self._refused_config(request.config, location=request.recognizer.split("/")[3])
        )

    def _refused_recognizer(self, name: str) -> Refusal | None:
        match = _RECOGNIZER.match(name)
        if match is None:
            return _invalid("Invalid resource name: recognizer", "recognizer")
        location, recognizer = match.groups()
        if self.location and location != self.location:
            return _invalid(
                f"Expected resource location to be {self.location}, but found {location} in resource name.",
                "recognizer",
            )
        if recognizer != "_":
            return Refusal("NOT_FOUND", "Unable to find Recognizer")
        return None

    def _refused_config(self, config: types.RecognitionConfig, *, location: str) -> Refusal | None:
        if "decoding_config" not in _set_oneofs(config):
            return _invalid("Config must set a decoding config", "config.decoding_config")
        if not config.language_codes:
            return _invalid("At least one language code is required", "config.language_codes")
        model = MODELS.get(config.model)
        if model is None or (model.locations and location not in model.locations):
            return _invalid(
                f'The model "{config.model}" does not exist in the location named "{location}".', "config.model"
            )
        for name, path in _asked_features(config.features).items():
            if name in self.withdrawn or _lacks(model, name, config):
                return _invalid(f"Recognizer does not support feature: {name}", path)
        return None


def too_long(config: types.RecognitionConfig, duration_s: float) -> bool:
    """Whether the audio is longer than the model takes; the service finds out after it accepted the request."""
    model = MODELS[config.model]
    limit_s = model.max_s_with_word_times if config.features.enable_word_time_offsets else model.max_s
    return duration_s > limit_s


def separates_channels(config: types.RecognitionConfig) -> bool:
    modes = types.RecognitionFeatures.MultiChannelMode
    return bool(config.features.multi_channel_mode == modes.SEPARATE_RECOGNITION_PER_CHANNEL)


def diarizes(config: types.RecognitionConfig) -> bool:
    return "diarization_config" in config.features


def _asked_features(features: types.RecognitionFeatures) -> dict[str, str]:
    """The service's names of the features asked for, with the fields that ask for them."""
    asked = {
        "speaker_diarization": ("features.diarization_config", "diarization_config" in features),
        "word_level_confidence": ("features.enable_word_confidence", features.enable_word_confidence),
        "word_level_timestamps": ("features.enable_word_time_offsets", features.enable_word_time_offsets),
        "automatic_punctuation": ("features.enable_automatic_punctuation", features.enable_automatic_punctuation),
        "multi_channel_mode": ("features.multi_channel_mode", features.multi_channel_mode != 0),
    }
    return {name: path for name, (path, is_asked) in asked.items() if is_asked}


def _lacks(model: ModelRules, feature: str, config: types.RecognitionConfig) -> bool:
    if feature == "speaker_diarization":
        return not model.diarizes.issuperset(code.lower() for code in config.language_codes)
    return feature == "word_level_confidence" and not model.word_confidence


def _refused_files(request: types.BatchRecognizeRequest) -> Refusal | None:
    if not 1 <= len(request.files) <= MAX_FILES:
        return _invalid(f"Between 1 and {MAX_FILES} files are required", "files")
    if any(not file.uri.startswith("gs://") for file in request.files):
        return _invalid("Audio must be a Cloud Storage URI", "files.uri")
    return None


def _refused_output(request: types.BatchRecognizeRequest) -> Refusal | None:
    output = request.recognition_output_config
    if "gcs_output_config" in output:
        if output.gcs_output_config.uri.startswith("gs://"):
            return None
        return _invalid("Output must be a Cloud Storage URI", "recognition_output_config.gcs_output_config.uri")
    if "inline_response_config" not in output:
        return _invalid("An output config is required", "recognition_output_config")
    if len(request.files) > 1:
        return _invalid("Inline output is allowed with exactly one file", "recognition_output_config")
    return None


def _set_oneofs(config: types.RecognitionConfig) -> set[str]:
    message = types.RecognitionConfig.pb(config)
    return {oneof.name for oneof in message.DESCRIPTOR.oneofs if message.WhichOneof(oneof.name)}


def _invalid(message: str, path: str) -> Refusal:
    return Refusal("INVALID_ARGUMENT", message, path)
