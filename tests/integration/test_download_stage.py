"""The download stage against the CallRail stand-in and a real object store."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra.local.standins.callrail_store import Recording
from schemas.calls import CallRecord
from schemas.events import CallAnalyzed, CallReceived, Origin, RecordingStored
from schemas.webhooks import parse_webhook
from shared.errors import Deferred, NotReady, PermanentFailure, TenantBlocked, TransientFailure
from shared.gateways.objects import GcsObjectStore
from shared.stage import Completed, StageContext
from stages.download.stage import DownloadDeps, run
from tests.support.audio import mp3, tone, wav, wav_header
from tests.support.gcs import fresh_store
from tests.support.recordings import CALL, WEBHOOK_LINK, CallRail, running_callrail, tenant

STARTED = datetime(2026, 11, 18, 16, 14, 5, tzinfo=UTC)
ENDED = STARTED + timedelta(seconds=60)
SAID = ENDED + timedelta(seconds=5)
"""When the last webhook was merged into the call."""
OBJECT = f"recordings/tenant-a/{CALL}"
REQUEST = "r-0123456789abcdef"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def callrail() -> Iterator[CallRail]:
    with running_callrail() as standin:
        yield standin


@pytest.fixture
def store(gcs_server: str) -> GcsObjectStore:
    return fresh_store(gcs_server)


def downloaded(
    callrail: CallRail,
    store: GcsObjectStore,
    *,
    now: datetime = ENDED + timedelta(seconds=30),
    attempt: int = 1,
    origin: Origin = "webhook",
    with_api: bool = True,
    gateway: dict[str, Any] | None = None,
    **payload: Any,
) -> Completed:
    """One run of the stage for a post-call webhook; `payload` changes its body."""
    body = {
        "resource_id": CALL,
        "start_time": STARTED.isoformat(),
        "duration": "60",
        "answered": "true",
        "direction": "inbound",
        "customer_phone_number": "+13035550142",
        "recording": WEBHOOK_LINK,
        "company_time_zone": "America/Denver",
        **payload,
    }
    event = CallReceived(
        tenant_id="tenant-a",
        request_id=REQUEST,
        call_id=CALL,
        kind="post_call",
        origin=origin,
        received_at=ENDED,
        payload=body,
    )
    context = StageContext(
        tenant=tenant(with_api=with_api, wait_deadline_s=3600),
        request_id=REQUEST,
        call_id=CALL,
        event=event,
        attempt=attempt,
        checkpoint={},
        save_checkpoint=lambda _, **_as_of: None,
        now=lambda: now,
    )
    call = CallRecord(tenant_id=context.tenant.tenant_id, details=parse_webhook(body), updated_at=SAID)
    calls = KnownCalls(call)
    return run(context, DownloadDeps(callrail.recordings(**(gateway or {})), store, calls))


@dataclass(frozen=True)
class KnownCalls:
    """The claim has written the call before the stage runs."""

    call: CallRecord

    def get(self, tenant_id: str, call_id: str) -> CallRecord | None:
        assert (tenant_id, call_id) == (self.call.tenant_id, self.call.details.call_id)
        return self.call


# --- with audio ---------------------------------------------------------------------------------------


VARIABLE = {"compression_level": "7", "q": "6"}
BARE_FRAMES = {"write_xing": "0", "id3v2_version": "0"}
ULAW = wav_header(96000, channels=1, rate=8000, bytes_per_sample=1, format_tag=7) + bytes(96000)
SAMPLES = {
    "mp3": (mp3(12.0), "mp3", "audio/mpeg", 1),
    "stereo": (mp3(12.0, channels=2), "mp3", "audio/mpeg", 2),
    "variable": (
        tone("mp3", "libmp3lame", seconds=12.0, channels=2, rate=22050, options=VARIABLE),
        *("mp3", "audio/mpeg", 2),
    ),
    "bare frames": (tone("mp3", "libmp3lame", seconds=12.0, options=BARE_FRAMES), "mp3", "audio/mpeg", 1),
    "wav": (wav(12.0, channels=2), "wav", "audio/wav", 2),
    "ulaw": (ULAW, "wav", "audio/wav", 1),
    "opus": (tone("ogg", "libopus", seconds=12.0, rate=48000), "ogg", "audio/ogg", 1),
    "flac": (tone("flac", "flac", seconds=12.0, channels=2), "flac", "audio/flac", 2),
    "m4a": (tone("ipod", "aac", seconds=12.0), "m4a", "audio/mp4", 1),
}
"""Twelve seconds each: bytes, extension, content type, channels."""


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_recording_is_stored_and_measured(callrail: CallRail, store: GcsObjectStore, sample: str) -> None:
    audio, extension, content_type, channels = SAMPLES[sample]
    callrail.holds(audio, content_type="application/octet-stream")

    done = downloaded(callrail, store)

    assert done.next_event == RecordingStored(tenant_id="tenant-a", request_id=REQUEST, call_id=CALL)
    facts = done.changes.recording
    assert facts is not None
    assert facts.object_name == f"{OBJECT}.{extension}"
    assert (facts.content_type, facts.channels) == (content_type, channels)
    assert facts.duration_s == pytest.approx(12.0, abs=0.3)  # encoders pad MP3 by a few frames
    assert (facts.size_bytes, facts.sha256) == (len(audio), hashlib.sha256(audio).hexdigest())
    assert store.read(facts.object_name, max_bytes=len(audio)) == audio


def test_a_second_delivery_finds_the_object_and_reports_the_same_facts(
    callrail: CallRail, store: GcsObjectStore
) -> None:
    callrail.holds(mp3(5.0))
    first = downloaded(callrail, store)
    callrail.store.reset()  # CallRail has nothing any more: only the bucket can answer

    assert downloaded(callrail, store, attempt=2) == first
    assert downloaded(callrail, store, origin="rerun") == first
    assert callrail.asked() == []


def test_workers_on_the_same_call_at_once_leave_one_object_and_agree_on_it(
    callrail: CallRail, store: GcsObjectStore
) -> None:
    callrail.holds(mp3(5.0))

    with ThreadPoolExecutor(4) as workers:
        results = list(workers.map(lambda _: downloaded(callrail, store), range(8)))

    assert results == [results[0]] * 8
    assert store.list_names("") == [f"{OBJECT}.mp3"]


def test_another_calls_object_is_not_taken_for_this_one(callrail: CallRail, store: GcsObjectStore) -> None:
    store.create(f"{OBJECT}.x.mp3", iter([mp3(1.0)]), content_type="audio/mpeg")
    store.create(f"{OBJECT}.txt", iter([b"notes"]), content_type="text/plain")
    callrail.holds(mp3(5.0))

    facts = downloaded(callrail, store, attempt=2).changes.recording
    assert facts is not None
    assert facts.object_name == f"{OBJECT}.mp3"


# --- nothing half-done --------------------------------------------------------------------------------


def test_a_recording_cut_off_on_the_way_is_not_stored(callrail: CallRail, store: GcsObjectStore) -> None:
    callrail.holds(b"", synthetic_bytes=9_000_000)
    callrail.misbehaves({"operation": "recording.file", "kind": "drop_after"})

    with pytest.raises(TransientFailure):
        downloaded(callrail, store)

    assert store.list_names("") == []
    assert downloaded(callrail, store, attempt=2).changes.recording is not None


def test_a_recording_that_grows_too_large_is_not_stored(callrail: CallRail, store: GcsObjectStore) -> None:
    callrail.holds(mp3(5.0))

    with pytest.raises(PermanentFailure, match="recording_too_large"):
        downloaded(callrail, store, gateway={"max_bytes": 1000})
    assert store.list_names("") == []


@pytest.mark.parametrize("body", [b"PK\x03\x04 not audio at all", b"\x00" * 2000, b"a"])
def test_what_is_not_audio_is_not_stored(callrail: CallRail, store: GcsObjectStore, body: bytes) -> None:
    callrail.holds(body)

    with pytest.raises(PermanentFailure, match="recording_not_audio"):
        downloaded(callrail, store)
    assert store.list_names("") == []


@pytest.mark.parametrize(
    "body",
    [
        b"ID3\x04\0\0\0\0\0\0" + bytes(5000),
        b"fLaC" + b"\xff" * 5000,
        b"OggS" + bytes(5000),
        b"\0\0\0\x20ftypM4A " + b"\xff" * 5000,
        wav_header(100, channels=200, rate=8000, bytes_per_sample=2) + bytes(100),
        wav(1.0)[:30],
    ],
)
def test_a_broken_file_that_begins_like_audio_is_a_final_no(
    callrail: CallRail, store: GcsObjectStore, body: bytes
) -> None:
    callrail.holds(body)

    with pytest.raises(PermanentFailure, match="recording_unreadable"):
        downloaded(callrail, store)


# --- waiting ------------------------------------------------------------------------------------------


def test_a_late_recording_is_awaited_and_then_fetched(callrail: CallRail, store: GcsObjectStore) -> None:
    with pytest.raises(NotReady):
        downloaded(callrail, store)
    with pytest.raises(Deferred) as deferred:
        downloaded(callrail, store, now=ENDED + timedelta(minutes=10), attempt=2)
    assert deferred.value.until == ENDED + timedelta(minutes=12.5)

    callrail.holds(mp3(5.0))
    assert downloaded(callrail, store, now=deferred.value.until, attempt=3).changes.recording is not None


def test_a_recording_that_never_comes_does_not_hold_the_call_back(callrail: CallRail, store: GcsObjectStore) -> None:
    done = downloaded(callrail, store, now=ENDED + timedelta(hours=1))

    assert done.next_event == CallAnalyzed(tenant_id="tenant-a", request_id=REQUEST, call_id=CALL)
    assert done.changes.no_audio_reason == "recording_never_arrived"
    assert done.call_as_of == SAID, "or a link that comes in this moment is forgotten"
    assert done.changes.analysis is not None
    assert done.changes.analysis.basis == "metadata"


@pytest.mark.parametrize("status", [429, 500])
def test_a_failing_callrail_is_never_taken_for_a_call_without_audio(
    callrail: CallRail, store: GcsObjectStore, status: int
) -> None:
    callrail.misbehaves({"operation": "recording.*", "kind": "status", "status": status, "times": 50})

    with pytest.raises(TransientFailure):
        downloaded(callrail, store, now=ENDED + timedelta(days=3))


def test_a_refused_key_blocks_the_tenant_even_after_the_deadline(callrail: CallRail, store: GcsObjectStore) -> None:
    callrail.store.api_keys = {"another"}

    with pytest.raises(TenantBlocked):
        downloaded(callrail, store, now=ENDED + timedelta(days=3))


def test_a_call_without_a_link_is_asked_for_at_the_api(callrail: CallRail, store: GcsObjectStore) -> None:
    callrail.holds(mp3(5.0))

    assert downloaded(callrail, store, recording="").changes.recording is not None
    with pytest.raises(NotReady):
        downloaded(callrail, store, recording="", with_api=False)


# --- without audio ------------------------------------------------------------------------------------


def test_a_missed_call_goes_straight_to_the_crm_as_a_lead(callrail: CallRail, store: GcsObjectStore) -> None:
    done = downloaded(
        callrail, store, answered="false", call_type="missed", recording="", first_call="true", medium="cpc"
    )

    assert isinstance(done.next_event, CallAnalyzed)
    assert done.changes.no_audio_reason == "missed_call"
    assert done.call_as_of == SAID
    assert done.changes.recording is None
    analysis = done.changes.analysis
    assert analysis is not None
    # 9:14 on a Wednesday at the company: the time zone in the body counts.
    assert (analysis.intent, analysis.lead_score, analysis.qualified) == ("missed_call", 95, True)
    assert callrail.asked() == []


# --- memory -------------------------------------------------------------------------------------------

_MEASURE = """
import json, resource, sys
from datetime import UTC, datetime
from shared.gateways.objects import GcsObjectStore
from shared.gateways.recordings import CallRailRecordings
from stages.download.storing import facts_of, fetch_recording, find_stored
from tests.support.recordings import DictSecrets, tenant

