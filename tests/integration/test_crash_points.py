"""A worker that dies between any two steps changes nothing: the redelivery ends where an undisturbed run ends.

Every crash point of every stage, on real Spanner and real storage with all vendors' stand-ins: rows, objects, CRM
records and bills are compared one by one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from google.cloud import spanner

from handlers.dead_letter import DeadLetterTaker
from handlers.receiver import Post, Receiver
from handlers.signature import callrail_signature
from infra.local.spanner import create_database, drop_database
from schemas.events import CallReceived
from shared import crash_points
from shared.crash_points import POINTS, Death, Executioner, crashing, parse_deaths
from shared.dead_letters import LetterFilter
from shared.deliveries import Delivery, parse_event
from shared.desk_replay_one import replay_one
from shared.errors import ConfigurationError, Deferred, PermanentFailure, PipelineError, TransientFailure
from shared.inbox import Inbox
from shared.names import first_request_id
from tests.support.audio import wav
from tests.support.crashing import CrashingMail, CrashNow, Doom
from tests.support.emulators import TEST_INSTANCE, TEST_PROJECT
from tests.support.flaky import Chain, running_neighbours, wired_chain
from tests.support.mail import STEPS, Step
from tests.support.outcome import Outcome, outcome_of
from tests.support.pipeline_database import PipelineDatabase, pipeline_ddl
from tests.support.ports import HandClock, MemoryObjects, MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.tenants import SIGNING_KEY, make_tenant
from tests.support.webhooks import CALL, POST_CALL, as_json

pytestmark = pytest.mark.emulators

PASSED: dict[Step, tuple[str, ...]] = {
    "download": ("claimed", "stage_run", "recorded", "published"),
    "submit": ("claimed", "before_sleep", "after_sleep"),
    "collect": ("taken_over", "stage_run", "recorded", "published"),
    "analyze": ("claimed", "stage_run", "recorded", "published"),
    "crm_sync": (
        "claimed",
        *("before_checkpoint", "after_checkpoint") * 2,  # once for each CRM
        *("stage_run", "recorded", "published"),
    ),
}
"""Every point on the way of a call that meets no trouble, step by step."""


@pytest.fixture(scope="module")
def database(spanner_emulator: str) -> Iterator[PipelineDatabase]:
    """One for the module: every call has a tenant of its own."""
    where = {
        "address": spanner_emulator,
        "project_id": TEST_PROJECT,
        "instance_id": TEST_INSTANCE,
        "database_id": f"crash-points-{os.getpid()}",
    }
    create_database(**where, ddl=pipeline_ddl())
    client = spanner.Client(project=TEST_PROJECT, disable_builtin_metrics=True)
    yield PipelineDatabase(client.instance(TEST_INSTANCE).database(where["database_id"]))
    client.close()
    drop_database(**where)


@pytest.fixture(scope="module")
def chain(database: PipelineDatabase, gcs_server: str) -> Iterator[Chain]:
    """All stages with all neighbours; CallRail holds the call's recording, Speech knows what it says."""
    with running_neighbours(gcs_server) as neighbours, wired_chain(neighbours, database) as chain:
        chain.hold_recording(CALL, wav(1.0))
        said = {"turns": [{"start_s": 0, "end_s": 1, "text": "My water heater burst, I need somebody today."}]}
        httpx.post(
            f"{neighbours.speech.admin_url}/_standin/transcripts",
            json={"audio_uri": "*", "transcript": said},
            trust_env=False,
        ).raise_for_status()
        yield chain


@pytest.fixture(scope="module")
def undisturbed(chain: Chain) -> Outcome:
    """What a call leaves when nobody dies."""
    return carried(chain)


def carried(
    chain: Chain,
    *,
    at: Step = "download",
    doom: Doom | None = None,
    error: PipelineError | None = None,
    sweeps: int = 0,
) -> Outcome:
    """One call of a new tenant through all steps, and what it left. Fails when the death it was given never came."""
    event = call_of_new_tenant(chain)
    mail = CrashingMail(chain, at=at, doom=doom or Doom(), error=error, sweeps=sweeps)
    mail.carry(event)
    assert doom is None or doom.has_struck, f"nobody passed {doom.point} at {at}: {doom.passed}"
    return outcome_of(chain, event, mail.publisher)


