"""`infra/pipeline.json` is the one list of services and topics: everything that must agree with it does."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from handlers.main import TARGETS
from schemas.events import EVENT_TYPES, CallLeftIncomplete
from shared import story
from shared.dead_letters import TOPIC as DEAD_LETTERS
from shared.gateways import database, gemini, hubspot, objects, recordings, salesforce, secrets, speech
from shared.gateways.speech_operations import POLL_TIMEOUT_S
from shared.pipeline import PIPELINE_FILE, Service, load_pipeline
from stages.analyze.stage import _ASKS as ASKS_OF_THE_MODEL

ROOT = PIPELINE_FILE.parents[1]
PIPELINE = load_pipeline()
STAGES = {name: service for name, service in PIPELINE.services.items() if service.role == "stage"}
PUSHED = {name: service for name, service in PIPELINE.services.items() if service.subscribes}

OUTSIDE_TOPICS = {
    "transcription-output",  # Cloud Storage announces Speech's output objects there
    DEAD_LETTERS,  # every stage gives up there, and so does Pub/Sub's own policy
}
TOPIC_OF_CLASS = {event.__name__: event.topic for event in EVENT_TYPES.values()}
TYPES_OF_TOPIC = {
    topic: [name for name, event in EVENT_TYPES.items() if event.topic == topic] for topic in TOPIC_OF_CLASS.values()
}


def subscribed_topics() -> set[str]:
    return {item.topic for service in PIPELINE.services.values() for item in service.subscribes}


def published_topics() -> set[str]:
    return {topic for service in PIPELINE.services.values() for topic in service.publishes}


# --- topics -------------------------------------------------------------------------------------------


def test_every_topic_has_a_sender_and_a_reader_and_is_listed_once() -> None:
    assert len(set(PIPELINE.topics)) == len(PIPELINE.topics)
    assert set(PIPELINE.topics) == published_topics() | OUTSIDE_TOPICS
    assert subscribed_topics() | set(PIPELINE.observed_topics) == set(PIPELINE.topics)
    assert not subscribed_topics() & set(PIPELINE.observed_topics)


def test_every_event_has_its_topic_in_the_list() -> None:
    assert set(TOPIC_OF_CLASS.values()) == set(PIPELINE.topics) - OUTSIDE_TOPICS


def test_subscriptions_are_named_once_and_after_their_service_and_topic() -> None:
    names = {
        item.subscription: f"{name.replace('_', '-')}-{item.topic}"
        for name, service in PIPELINE.services.items()
        for item in service.subscribes
    }
    assert sum(len(service.subscribes) for service in PIPELINE.services.values()) == len(names)
    assert list(names) == list(names.values())


def test_dead_letters_wait_as_long_as_pubsub_keeps_them_and_are_archived_beside_the_recorder() -> None:
    """31 days are the most; the archive is a pull subscription of its own and takes nothing from the recorder."""
    (waiting,) = PIPELINE.services["dead_letter"].subscribes
    archive = PIPELINE.archive_of(DEAD_LETTERS)
    assert archive is not None
    assert (waiting.retention_days, archive.retention_days) == (31, 31)
    pushed = {item.subscription for service in PIPELINE.services.values() for item in service.subscribes}
    assert archive.subscription not in pushed
    assert {one.topic for one in PIPELINE.archives} <= set(PIPELINE.topics)


def test_dead_letters_are_read_by_the_recorder_alone() -> None:
    readers = [
        name
        for name, service in PIPELINE.services.items()
        if DEAD_LETTERS in {item.topic for item in service.subscribes}
    ]
    assert [(name, PIPELINE.services[name].role) for name in readers] == [("dead_letter", "recorder")]


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_makes_exactly_the_events_that_it_publishes(name: str) -> None:
    made = topics_made_in(ROOT / "stages" / name)
    if name != "crm_sync":
        made.add(CallLeftIncomplete.topic)  # the runner makes it when the stage gives up
    assert made == set(STAGES[name].publishes)


def test_the_receiver_makes_exactly_the_events_that_it_publishes() -> None:
    assert set(events_in(ROOT / "handlers" / "receiver.py")) == set(PIPELINE.services["webhook"].publishes)


def test_the_operator_may_publish_whatever_a_replay_sends_again() -> None:
    starts_a_stage = {item.topic for service in STAGES.values() for item in service.subscribes}
    assert set(PIPELINE.services["operator"].publishes) == starts_a_stage - OUTSIDE_TOPICS


def topics_made_in(folder: Path) -> set[str]:
    return {topic for path in folder.glob("*.py") for topic in events_in(path)}


def events_in(path: Path) -> Iterator[str]:
    """Topics of the events that a module makes: by a constructor's call, or in a function `_as_…` that returns one."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        made: ast.expr | None = None
        if isinstance(node, ast.Call):
            made = node.func
        elif isinstance(node, ast.FunctionDef) and node.name.startswith("_as_"):
            made = node.returns  # one event made of another, by copying it
        if isinstance(made, ast.Name) and made.id in TOPIC_OF_CLASS:
            yield TOPIC_OF_CLASS[made.id]


# --- services and stages ------------------------------------------------------------------------------