callrail_url, storage_url, bucket = sys.argv[1:]
store = GcsObjectStore(bucket, project_id="p", endpoint=storage_url)
gateway = CallRailRecordings(DictSecrets({}), max_bytes=300_000_000, local_base_url=callrail_url)
owner = tenant(with_api=False)

def fetch(call_id):
    link = f"https://app.callrail.com/calls/{call_id}/recording/redirect?access_key=x"
    found = fetch_recording(gateway, store, owner, call_id=call_id, recording_url=link, now=datetime.now(UTC))
    return facts_of(store, found)

def peak_mb():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

fetch("CALsmall")
before = peak_mb()
fetched = fetch("CALlarge")
after_fetch = peak_mb()
again = facts_of(store, find_stored(store, owner.tenant_id, "CALlarge"))
print(json.dumps({
    "fetch_mb": after_fetch - before, "reread_mb": peak_mb() - before,
    "size": fetched.size_bytes, "duration_s": fetched.duration_s, "same": fetched == again,
}))
"""


def test_memory_does_not_grow_with_the_recording(callrail: CallRail, store: GcsObjectStore, gcs_server: str) -> None:
    callrail.store.put_recording(Recording(call_id="CALsmall", synthetic_bytes=1_000_044))
    callrail.store.put_recording(Recording(call_id="CALlarge", synthetic_bytes=120_000_044))

    command = [sys.executable, "-c", _MEASURE, callrail.url, gcs_server, store.bucket]
    measured = json.loads(subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)

    assert measured["size"] == 120_000_044
    assert measured["duration_s"] == 7_500
    assert measured["same"]
    assert measured["fetch_mb"] < 64, measured
    assert measured["reread_mb"] < 64, measured
