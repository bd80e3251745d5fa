"""The sample calls: their audio is what their scripts say, their webhooks hold nothing real."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from tinytag import TinyTag

from infra.local.recordings.catalogue import AUDIO, SampleCall, load_catalogue
from infra.local.recordings.check import hear, tiny_whisper
from infra.local.recordings.make import encode
from infra.local.recordings.script import Script
from infra.local.recordings.voices import TELEPHONE_HZ, Samples, decode
from infra.local.recordings.word_errors import is_heard, word_errors, words_of

CALLS = load_catalogue()
BY_ID = {call.script.id: call for call in CALLS}
RECORDED = [call for call in CALLS if call.audio_path]
TWO_CHANNEL = [call for call in CALLS if call.script.channels == 2]
STARTED_AT = datetime(2026, 11, 23, 16, 14, 5, tzinfo=UTC)
CALL_ID = "CAL019aa0c4d1f07b2e9c3d5a6f70819203"
COMPANY_ID = "COM019a1111222273338444555566667777"
RECORDING_URL = "http://127.0.0.1:9/recordings/burst-pipe.mp3"


def payload_of(call: SampleCall) -> dict[str, Any]:
    return call.webhook_payload(
        call_id=CALL_ID, company_id=COMPANY_ID, started_at=STARTED_AT, recording_url=RECORDING_URL
    )


def named(call: SampleCall) -> str:
    return call.script.id


def changed(call: SampleCall, **recording: object) -> dict[str, Any]:
    """The script as a document, with another `recording`."""
    return {**call.script.model_dump(), "recording": {**call.script.recording.model_dump(), **recording}}


def test_the_catalogue_covers_every_kind_of_call() -> None:
    assert [call.script.id for call in CALLS] == [
        "burst-pipe",
        "leaking-sink",
        "business-listing",
        "wrong-number",
        "voicemail-quote",
        "missed-call",
        "house-cleaning",
    ]
    assert {call.script.recording.layout for call in CALLS} == {"two_channel", "one_channel", "no_audio"}
    assert {call.script.call.call_type for call in CALLS} == {"answered", "voicemail", "missed"}


def test_every_recorded_call_has_its_audio_and_no_audio_is_left_over() -> None:
    assert {path.name for path in AUDIO.iterdir()} == {f"{call.script.id}.mp3" for call in RECORDED}
    assert [call.script.id for call in CALLS if call.audio_path is None] == ["missed-call"]


@pytest.mark.parametrize("call", RECORDED, ids=named)
def test_audio_is_telephone_mp3_as_the_script_says(call: SampleCall) -> None:
    assert call.audio_path is not None
    tag = TinyTag.get(call.audio_path)

    assert tag.mime_type == "audio/mpeg"
    assert tag.samplerate == TELEPHONE_HZ
    assert tag.channels == call.script.channels
    assert tag.duration == pytest.approx(call.script.recording.duration_s, abs=1)


@pytest.mark.parametrize("call", RECORDED, ids=named)
def test_audio_was_made_from_the_present_script(call: SampleCall) -> None:
    """A script changed without `make recordings` would let tests expect words that nobody says."""
    assert call.audio_path is not None
    assert TinyTag.get(call.audio_path).as_dict()["_comment"] == [call.script.digest]


def test_the_set_stays_small_enough_to_commit_and_to_recognise_within_the_demo() -> None:
    paths = [call.audio_path for call in RECORDED if call.audio_path]
    assert sum(path.stat().st_size for path in paths) < 2_000_000
    assert sum(TinyTag.get(path).duration or 0 for path in paths) <= 150


@pytest.mark.parametrize("call", TWO_CHANNEL, ids=named)
def test_two_channel_calls_keep_the_parties_apart(call: SampleCall) -> None:
    """Agent on the first channel, caller on the second, and no word of one on the other's."""
    assert call.audio_path is not None
    agent, caller = speech_blocks(decode(call.audio_path, rate_hz=TELEPHONE_HZ))

    assert not any(both == (True, True) for both in zip(agent, caller, strict=True))
    assert speakers_in_order(agent, caller) == [turn.speaker for turn in call.script.turns]