def test_every_service_is_a_target_of_the_image() -> None:
    assert tuple(PIPELINE.services) == TARGETS


def test_every_stage_is_a_package_and_every_package_a_stage() -> None:
    packages = {path.parent.name for path in (ROOT / "stages").glob("*/__init__.py")}
    assert set(STAGES) == packages


def test_what_tells_of_a_call_knows_the_stages_in_their_order() -> None:
    assert tuple(STAGES) == story.STAGES


def test_the_database_knows_the_same_stages() -> None:
    sql = (ROOT / "sql" / "schema.sql").read_text(encoding="utf-8")
    check = re.search(r"CHECK \(stage IN \((?P<names>[^)]*)\)\)", sql)
    assert check is not None
    assert set(re.findall(r"'(\w+)'", check["names"])) == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_is_started_by_the_events_of_its_subscriptions(name: str) -> None:
    accepted = accepted_events()[name]
    subscribed = {item.topic for item in STAGES[name].subscribes} - OUTSIDE_TOPICS
    assert {TOPIC_OF_CLASS[event] for event in accepted} == subscribed


def accepted_events() -> dict[str, list[str]]:
    """Stage to the event classes in `accepts=` of its `StageSpec`, read from the wiring: building one needs clients."""
    found: dict[str, list[str]] = {}
    for node in ast.walk(ast.parse((ROOT / "handlers" / "wiring_stages.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "StageSpec":
            arguments = {keyword.arg: keyword.value for keyword in node.keywords}
            name, accepts = arguments["name"], arguments["accepts"]
            assert isinstance(name, ast.Constant)
            assert isinstance(accepts, ast.Tuple)
            found[str(name.value)] = [item.id for item in accepts.elts if isinstance(item, ast.Name)]
    assert set(found) == set(STAGES)
    return found


# --- deadlines ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", PUSHED.values(), ids=PUSHED)
def test_delivery_settings_are_what_pubsub_allows(service: Service) -> None:
    assert 10 <= service.ack_deadline_s <= 600
    assert 5 <= service.max_delivery_attempts <= 100
    assert 0 <= service.min_backoff_s <= service.max_backoff_s <= 600


@pytest.mark.parametrize("service", PUSHED.values(), ids=PUSHED)
def test_cloud_run_waits_longer_than_pubsub(service: Service) -> None:
    """Otherwise Cloud Run would cut a request that Pub/Sub still counts on; its own bound is one hour."""
    assert service.ack_deadline_s < service.timeout_s <= 3600


@pytest.mark.parametrize("service", PIPELINE.services.values(), ids=PIPELINE.services)
def test_sizes_are_what_cloud_run_allows(service: Service) -> None:
    assert 0 <= service.min_instances <= service.max_instances
    assert 1 <= service.concurrency <= 1000
    assert service.cpu in {1, 2, 4, 6, 8}
    assert re.fullmatch(r"[0-9]+(Mi|Gi)", service.memory)


SLOWEST_S = {
    "download": secrets.BUDGET_S + recordings.TOTAL_TIMEOUT_S + objects.RETRY_S + objects.TIMEOUT_S[1],
    "transcribe": max(
        2 * speech.SUBMIT_TIMEOUT_S + speech.SUBMIT_RETRY_BUDGET_S + POLL_TIMEOUT_S,
        speech.POLL_RETRY_BUDGET_S + POLL_TIMEOUT_S,
    ),
    "analyze": ASKS_OF_THE_MODEL * gemini.BUDGET_S,
    "crm_sync": 2 * secrets.BUDGET_S + hubspot.SYNC_BUDGET_S + hubspot.REQUEST_TIMEOUT_S + salesforce.SYNC_BUDGET_S,
}
"""What a stage's gateways may take at the most, retries included, before they give the message back."""


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_gives_up_before_its_message_is_delivered_again(name: str) -> None:
    assert SLOWEST_S[name] + database.READ_TIMEOUT_S < STAGES[name].ack_deadline_s


# --- documents ----------------------------------------------------------------------------------------


def documented_topics() -> dict[str, tuple[str, str, str]]:
    """The table of docs/api/events.md: topic to event, publishers and what it starts."""
    text = (ROOT / "docs" / "api" / "events.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `([a-z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", text, re.MULTILINE)
    return {topic: (event, publishers, starts) for topic, event, publishers, starts in rows}


def services_in(text: str) -> set[str]:
    return {name for name in PIPELINE.services if re.search(rf"\b{name}\b", text)}


def test_the_documentation_lists_the_same_topics() -> None:
    assert list(documented_topics()) == list(PIPELINE.topics)


@pytest.mark.parametrize("topic", PIPELINE.topics)
def test_the_documentation_names_each_topics_event_senders_and_readers(topic: str) -> None:
    event, publishers, starts = documented_topics()[topic]
    readers = {name for name, service in PUSHED.items() if topic in {item.topic for item in service.subscribes}}
    assert services_in(starts) == readers
    if topic in OUTSIDE_TOPICS:
        return
    assert event == ", ".join(f"`{name}`" for name in TYPES_OF_TOPIC[topic])
    senders = {name for name, service in PIPELINE.services.items() if topic in service.publishes}
    assert services_in(publishers) == senders - {"operator"}, "the operator's are called replays"