def call_of_new_tenant(chain: Chain) -> CallReceived:
    tenant = chain.new_tenant()
    return CallReceived(
        tenant_id=tenant.tenant_id,
        request_id=first_request_id(tenant.tenant_id, CALL),
        call_id=CALL,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload=POST_CALL,
    )


# --- the stages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("step", STEPS)
def test_the_walk_knows_every_point_of_a_step(chain: Chain, step: Step) -> None:
    """Otherwise a new point would be walked by nobody."""
    event, walked = call_of_new_tenant(chain), Doom()
    CrashingMail(chain, at=step, doom=walked).carry(event)

    assert tuple(walked.passed) == PASSED[step]


@pytest.mark.parametrize(
    ("step", "point", "passing"),
    [
        (step, point, points[: index + 1].count(point))
        for step, points in PASSED.items()
        for index, point in enumerate(points)
    ],
)
def test_a_death_at_any_point_changes_nothing(
    chain: Chain, undisturbed: Outcome, step: Step, point: str, passing: int
) -> None:
    outcome = carried(chain, at=step, doom=Doom(point, passing))

    assert comparable(outcome, step=step, point=point) == comparable(undisturbed, step=step, point=point)


def comparable(outcome: Outcome, *, step: Step, point: str) -> Outcome:
    """What a death at this point may change, which is admitted in docs/architecture.md, is left out.

    Vertex bills an answer that died with its worker, and a CRM says of a repeated creation that the person was there.
    """
    if step == "analyze" and point == "stage_run":
        return {**outcome, "vertex": None}
    if step == "crm_sync" and point == "before_checkpoint":
        syncs = [{**row, "person_created": None} for row in outcome["rows"]["crm_syncs"]]
        return {**outcome, "rows": {**outcome["rows"], "crm_syncs": syncs}}
    return outcome


@pytest.mark.parametrize("point", ["before_sleep", "after_sleep", "taken_over"])
@pytest.mark.parametrize("step", STEPS)
def test_a_death_around_a_failed_attempt_changes_nothing(
    chain: Chain, undisturbed: Outcome, step: Step, point: str
) -> None:
    passing = 2 if (step, point) == ("collect", "taken_over") else 1  # collect's first attempt is a takeover itself
    failure = TransientFailure("told_to_fail", "the first attempt fails")

    assert carried(chain, at=step, doom=Doom(point, passing), error=failure) == undisturbed


@pytest.mark.parametrize("point", ["sweep_marked", "sweep_sent"])
def test_a_sweeper_that_dies_has_pushed_on_or_will(chain: Chain, undisturbed: Outcome, point: str) -> None:
    later = Deferred("told_to_wait", "not today", until=datetime.now(UTC) + timedelta(minutes=5))

    assert carried(chain, at="crm_sync", doom=Doom(point), error=later, sweeps=2) == undisturbed


# --- dead letters ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["before_sleep", "after_sleep", "published_beside", "given_up", "letter_recorded"])
def test_a_death_while_giving_up_leaves_one_letter_that_a_replay_completes(
    chain: Chain, undisturbed: Outcome, point: str
) -> None:
    event = call_of_new_tenant(chain)
    refusal = PermanentFailure("told_to_refuse", "the first attempt is refused")
    # Whoever dies before the row says so has refused nothing: the next attempt has to refuse as well.
    failures = 2 if point == "before_sleep" else 1
    mail = CrashingMail(chain, at="analyze", doom=Doom(point), error=refusal, failures=failures)

    mail.carry(event)
    record_letters(chain, mail)

    assert mail.doom.has_struck
    assert [row[0] for row in letters_of(chain, event)] == ["open"]

    seen = len(mail.publisher.messages)
    replay_letters(chain, event, mail.publisher)
    mail.carry_on(event, mail.publisher.messages[seen:])

    outcome = outcome_of(chain, event, mail.publisher)
    for what in ("hubspot", "salesforce", "objects", "speech operations", "vertex"):
        assert outcome[what] == undisturbed[what]
    assert outcome["rows"]["call_records"] == undisturbed["rows"]["call_records"]
    assert {row["state"] for row in outcome["rows"]["processing_requests"]} == {"done"}


