"""What each Speech model can do and where: decides the model and the features that are asked for.

Source: reference, Speech §3.2 (Google's chirp-2, chirp-3 and quota pages as of 2026-11). Asking for a feature that a
model lacks is refused with INVALID_ARGUMENT, so a row too cautious costs detail and a row too bold costs a round trip.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from shared.errors import PermanentFailure
from shared.ports import SpeechJob

Feature = Literal["separate_channels", "diarization", "word_times", "punctuation"]

HOUR_S = 3600.0
BATCH_LIMIT_S = 8 * HOUR_S
"""BatchRecognize takes at most 480 minutes per file, whatever the model."""

ANY: frozenset[str] = frozenset()
"""An empty set of locations or languages means that Google names no restriction we know of."""


@dataclass(frozen=True)
class SpeechModel:
    """One row of the table. Lengths are seconds of audio."""

    name: str
    locations: frozenset[str] = ANY
    languages: frozenset[str] = ANY
    diarizes: frozenset[str] | None = None
    """Languages in which speakers can be told apart on one channel; None means never."""
    max_s: float = BATCH_LIMIT_S
    max_s_with_word_times: float = BATCH_LIMIT_S

    def serves(self, *, location: str, languages: tuple[str, ...]) -> bool:
        return (not self.locations or location in self.locations) and (
            not self.languages or self.languages.issuperset(languages)
        )


_CHIRP_3 = SpeechModel(
    name="chirp_3",
    locations=frozenset(
        {"us", "eu", "asia-northeast1", "asia-southeast1", "asia-south1"}
        | {"europe-west2", "europe-west3", "northamerica-northeast1"}
    ),
    diarizes=frozenset(
        {"en-US", "en-GB", "en-IN", "es-ES", "es-US", "fr-FR", "fr-CA", "de-DE", "it-IT", "pt-BR"}
        | {"ja-JP", "ko-KR", "hi-IN", "cmn-Hans-CN"}
    ),
    max_s=HOUR_S,
    max_s_with_word_times=20 * 60.0,
)
_CHIRP_2 = SpeechModel(name="chirp_2", locations=frozenset({"us-central1", "europe-west4", "asia-southeast1"}))
_TELEPHONY = SpeechModel(name="telephony", languages=frozenset({"en-US", "en-GB", "en-AU", "en-IN", "es-US", "fr-FR"}))
_LONG = SpeechModel(name="long")

MODELS = {model.name: model for model in (_CHIRP_3, _CHIRP_2, _TELEPHONY, _LONG)}
FALLBACKS = (_CHIRP_2, _TELEPHONY, _LONG)
"""What stands in for a model that cannot take a call, best first."""


@dataclass(frozen=True)
class RecognitionPlan:
    """What will be asked of Speech. `instead_of` names the configured model when another one takes the call."""

    model: str
    features: frozenset[Feature]
    instead_of: str = ""


def plan_recognition(job: SpeechJob, *, location: str) -> RecognitionPlan:
    """Choose model and features. Pure: the same job gives the same plan when the output is read hours later.

    Raises `PermanentFailure` when no model takes a recording of this length.
    """
    for model in _candidates(job.model):
        if model.serves(location=location, languages=job.language_codes) and job.duration_s <= model.max_s:
            instead_of = "" if model.name == job.model else job.model
            return RecognitionPlan(model.name, _features(model, job), instead_of)
    raise PermanentFailure(
        "recording_too_long",
        f"{job.duration_s / HOUR_S:.1f} hours of audio; Speech takes at most {BATCH_LIMIT_S / HOUR_S:.0f}",
    )


def _candidates(wanted: str) -> Iterator[SpeechModel]:
    """The wanted model first. One that is not in the table is tried as it is: Google adds models faster than we do."""
    yield MODELS.get(wanted, SpeechModel(name=wanted))
    yield from (model for model in FALLBACKS if model.name != wanted)


def _features(model: SpeechModel, job: SpeechJob) -> frozenset[Feature]:
    features: set[Feature] = {"punctuation"}
    if job.channels > 1:
        # Unset, only channel 1 would be transcribed and a party lost without a word.
        features.add("separate_channels")
    elif model.diarizes is not None and model.diarizes.issuperset(job.language_codes):
        features.add("diarization")
    if job.duration_s <= model.max_s_with_word_times:
        features.add("word_times")
    return frozenset(features)