def speech_blocks(sound: Samples) -> list[list[bool]]:
    """For each channel and each tenth of a second, whether somebody speaks."""
    block = TELEPHONE_HZ // 10
    whole = sound[:, : sound.shape[1] // block * block].astype(np.float64)
    loudest = np.abs(whole).reshape(len(sound), -1, block).max(axis=2)
    return [[bool(peak > 1000) for peak in channel] for channel in loudest]


def speakers_in_order(agent: list[bool], caller: list[bool]) -> list[str]:
    """Who spoke, one entry for each change of speaker."""
    order: list[str] = []
    for by_agent, by_caller in zip(agent, caller, strict=True):
        if not (by_agent or by_caller):
            continue
        speaker = "agent" if by_agent else "caller"
        if order[-1:] != [speaker]:
            order.append(speaker)
    return order


@pytest.mark.speech
@pytest.mark.parametrize("name", ["leaking-sink", "wrong-number"])
def test_a_small_recogniser_hears_the_words_that_matter(name: str) -> None:
    call = BY_ID[name]
    assert call.audio_path is not None

    hearing = hear(call.script, audio=call.audio_path, recognise=tiny_whisper())

    assert hearing.missing == ()
    assert hearing.error_rate < 0.1


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_expected_words_are_said(call: SampleCall) -> None:
    said = [words_of(call.script.text_of(speaker)) for speaker in ("agent", "caller")]
    missing = [phrase for phrase in call.script.expect.words if not any(is_heard(phrase, words) for words in said)]
    assert missing == []


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_webhook_is_json_that_describes_the_call(call: SampleCall) -> None:
    payload = json.loads(json.dumps(payload_of(call)))

    assert payload["resource_id"] == CALL_ID
    assert payload["company_resource_id"] == COMPANY_ID
    assert payload["call_type"] == call.script.call.call_type
    assert payload["answered"] is (payload["call_type"] == "answered")
    assert payload["voicemail"] is (payload["call_type"] == "voicemail")
    assert payload["duration"] == str(call.script.call.duration_s)
    assert payload["first_call"] is (payload["prior_calls"] == 0)
    assert call.script.call.duration_s > call.script.recording.duration_s


def test_webhook_gives_the_time_in_the_companys_zone_and_in_utc() -> None:
    payload = payload_of(BY_ID["burst-pipe"])
    assert payload["start_time"] == "2026-11-23T09:14:05.000-07:00"
    assert payload["datetime"] == "2026-11-23 16:14:05"


def test_webhook_of_a_call_without_a_time_zone_is_refused() -> None:
    naive = STARTED_AT.replace(tzinfo=None)
    with pytest.raises(ValueError, match="time zone"):
        CALLS[0].webhook_payload(call_id=CALL_ID, company_id=COMPANY_ID, started_at=naive, recording_url="")


@pytest.mark.parametrize("call", RECORDED, ids=named)
def test_webhook_of_a_recorded_call_links_the_recording(call: SampleCall) -> None:
    payload = payload_of(call)
    assert payload["recording"] == RECORDING_URL
    assert payload["recording_duration"] == call.script.recording.duration_s


def test_webhook_of_an_unrecorded_call_links_nothing() -> None:
    payload = payload_of(BY_ID["missed-call"])
    assert [payload[key] for key in payload if key.startswith("recording")] == ["", "", "", ""]


@pytest.mark.parametrize("call", CALLS, ids=named)
def test_only_reserved_numbers_and_addresses_appear(call: SampleCall) -> None:
    text = json.dumps(payload_of(call)) + call.script.text_of("agent") + call.script.text_of("caller")

    numbers = re.findall(r"\+\d{8,}|\d{3}-\d{3}-\d{4}|\d{3}[-, ]+\d{4}\b", text)
    assert numbers
    assert [number for number in numbers if not re.search(r"55501\d\d$", re.sub(r"\D", "", number))] == []
    assert set(re.findall(r"@([\w.-]+)", text)) <= {"example.com"}


def test_a_script_with_a_number_that_somebody_may_own_is_refused() -> None:
    script = BY_ID["burst-pipe"].script.model_dump()
    script["call"]["customer_number"] = "+13035551234"
    with pytest.raises(ValidationError, match="customer_number"):
        Script.model_validate(script)


@pytest.mark.parametrize(
    ("recording", "complaint"),
    [
        ({"voices": {"agent": "rms", "caller": "rms"}}, "share a voice"),
        ({"voices": {"caller": "slt"}}, "needs a voice"),
        ({"layout": "no_audio"}, "only to those"),
        ({"duration_s": 0}, "only to those"),
    ],
)
def test_a_script_that_cannot_be_spoken_is_refused(recording: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Script.model_validate(changed(BY_ID["burst-pipe"], **recording))


def test_the_digest_follows_the_sound_and_nothing_else() -> None:
    script = BY_ID["burst-pipe"].script
    other_voice = Script.model_validate(changed(BY_ID["burst-pipe"], voices={"agent": "awb", "caller": "slt"}))
    other_title = script.model_copy(update={"title": "Another title"})

    assert other_voice.digest != script.digest
    assert other_title.digest == script.digest


def tone(hertz: int) -> Samples:
    seconds = np.arange(2 * TELEPHONE_HZ) / TELEPHONE_HZ
    return (8000 * np.sin(2 * np.pi * hertz * seconds)).astype(np.int16)


def test_encoding_lets_only_the_telephone_band_through(tmp_path: Path) -> None:
    path = tmp_path / "tones.mp3"
    encode(np.stack([tone(1000), tone(60)]), path=path, script=BY_ID["burst-pipe"].script)

    voice, hum = np.abs(decode(path, rate_hz=TELEPHONE_HZ)[:, TELEPHONE_HZ:-800]).max(axis=1)

    assert voice > 7000
    assert hum < 1000


def test_encoding_twice_gives_the_same_bytes(tmp_path: Path) -> None:
    first, second = tmp_path / "first.mp3", tmp_path / "second.mp3"
    for path in (first, second):
        encode(tone(1000)[np.newaxis], path=path, script=BY_ID["wrong-number"].script)
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("said", "heard", "errors"),
    [
        ("Press one, now!", "press 1 now", 0),
        ("call 555-0148", "call 5550148", 0),
        ("a burst pipe", "a fire burst pipe", 1),
        ("speak to a manager", "speak to manager", 1),
        ("kitchen sink", "kitchen soon", 1),
        ("a b c", "", 3),
        ("", "thank you", 2),
    ],
)
def test_word_errors_count_words_added_left_out_and_mistaken(said: str, heard: str, errors: int) -> None:
    assert word_errors(words_of(said), words_of(heard)) == errors


def test_a_phrase_is_heard_only_when_its_words_follow_one_another() -> None:
    heard = words_of("We have no heat, and a new pipe.")
    assert is_heard("no heat", heard)
    assert not is_heard("no pipe", heard)
