"""The Speech stand-in is restarted as a real process: operations go on, and nothing is done or billed twice."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.api_core.exceptions import InvalidArgument
from google.cloud.speech_v2 import SpeechClient
from google.cloud.speech_v2.services.speech.transports import SpeechGrpcTransport

from infra.local.chaos.evidence import recognitions_of
from infra.local.standins.faults import FaultPlan
from infra.local.standins.speech_files import FileTranscriber
from infra.local.standins.speech_jobs import OperationBook
from infra.local.standins.speech_sidecar import RegisteredSidecars, Sidecar
from infra.local.standins.speech_storage import AudioStorage
from tests.contract.speech.calls import BUCKET, SEPARATE, TWO_PARTIES, request_for
from tests.support.standin_process import standin_process
from tests.support.waiting import eventually

PARENT = "projects/local/locations/us"


def test_operations_are_taken_up_where_the_old_process_left_them(
    storage: AudioStorage, storage_url: str, tmp_path: Path
) -> None:
    done, open_audio = (f"gs://{BUCKET}/recordings/restart-{number}.mp3" for number in (1, 2))
    for uri in (done, open_audio):
        storage.write(uri, b"never decoded")
    with (
        standin_process("speech", tmp_path, "--storage-url", storage_url) as speech,
        grpc.insecure_channel(speech.address) as channel,
    ):
        client = SpeechClient(transport=SpeechGrpcTransport(channel=channel))
        speech.tell("transcripts", {"audio_uri": "*", "transcript": TWO_PARTIES})
        speech.tell("withdrawn", ["word_level_timestamps"])
        first = client.batch_recognize(request=request_for(done, multi_channel_mode=SEPARATE), timeout=30).operation
        eventually(
            lambda: client.get_operation({"name": first.name}, timeout=30).done,
            what="the first one's end",
            timeout_s=60,
        )
        speech.tell("faults", [{"operation": "recognition", "kind": "stall", "delay_s": 600}])
        second = client.batch_recognize(request=request_for(open_audio), timeout=30).operation
        (finished, under_way) = speech.state()["operations"]
        assert (finished["done"], under_way["done"]) == (True, False)

        speech.restart()  # ordered misbehaviour ends with the process, so that the second one is worked on now

        eventually(
            lambda: client.get_operation({"name": second.name}, timeout=30).done,
            what="the second one's end",
            timeout_s=60,
        )
        state = speech.state()
        assert state["operations"][0] == finished
        assert state["started"] == {done: 1, open_audio: 1}
        assert [one.usable for one in recognitions_of(state)] == [True, True]
        assert state["billed_s"] == finished["billed_s"] + 4
        (output,) = state["operations"][1]["output_uris"]
        assert json.loads(storage.read(output))["results"]
        listed = client.list_operations({"name": PARENT}, timeout=30).operations
        assert [one.name for one in listed] == [second.name, first.name]
        again = client.batch_recognize(request=request_for(open_audio), timeout=30).operation
        assert again.name not in {first.name, second.name}
        with pytest.raises(InvalidArgument, match="word_level_timestamps"):
            client.batch_recognize(request=request_for(done, enable_word_time_offsets=True), timeout=30)


class SlowStorage(AudioStorage):
    """Takes an output only when the test lets it."""

    def __init__(self, base_url: str) -> None:
        super().__init__(base_url)
        self.asked, self.allowed = threading.Event(), threading.Event()

    def write(self, uri: str, data: bytes) -> None:
        self.asked.set()
        assert self.allowed.wait(timeout=30)
        super().write(uri, data)


def test_an_operation_whose_output_lies_there_is_kept_as_done(storage_url: str, call_audio: str) -> None:
    """Its next process would write once more, after the pipeline has read and removed the first: nobody's object."""
    storage, sidecars, plan = SlowStorage(storage_url), RegisteredSidecars(), FaultPlan()
    sidecars.add("*", Sidecar.model_validate(TWO_PARTIES))
    book = OperationBook(FileTranscriber(storage, None, plan, sidecars), plan, workers=1)
    kept: list[dict[str, Any]] = []

    def stand_still() -> None:
        with book.standing_still() as everything:
            kept.append(everything)

    book.start(request_for(call_audio))
    assert storage.asked.wait(timeout=30)
    ending = threading.Thread(target=stand_still, daemon=True)
    ending.start()
    ending.join(timeout=0.3)  # whoever does not wait for the output is through by now
    storage.allowed.set()
    ending.join(timeout=30)

    after = OperationBook(FileTranscriber(storage, None, plan, sidecars), plan, workers=1)
    after.take_up(kept[0])
    (operation,) = after.state()["operations"]
    assert (operation["done"], operation["billed_s"]) == (True, 4)
    assert operation == book.state()["operations"][0]
    for one in (book, after):
        one.close()
    storage.close()
