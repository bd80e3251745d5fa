"""Commands that bring up a stack of their own, run as a person runs them: the demo, and some stages by hand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from infra.local.environment import applied
from infra.local.plan import PROJECT_ROOT
from infra.local.probes import answers
from infra.local.senders import new_call_id, put_recording
from infra.local.state import StateDir
from schemas.events import CallReceived
from shared.names import first_request_id
from shared.settings import load_settings
from tests.e2e.calls import missed_call, sample
from tests.support.audio import mp3
from tests.support.stack import LocalStack, wait_for

pytestmark = [pytest.mark.emulators, pytest.mark.usefixtures("_emulator_programs")]

PROGRAMS = Path(sys.executable).parent
_DEMO_TIMEOUT_S = 120.0


# --- the demo -----------------------------------------------------------------------------------------


def demo(audio: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [PROGRAMS / "pipeline", "demo", "--json", "--audio", audio],
        cwd=PROJECT_ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(process: subprocess.Popen[str]) -> subprocess.CompletedProcess[str]:
    try:
        out, err = process.communicate(timeout=_DEMO_TIMEOUT_S)
    finally:
        process.terminate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def test_the_demo_prints_the_promised_document() -> None:
    """The demo of what fails: tests/e2e/test_demo_call.py."""
    speech = sample("wrong-number").audio_path
    assert speech is not None

    ran = finished(demo(speech))

    assert ran.returncode == 0, ran.stderr
    (call,) = json.loads(ran.stdout)
    assert call["call_id"].startswith("CAL")
    assert call["status"] == "done"
    assert {frozenset(turn) for turn in call["transcript"]} == {frozenset({"speaker", "start_s", "end_s", "text"})}
    assert "wrong number" in " ".join(turn["text"] for turn in call["transcript"])
    assert call["analysis"]["intent"] == "wrong_number"
    assert 0 <= call["analysis"]["lead_score"] <= 100
    assert call["crm"]["hubspot"]["call"]["properties"]["ext_call_id"] == call["call_id"]
    assert call["crm"]["salesforce"]["task"]["Ext_Call_Id__c"] == call["call_id"]
    assert {"download", "transcribe", "analyze", "crm_sync"} <= set(call["timings_s"])
    assert all(seconds >= 0 for seconds in call["timings_s"].values())


def test_what_is_no_audio_is_refused_before_anything_starts() -> None:
    ran = finished(demo(PROJECT_ROOT / "README.md"))

    assert (ran.returncode, ran.stdout) == (1, "")
    assert "README.md is not audio but an unknown format" in ran.stderr


# --- one stage by hand --------------------------------------------------------------------------------


def pipeline(*arguments: str) -> str:
    command = [str(PROGRAMS / "pipeline"), *arguments]
    ran: subprocess.CompletedProcess[str] = subprocess.run(
        command, cwd=PROJECT_ROOT, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def half_a_stack(tmp_path: Path) -> Iterator[LocalStack]:
    """Everything but most of the workers, in the background, as an engineer would start it."""
    where = ("--state-dir", str(tmp_path))
    pipeline("local", "up", "--detach", "--only", "transcribe,analyze", *where)
    try:
        state = StateDir(tmp_path).running()
        yield LocalStack({**state.env, **state.exports, **state.extra}, tmp_path)
    finally:
        pipeline("local", "down", *where)


@contextmanager
def worker_by_hand(target: str, *, endpoint: str, env: Mapping[str, str]) -> Iterator[None]:
    """One service under functions-framework's own command, with the variables of `pipeline local env` alone."""
    port = urlsplit(endpoint).port
    command = ["--source", "handlers/main.py", "--target", target, "--host", "127.0.0.1", "--port", str(port)]
    process = subprocess.Popen(
        [PROGRAMS / "functions-framework", *command],
        cwd=PROJECT_ROOT,
        env={"PATH": os.environ["PATH"], **env},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for(lambda: answers(f"http://127.0.0.1:{port}/livez"), bool, what=f"{target} by hand")
        yield
    finally:
        process.terminate()
        process.wait(timeout=20)


def publish_call(stack: LocalStack, payload: Mapping[str, Any]) -> CallReceived:
    """What the receiver, which this stack does not run, would have published."""
    from handlers import wiring

    call_id = str(payload["resource_id"])
    event = CallReceived(
        tenant_id=stack.tenant_id,
        request_id=first_request_id(stack.tenant_id, call_id),
        call_id=call_id,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload=dict(payload),
    )
    wiring.publisher_of(load_settings()).publish(event.topic, event.model_dump_json().encode(), event.attributes())
    return event


def test_a_stage_started_by_hand_takes_part(half_a_stack: LocalStack, tmp_path: Path) -> None:
    stack, call_id = half_a_stack, new_call_id()
    audio = tmp_path / "call.mp3"
    audio.write_bytes(mp3(2.0))
    said = {"turns": [{"start_s": 0, "end_s": 2, "text": "I need a plumber today."}]}
    stack.tell("speech", "transcripts", {"audio_uri": "*", "transcript": said})
    link = put_recording(stack.env["CALLRAIL_URL"], call_id=call_id, audio=audio)
    payload = missed_call(number="+13035550195") | {"resource_id": call_id, "answered": True, "recording": link}

    with (
        applied(stack.env),
        worker_by_hand("download", endpoint=stack.env["DOWNLOAD_PUSH_ENDPOINT"], env=stack.env),
    ):
        publish_call(stack, payload)

        done = wait_for(
            lambda: {line.stage for line in stack.story(call_id) if line.state == "done"},
            lambda stages: "analyze" in stages,
            what="the analysis",
        )

    assert done == {"download", "transcribe", "analyze"}
