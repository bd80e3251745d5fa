"""Which model takes a call, and what is asked of it."""

from __future__ import annotations

import pytest

from shared.errors import PermanentFailure
from shared.gateways.speech_capabilities import MODELS, plan_recognition
from shared.ports import SpeechJob


def job(
    *,
    model: str = "chirp_3",
    channels: int = 1,
    duration_s: float = 60.0,
    languages: tuple[str, ...] = ("en-US",),
) -> SpeechJob:
    return SpeechJob("gs://b/a", "gs://b/t/", channels, duration_s, languages, model, 1)


@pytest.mark.parametrize("model", [*MODELS, "chirp_9"])
def test_two_channels_are_always_kept_apart_and_never_diarized(model: str) -> None:
    features = plan_recognition(job(model=model, channels=2), location="us").features
    assert "separate_channels" in features
    assert "diarization" not in features


def test_one_channel_is_diarized_only_where_every_language_can_be() -> None:
    assert "diarization" in plan_recognition(job(), location="us").features
    assert "diarization" in plan_recognition(job(languages=("en-US", "es-US")), location="us").features
    assert "diarization" not in plan_recognition(job(languages=("en-US", "nl-NL")), location="us").features
    assert "diarization" not in plan_recognition(job(model="telephony"), location="us").features


@pytest.mark.parametrize(
    ("minutes", "model", "has_word_times"),
    [(20, "chirp_3", True), (20.1, "chirp_3", False), (60, "chirp_3", False), (60.1, "telephony", True)],
)
def test_length_decides_word_times_and_model(minutes: float, model: str, has_word_times: bool) -> None:
    plan = plan_recognition(job(duration_s=minutes * 60), location="us")
    assert plan.model == model
    assert ("word_times" in plan.features) is has_word_times


@pytest.mark.parametrize(
    ("location", "languages", "model"),
    [
        ("us-central1", ("en-US",), "chirp_2"),
        ("global", ("en-US",), "telephony"),
        ("global", ("nl-NL",), "long"),
        ("eu", ("en-GB",), "chirp_3"),
    ],
)
def test_model_that_is_not_served_there_is_replaced_and_named(
    location: str, languages: tuple[str, ...], model: str
) -> None:
    plan = plan_recognition(job(languages=languages), location=location)
    assert plan.model == model
    assert plan.instead_of == ("" if model == "chirp_3" else "chirp_3")


def test_model_we_do_not_know_is_asked_for_as_it_is() -> None:
    plan = plan_recognition(job(model="chirp_9"), location="us")
    assert plan.model == "chirp_9"
    assert plan.features == {"punctuation", "word_times"}


def test_no_model_takes_more_than_eight_hours() -> None:
    assert plan_recognition(job(duration_s=8 * 3600), location="us").model == "telephony"
    with pytest.raises(PermanentFailure, match="recording_too_long"):
        plan_recognition(job(duration_s=8 * 3600 + 1), location="us")
