"""A local stack of emulators and stand-ins: wired as pipeline.json says, and open to workers started by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx
import pytest
from google.pubsub_v1 import PublisherClient, SubscriberClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage

from infra.local.emulators import Emulators
from infra.local.errors import StackError
from infra.local.plan import AUDIO_BUCKET, PROJECT_ID
from infra.local.probes import answers
from infra.local.stack import Stack, StackOptions
from infra.local.state import StateDir
from infra.local.topics import create_topology
from shared.gateways.channels import loopback_channel
from shared.pipeline import load_pipeline
from tests.support.push_receiver import body_of, push_receiver
from tests.support.waiting import eventually

pytestmark = pytest.mark.emulators


@pytest.fixture(scope="module")
def stack(_emulator_programs: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Every worker is left to the test; a refused message comes again each second."""
    options = StackOptions(state_dir=tmp_path_factory.mktemp("stack"), only=(), backoff_scale=0)
    kept = StateDir(options.state_dir).kept
    kept.mkdir()
    (kept / "hubspot").write_bytes(b"of a stack whose supervisor was killed; nobody may take it up")
    with Stack(options) as stack:
        yield stack
    assert not kept.exists(), "what stand-ins kept as they were ended outlives its stack"


def port_of(stack: Stack, worker: str) -> int:
    return urlsplit(stack.state.service(worker).address).port or 0


def publish(stack: Stack, topic: str, data: bytes, *, project_id: str = PROJECT_ID) -> None:
    with loopback_channel(stack.state.env["PUBSUB_EMULATOR_HOST"]) as channel:
        publisher = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        publisher.publish(topic=f"projects/{project_id}/topics/{topic}", messages=[PubsubMessage(data=data)])


def test_every_subscription_pushes_to_its_worker(stack: Stack) -> None:
    with loopback_channel(stack.state.env["PUBSUB_EMULATOR_HOST"]) as channel:
        subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=channel))
        found = {
            item.name.rpartition("/")[2]: (item.topic.rpartition("/")[2], item.push_config.push_endpoint)
            for item in subscriber.list_subscriptions(project=f"projects/{PROJECT_ID}")
        }

    pushed = {
        item.subscription: (item.topic, f"http://127.0.0.1:{port_of(stack, name)}")
        for name, service in load_pipeline().services.items()
        for item in service.subscribes
    }
    archives = {archive.subscription: (archive.topic, "") for archive in load_pipeline().archives}
    assert found == pushed | archives


def test_a_worker_started_by_hand_gets_its_messages(stack: Stack) -> None:
    with push_receiver(port_of(stack, "analyze")) as worker:
        publish(stack, "call-transcribed", b"a call")

        eventually(lambda: bool(worker.pushes), what="a push")

    assert body_of(worker.pushes[0]) == b"a call"
    assert worker.pushes[0]["subscription"] == f"projects/{PROJECT_ID}/subscriptions/analyze-call-transcribed"


def test_a_refused_message_comes_again_soon(stack: Stack) -> None:
    with push_receiver(port_of(stack, "crm_sync"), answers=[503, 503]) as worker:
        publish(stack, "call-analyzed", b"a call")

        eventually(lambda: len(worker.pushes) == 3, what="the third push")

    assert len({push["message"]["messageId"] for push in worker.pushes}) == 1


def test_what_nobody_accepts_becomes_a_dead_letter(stack: Stack) -> None:
    pipeline = load_pipeline()
    impatient = pipeline.services["download"].model_copy(update={"max_delivery_attempts": 5})
    create_topology(
        pubsub_address=stack.state.env["PUBSUB_EMULATOR_HOST"],
        project_id="another-project",
        endpoints={name: f"http://127.0.0.1:{port_of(stack, name)}" for name in pipeline.services},
        backoff_scale=0,
        pipeline=pipeline.model_copy(update={"services": pipeline.services | {"download": impatient}}),
    )
    with (
        push_receiver(port_of(stack, "download"), answers=[500] * 100) as worker,
        push_receiver(port_of(stack, "dead_letter")) as recorder,
    ):
        publish(stack, "call-received", b"a poisoned call", project_id="another-project")

        eventually(lambda: bool(recorder.pushes), what="a dead letter")

    assert body_of(recorder.pushes[0]) == b"a poisoned call"
    assert len(worker.pushes) == 5


def test_a_finished_transcript_object_is_announced_to_transcribe(stack: Stack) -> None:
    upload = f"{stack.state.env['STORAGE_EMULATOR_HOST']}/upload/storage/v1/b/{AUDIO_BUCKET}/o"
    with push_receiver(port_of(stack, "transcribe")) as worker:
        for name in ("recordings/a.wav", "transcripts/acme/r-1/out.json"):
            httpx.post(upload, params={"uploadType": "media", "name": name}, content=b"{}").raise_for_status()

        eventually(lambda: bool(worker.pushes), what="the notice")

    announced = [json.loads(body_of(push))["name"] for push in worker.pushes]
    assert announced == ["transcripts/acme/r-1/out.json"]


def test_a_killed_stand_in_comes_back_on_its_old_address(stack: Stack) -> None:
    before = stack.state.service("hubspot")
    health = f"{before.address}/_standin/health"

    stack.kill("hubspot")
    assert not answers(health)
    stack.restart("hubspot")

    assert answers(health)
    after = StateDir(stack.options.state_dir).running().service("hubspot")
    assert after.address == before.address
    assert after.pid != before.pid


def test_an_ended_stand_in_is_away_and_comes_back_with_what_it_held(stack: Stack) -> None:
    url = stack.state.service("hubspot").address
    contact = {"token": "pat-one", "properties": {"phone": "+15035550110"}}
    httpx.post(f"{url}/_standin/contacts", json=contact).raise_for_status()

    stack.end("hubspot")
    assert not answers(f"{url}/_standin/health")
    stack.restart("hubspot")

    held = httpx.get(f"{url}/_standin/state").json()["contacts"]
    assert [one["properties"]["phone"] for one in held] == ["+15035550110"]


def test_a_stand_in_that_could_keep_nothing_says_so(stack: Stack) -> None:
    """A chaos run would otherwise take the loss for the pipeline's."""
    stack.kill("callrail")

    with pytest.raises(StackError, match="what it held may be lost"):
        stack.end("callrail")

    stack.restart("callrail")


def test_a_second_stack_in_the_same_place_is_refused_and_harms_nothing(stack: Stack) -> None:
    with pytest.raises(StackError, match="already running"):
        Stack(StackOptions(state_dir=stack.options.state_dir)).start()

    assert all(service.is_running for service in stack.state.services if not service.is_external)