def record_letters(chain: Chain, mail: CrashingMail) -> None:
    """What the recorder's subscription does: every letter until it is acknowledged."""
    from handlers import wiring

    take = DeadLetterTaker(wiring.desk(chain.settings))
    letters = [message for message in mail.publisher.messages if message.topic == "dead-letters"]
    assert letters
    with crashing(mail.doom):
        for letter in letters:
            delivery = Delivery("m-1", letter.data, letter.attributes, "projects/p/subscriptions/s")
            try:
                status = take(delivery).status
            except CrashNow:
                status = take(delivery).status
            assert status == 204


def letters_of(chain: Chain, event: CallReceived) -> list[list[str]]:
    return chain.database.rows(f"SELECT state FROM dead_letters WHERE tenant_id = '{event.tenant_id}'")


def replay_letters(chain: Chain, event: CallReceived, publisher: MemoryPublisher) -> None:
    from handlers import wiring

    desk = replace(wiring.desk(chain.settings), publisher=publisher)
    for letter in desk.find(LetterFilter(tenant_id=event.tenant_id)):
        replay_one(desk, event.tenant_id, letter.dead_letter_id, actor="test")


# --- the receiver and the inbox -------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["receiver_before_keep", "receiver_before_answer"])
@pytest.mark.parametrize("pubsub_is_there", [True, False])
def test_a_webhook_whose_receiver_dies_is_sent_again_and_is_one_request(point: str, *, pubsub_is_there: bool) -> None:
    publisher, objects = MemoryPublisher(failing=0 if pubsub_is_there else 100), MemoryObjects()
    receiver = Receiver(
        tenants=MemoryTenants((make_tenant(),)),
        secrets=MemorySecrets({"acme-plumbing-webhook-secret": SIGNING_KEY}),
        publisher=publisher,
        inbox=Inbox(objects),
        now=HandClock(),
    )
    body = as_json(POST_CALL)
    post = Post("application/json", body, {"Signature": callrail_signature(SIGNING_KEY, body)})

    with crashing(Doom(point)):
        with pytest.raises(CrashNow):
            receiver.receive(post, traceparent="")
        assert receiver.receive(post, traceparent="").status == 202
    publisher.failing = 0
    Inbox(objects).drain(publisher)

    requests = {parse_event(message.data).request_id for message in publisher.messages}
    assert requests == {first_request_id("acme-plumbing", CALL)}
    assert not objects.held


def test_an_inbox_object_survives_the_death_after_its_publish() -> None:
    inbox, publisher = Inbox(MemoryObjects()), MemoryPublisher()
    event = CallReceived(
        tenant_id="acme-plumbing",
        request_id="r-0123456789abcdef",
        call_id=CALL,
        kind="post_call",
        received_at=datetime.now(UTC),
        payload=POST_CALL,
    )
    inbox.keep(event, event.attributes())

    with crashing(Doom("inbox_published")):
        with pytest.raises(CrashNow):
            inbox.drain(publisher)
        inbox.drain(publisher)

    assert [message.data for message in publisher.messages] == [event.model_dump_json().encode()] * 2
    assert inbox.drain(publisher) == {}


# --- the points themselves ------------------------------------------------------------------------------


def test_the_list_of_points_is_the_list_of_their_calls() -> None:
    root = Path(crash_points.__file__).parents[1]
    code = "".join(
        path.read_text() for folder in ("shared", "handlers", "stages") for path in (root / folder).rglob("*.py")
    )

    assert {point for point in POINTS if f'crash_point("{point}")' in code} == set(POINTS)
    assert code.count('crash_point("') >= len(POINTS)


def test_a_death_happens_once_even_if_the_next_process_passes_there_again(tmp_path: Path) -> None:
    deaths = frozenset({Death("analyze", "claimed", 2)})
    statuses: list[int] = []

    for _process in range(3):
        executioner = Executioner(deaths, "analyze", tmp_path, kill=statuses.append)
        for _passing in range(4):
            executioner("claimed")
            executioner("recorded")

    assert statuses == [137]
    assert [mark.name for mark in tmp_path.iterdir()] == ["analyze.claimed#2"]


@pytest.mark.parametrize("text", ["analyze.nowhere#1", "analyze.claimed", "analyze.claimed#0", "claimed#1"])
def test_a_death_nobody_could_die_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="no crash point"):
        parse_deaths(text)
