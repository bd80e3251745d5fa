"""The Speech gateway against the stand-in: what is asked for, what comes back, and which features may be refused."""

from __future__ import annotations

import pytest

from infra.local.standins.speech import RunningSpeech
from infra.local.standins.speech_storage import AudioStorage
from schemas.transcript import Turn
from shared.errors import PermanentFailure
from shared.gateways.speech import SpeechV2Recognizer, speech_recognizer
from tests.contract.speech.jobs import CONVERSATION, ON_ONE_CHANNEL, finished_output, job_for, only_operation


@pytest.fixture(scope="module")
def location() -> str:
    return "us"


# --- what is asked for --------------------------------------------------------------------------


def test_two_channels_become_agent_and_caller_in_the_order_of_time(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, CONVERSATION)

    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)

    assert transcript.turns == (
        Turn(speaker="agent", start_s=0, end_s=2, text="How can I help?"),
        Turn(speaker="caller", start_s=2.5, end_s=4, text="My sink leaks."),
        Turn(speaker="agent", start_s=4.5, end_s=6, text="We are on our way."),
    )
    assert transcript.language == "en-US"
    assert transcript.model == "chirp_3"
    asked = only_operation(standin)
    assert asked["separates_channels"]
    assert asked["word_times"]
    assert asked["punctuation"]
    assert not asked["diarizes"]


def test_the_agent_may_be_on_the_second_channel(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, CONVERSATION, agent_channel=2)
    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)
    assert [turn.speaker for turn in transcript.turns] == ["caller", "agent", "caller"]


def test_one_channel_is_diarized(standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer) -> None:
    job = job_for(storage, ON_ONE_CHANNEL, channels=1)

    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)

    assert [(turn.speaker, turn.text) for turn in transcript.turns] == [
        ("speaker_1", "How can I help?"),
        ("speaker_2", "My sink leaks."),
    ]
    assert only_operation(standin)["diarizes"]


def test_language_without_diarization_leaves_speakers_unknown(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, ON_ONE_CHANNEL, channels=1, language_codes=("nl-NL",))

    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)

    assert [turn.speaker for turn in transcript.turns] == ["unknown"]
    assert transcript.language == "nl-NL"
    assert not only_operation(standin)["diarizes"]


def test_calls_over_twenty_minutes_keep_the_model_and_lose_word_times(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, {**CONVERSATION, "duration_s": 1500}, duration_s=1500.0)

    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)

    assert [turn.speaker for turn in transcript.turns] == ["agent", "caller", "agent"]
    assert not only_operation(standin)["word_times"]


def test_calls_over_an_hour_go_to_a_model_that_takes_them(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, {**CONVERSATION, "duration_s": 5000}, duration_s=5000.0)

    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)

    assert transcript.model == "telephony"
    assert only_operation(standin)["model"] == "telephony"


def test_dynamic_batching_is_a_setting(standin: RunningSpeech, storage: AudioStorage) -> None:
    cheap = speech_recognizer(project_id="local", location="us", dynamic_batch=True, local_address=standin.address)
    cheap.submit(job_for(storage, CONVERSATION))
    assert only_operation(standin)["processing_strategy"] == "DYNAMIC_BATCHING"


def test_nobody_spoke_is_a_transcript_without_turns(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    job = job_for(storage, {"turns": [], "duration_s": 9}, channels=1)
    assert gateway.parse_output(finished_output(standin, storage, gateway, job), job).turns == ()


def test_billed_seconds_are_reported(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    name = gateway.submit(job_for(storage, CONVERSATION))
    standin.book.wait_until_done(name)
    assert gateway.operation(name).billed_s == 12.0


# --- refused features ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("withdrawn", "absent"),
    [
        ({"speaker_diarization"}, {"diarizes"}),
        ({"word_level_timestamps"}, {"word_times"}),
        ({"automatic_punctuation"}, {"punctuation"}),
    ],
)
def test_refused_feature_is_dropped_and_the_call_transcribed(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer, withdrawn: set[str], absent: set[str]
) -> None:
    standin.rules.withdrawn.update(withdrawn)
    job = job_for(storage, ON_ONE_CHANNEL, channels=1)

    transcript = gateway.parse_output(finished_output(standin, storage, gateway, job), job)

    assert "My sink leaks." in transcript.text
    asked = only_operation(standin)
    assert {name for name in ("diarizes", "word_times", "punctuation") if not asked[name]} == absent


def test_separate_channels_are_never_dropped(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    """Without them one party would be lost without a word."""
    standin.rules.withdrawn.add("multi_channel_mode")
    with pytest.raises(PermanentFailure, match="speech_refused"):
        gateway.submit(job_for(storage, CONVERSATION))
    assert standin.book.state()["operations"] == []


def test_features_are_dropped_once_only(
    standin: RunningSpeech, storage: AudioStorage, gateway: SpeechV2Recognizer
) -> None:
    standin.rules.withdrawn.update({"speaker_diarization", "word_level_timestamps"})
    with pytest.raises(PermanentFailure, match="word_level_timestamps"):
        gateway.submit(job_for(storage, ON_ONE_CHANNEL, channels=1))
    assert standin.book.state()["operations"] == []
