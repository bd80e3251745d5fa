"""Fetching recordings: the order of links, whose key goes where, what each answer means, and the limits."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask, Response

from infra.local.standins.callrail_store import LOCAL_API_KEY
from infra.local.standins.serving import serve_in_thread
from shared.errors import NotReady, PermanentFailure, PipelineError, TenantBlocked, TransientFailure
from shared.gateways.recordings import CallRailRecordings
from tests.support.recordings import (
    ACCESS_KEY,
    ACCOUNT,
    AUDIO,
    CALL,
    KEY_SECRET,
    CallRail,
    DictSecrets,
    fetched,
    refused,
    running_callrail,
)


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        yield standin


# --- which link ---------------------------------------------------------------------------------------


def test_a_tenant_with_an_api_key_gets_a_fresh_link_and_the_key_stays_with_the_api(callrail: CallRail) -> None:
    callrail.holds(AUDIO)

    assert fetched(callrail.recordings()) == AUDIO
    assert callrail.asked() == [("recording.json", True), ("recording.redirect", False), ("recording.file", False)]


def test_a_tenant_without_an_api_key_uses_the_webhook_link(callrail: CallRail) -> None:
    callrail.holds(AUDIO, access_key=ACCESS_KEY)

    assert fetched(callrail.recordings(), with_api=False) == AUDIO
    assert callrail.asked() == [("recording.redirect", False), ("recording.file", False)]


def test_the_webhook_link_is_second_choice_when_the_api_fails(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves({"operation": "recording.json", "kind": "status", "status": 429})

    assert fetched(callrail.recordings()) == AUDIO


def test_an_api_link_in_the_call_itself_is_asked_with_the_key(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    link = f"https://api.callrail.com/v3/a/{ACCOUNT}/calls/{CALL}/recording.json"

    assert fetched(callrail.recordings(), link=link) == AUDIO
    assert refused(callrail.recordings(), TenantBlocked, with_api=False, link=link).code == "callrail_key_missing"


def test_the_api_is_enough_when_the_webhook_had_no_link(callrail: CallRail) -> None:
    callrail.holds(AUDIO)

    assert fetched(callrail.recordings(), link="") == AUDIO
    assert refused(callrail.recordings(), NotReady, link="", with_api=False).code == "recording_link_missing"


def test_a_failing_api_is_not_taken_for_a_missing_recording(callrail: CallRail) -> None:
    callrail.misbehaves({"operation": "recording.json", "kind": "status", "status": 503, "times": 9})

    assert refused(callrail.recordings(), TransientFailure).code == "recording_unavailable"


# --- keys ---------------------------------------------------------------------------------------------


def test_a_key_that_was_just_replaced_is_read_again(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    secrets = DictSecrets({KEY_SECRET: LOCAL_API_KEY}, stale={KEY_SECRET: "old-key"})

    assert fetched(callrail.recordings(secrets=secrets)) == AUDIO


def test_a_refused_key_blocks_the_tenant_and_names_the_secret(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    error = refused(callrail.recordings(secrets=DictSecrets({KEY_SECRET: "wrong-key"})), TenantBlocked)

    assert error.code == "callrail_key_refused"
    assert KEY_SECRET in error.fix
    assert "wrong-key" not in str(error)
    assert callrail.asked() == [("recording.json", True)]


def test_a_refused_webhook_link_asks_for_an_api_key(callrail: CallRail) -> None:
    callrail.holds(AUDIO, access_key="another")

    error = refused(callrail.recordings(), TenantBlocked, with_api=False)
    assert "callrail_api_key_secret" in error.fix


# --- what an answer means -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "error", "code"),
    [
        ({"status": 404}, NotReady, "recording_not_ready"),
        ({"status": 202}, NotReady, "recording_not_ready"),
        ({"status": 204}, NotReady, "recording_not_ready"),
        ({"status": 410}, NotReady, "recording_not_ready"),
        ({"status": 200, "body": ""}, NotReady, "recording_empty"),
        ({"status": 200, "body": "<html>Your recording is still processing.</html>"}, NotReady, "recording_not_ready"),
        ({"status": 200, "body": {"message": "Recording not yet available"}}, NotReady, "recording_not_ready"),
        ({"status": 200, "body": "<html><h1>Log in</h1></html>"}, PermanentFailure, "recording_not_audio"),
        ({"status": 200, "body": {"message": "hello"}}, PermanentFailure, "recording_not_audio"),
        (
            {"status": 200, "body": "xx", "headers": {"Content-Encoding": "gzip"}},
            PermanentFailure,
            "recording_compressed",
        ),
        ({"status": 400}, PermanentFailure, "recording_refused"),
        ({"status": 429}, TransientFailure, "recording_throttled"),
        ({"status": 503}, TransientFailure, "recording_unavailable"),
    ],
)
def test_each_answer_has_its_meaning(
    callrail: CallRail, answer: dict[str, Any], error: type[PipelineError], code: str
) -> None:
    callrail.holds(AUDIO)
    rule = {"operation": "recording.file", "kind": "status", "times": 9, "body": "xx"} | answer
    callrail.misbehaves(rule)

    assert refused(callrail.recordings(), error, with_api=False).code == code


def test_throttling_waits_as_long_as_told_and_a_minute_when_told_nothing(callrail: CallRail) -> None:
    callrail.misbehaves({"operation": "recording.redirect", "kind": "status", "status": 429})
    untold = refused(callrail.recordings(), TransientFailure, with_api=False)
    callrail.misbehaves(
        {"operation": "recording.redirect", "kind": "status", "status": 429, "headers": {"Retry-After": "120"}}
    )
    told = refused(callrail.recordings(), TransientFailure, with_api=False)

    assert isinstance(untold, TransientFailure)
    assert isinstance(told, TransientFailure)
    assert (untold.retry_after_s, told.retry_after_s) == (300, 120)


def test_a_short_hiccup_is_overcome_at_once(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves(
        {"operation": "recording.file", "kind": "status", "status": 502},
        {"operation": "recording.redirect", "kind": "drop", "skip": 1},
    )

    assert fetched(callrail.recordings(), with_api=False) == AUDIO


def test_a_recording_that_comes_later_is_not_ready_first(callrail: CallRail) -> None:
    callrail.holds(AUDIO, not_ready_for=2)

    refused(callrail.recordings(), NotReady)  # asks the API, then the link
    assert fetched(callrail.recordings()) == AUDIO


def test_an_api_without_a_link_is_not_ready_and_rubbish_is_transient(callrail: CallRail) -> None:
    callrail.misbehaves({"operation": "recording.json", "kind": "rubbish", "body": {"url": None}})
    assert refused(callrail.recordings(), NotReady, link="").code == "recording_link_missing"

    callrail.misbehaves({"operation": "recording.json", "kind": "rubbish", "body": "<html>", "times": 9})
    assert refused(callrail.recordings(), TransientFailure, link="").code == "callrail_rubbish"


def test_a_connection_lost_in_the_middle_is_transient(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves({"operation": "recording.file", "kind": "drop_after"})

    assert refused(callrail.recordings(), TransientFailure).code == "recording_interrupted"


# --- limits -------------------------------------------------------------------------------------------


def test_a_recording_announced_as_too_large_is_refused_unread(callrail: CallRail) -> None:
    callrail.holds(b"", synthetic_bytes=10_000_001)

    assert refused(callrail.recordings(), PermanentFailure, with_api=False).code == "recording_too_large"


def test_a_recording_that_does_not_announce_its_size_is_cut_at_the_limit() -> None:
    app = Flask("endless")
    sent = 0

    @app.get("/calls/<call>/recording/redirect")
    def endless(call: str) -> Response:
        def forever() -> Iterator[bytes]:
            nonlocal sent
            while True:
                sent += len(AUDIO)
                yield AUDIO

        return Response(forever(), content_type="audio/mpeg")

    with serve_in_thread(app) as url:
        gateway = CallRailRecordings(DictSecrets({}), max_bytes=1_000_000, local_base_url=url)
        assert refused(gateway, PermanentFailure, with_api=False).code == "recording_too_large"
    assert sent < 20_000_000


def test_a_stalling_host_costs_no_more_than_the_read_timeout(callrail: CallRail) -> None:
    callrail.holds(AUDIO)
    callrail.misbehaves({"operation": "recording.file", "kind": "stall", "delay_s": 2, "times": 3})

    error = refused(callrail.recordings(read_timeout_s=0.2), TransientFailure, with_api=False)
    assert error.code == "recording_timeout"


def test_a_host_that_drips_its_headers_cannot_outlast_the_total_limit() -> None:
    with dripping_server() as url:
        gateway = CallRailRecordings(DictSecrets({}), max_bytes=1000, local_base_url=url, total_timeout_s=0.5)
        started = time.monotonic()
        assert refused(gateway, TransientFailure, with_api=False).code == "recording_timeout"
    assert time.monotonic() - started < 5


@contextlib.contextmanager
def dripping_server() -> Iterator[str]:
    """Answers every connection with one header byte every 20 ms, for ever."""
    done = threading.Event()

    def drip(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            while not done.wait(0.02):
                connection.sendall(b"a")

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=drip, args=(listener.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        done.set()
