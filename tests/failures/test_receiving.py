"""Failures seen in other systems' receivers (argo-events, Snowplow, Convoy, gcp-ingestion, Sentry)."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError
from structlog.testing import capture_logs

from handlers.dead_letter import DeadLetterTaker
from handlers.receiver import MAX_BODY_BYTES
from handlers.signature import callrail_signature
from handlers.webhook import SHARED_PATH
from schemas.tenant import Tenant
from shared.deliveries import Delivery
from shared.desk import Desk
from shared.gateways.dead_letter_store import SpannerDeadLetters
from shared.inbox import PREFIX, Inbox
from shared.names import first_request_id
from shared.pipeline import load_pipeline
from tests.failures.intake import OURS, SECRETS, Intake, open_intake
from tests.support.pipeline_database import PipelineDatabase
from tests.support.ports import MemoryPublisher, MemorySecrets, MemoryTenants
from tests.support.proxied_spanner import reached_impatiently
from tests.support.tenants import COMPANY, OTHER_COMPANY, SIGNING_KEY, make_tenant
from tests.support.waiting import eventually
from tests.support.webhooks import POST_CALL, as_json

pytestmark = pytest.mark.emulators


@pytest.fixture
def intake(pubsub_emulator: str, gcs_server: str) -> Iterator[Intake]:
    with open_intake(pubsub_emulator, gcs_server) as intake:
        yield intake


def call(number: int) -> str:
    return f"CAL{number:032x}"


def request_of(number: int) -> str:
    return first_request_id(OURS.tenant_id, call(number))


@pytest.mark.parametrize("how", ["cut", "freeze", "mute"])
def test_2xx_before_the_publish_is_known(intake: Intake, how: str) -> None:
    """argo-events#3448, Snowplow, Convoy: Pub/Sub dies under the request. Whoever heard 2xx has a kept webhook."""
    assert intake.post(call(0)).status_code == 202
    getattr(intake.pubsub, how)()

    promised = [number for number in range(1, 4) if intake.post(call(number)).status_code == 202]

    assert promised == [1, 2, 3], "the inbox takes what Pub/Sub cannot"
    assert len(intake.kept()) == 3
    intake.pubsub.restore()
    intake.sweep()
    assert {event.request_id for event in intake.arrived()} == {request_of(number) for number in range(4)}


@pytest.mark.parametrize("pieces", range(1, 4))
def test_2xx_before_the_publish_is_known_in_the_middle_of_it(intake: Intake, pieces: int) -> None:
    intake.post(call(0))
    intake.pubsub.after_requests(pieces, intake.pubsub.cut)
    statuses = {number: intake.post(call(number)).status_code for number in range(1, 4)}
    intake.pubsub.restore()
    intake.sweep()
    arrived = {event.request_id for event in intake.arrived()}
    assert {request_of(number) for number, status in statuses.items() if status == 202} <= arrived


def test_4xx_when_the_fault_is_ours(intake: Intake) -> None:
    """Convoy answered 400, which means "do not send again": ours is 503, says when, and that nothing was kept."""
    intake.pubsub.cut()
    intake.storage.cut()

    answer = intake.post(call(1))

    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "nothing was kept" in answer.get_json()["message"]
    intake.pubsub.restore()
    intake.storage.restore()
    assert intake.kept() == []
    assert intake.arrived() == []
    assert intake.post(call(1)).status_code == 202


BROKEN: dict[str, tuple[tuple[Tenant, ...], dict[str, str], int]] = {
    "no tenant at all": ((), SECRETS, 401),
    "another tenant's company": ((make_tenant("other-dental", company_id=OTHER_COMPANY),), SECRETS, 401),
    "two tenants claim the company": ((OURS, make_tenant("other-dental", company_id=COMPANY)), SECRETS, 401),
    "the signing key does not exist": ((OURS,), {}, 503),
    "the signing key is empty": ((OURS,), dict.fromkeys(SECRETS, ""), 401),
    "the signing key is another": ((OURS,), dict.fromkeys(SECRETS, "0" * 32), 401),
    "the tenant is suspended": ((make_tenant(status="suspended"),), SECRETS, 403),
}


@pytest.mark.parametrize("case", BROKEN)
def test_unknown_tenant_or_scheme_accepted(intake: Intake, case: str) -> None:
    """convoy#2656: an unknown verifier accepted everything. Here every broken configuration refuses, and is logged."""
    tenants, secrets, status = BROKEN[case]
    if case == "two tenants claim the company":
        directory: Any = ClaimedTwice(tenants)
    else:
        directory = MemoryTenants(tenants)
    broken = replace(intake, receiver=replace(intake.receiver, tenants=directory, secrets=MemorySecrets(dict(secrets))))

    with capture_logs() as logs:
        answer = broken.post(call(1), **_numeric_company(case))

    assert answer.status_code == status
    assert intake.arrived() == []
    assert intake.kept() == []
    assert [line["event"] for line in logs if line["log_level"] in {"warning", "error"}] != []


def _numeric_company(case: str) -> dict[str, Any]:
    return {"company_id": OTHER_COMPANY} if case == "two tenants claim the company" else {}


class ClaimedTwice(MemoryTenants):
    """Two ids of one body lead to two tenants."""

    def by_company(self, company_id: str) -> Tenant | None:
        return self.tenants[0] if company_id == COMPANY else self.tenants[1]


def test_an_unknown_scheme_cannot_even_be_configured() -> None:
    with pytest.raises(ValidationError):
        make_tenant(signature_scheme="none")
    with pytest.raises(ValidationError):
        make_tenant(webhook_secret_names=[])


def test_an_unsigned_body_is_refused(intake: Intake) -> None:
    answer = intake.client().post(SHARED_PATH, data=as_json(POST_CALL), content_type="application/json")
    assert answer.status_code == 401
    assert intake.arrived() == []


def test_second_store_forgotten_on_scale_down(intake: Intake) -> None:
    """gcp-ingestion PR#1322: mail lay on the disk of a removed pod for days. Our inbox outlives every instance."""
    intake.pubsub.cut()
    assert intake.post(call(1)).status_code == 202
    intake.storage.cut()  # the instance is gone, and with it every connection it had

    intake.pubsub.restore()
    assert intake.sweep() == {"inbox_published": 1}, "another process, which never knew that instance"

    assert [event.request_id for event in intake.arrived()] == [request_of(1)]


def test_poison_item_blocks_the_spill(intake: Intake) -> None:
    """gcp-ingestion#112: one unpublishable among a hundred. 99 arrive, one becomes a dead letter."""
    intake.pubsub.cut()
    for number in range(99):
        assert intake.post(call(number)).status_code == 202
    intake.direct_objects.create(f"{PREFIX}acme-plumbing/r-00000000-poison.json", iter([b"?"]), content_type="x/y")
    intake.pubsub.restore()
    publisher = Divided(intake)

    # A slow machine leaves some for the next sweep; the poison is tried among the first, and must not hold up one.
    sweeps = [Inbox(intake.direct_objects).drain(publisher)]
    while sweeps[-1]["inbox_left"] and len(sweeps) < 5:
        sweeps.append(Inbox(intake.direct_objects).drain(publisher))
    done = sum(sweeps, Counter[str]())

    assert (done["inbox_published"], done["inbox_given_up"]) == (99, 1)
    assert {event.request_id for event in intake.arrived()} == {request_of(number) for number in range(99)}
    assert [letter.data for letter in publisher.letters.messages] == [b"?"]
    assert intake.kept() == []


class Divided:
    """Events go to the real topic; dead letters are held, because this project has no topic for them."""

    def __init__(self, intake: Intake) -> None:
        self._real = intake.publisher()
        self.letters = MemoryPublisher()

    def publish(self, topic: str, data: bytes, attributes: Any) -> str:
        chosen: Any = self.letters if topic == "dead-letters" else self._real
        return str(chosen.publish(topic, data, attributes))


def test_dead_letter_limit_stops_intake(
    intake: Intake, pipeline_database: PipelineDatabase, spanner_emulator: str
) -> None:
    """sentry#67937: the dead-letter store is down. Letters wait in their subscription; intake does not notice."""
    with reached_impatiently(pipeline_database, spanner_emulator) as reach:
        taker = DeadLetterTaker(Desk(SpannerDeadLetters(reach.open, reach.vault), MemoryPublisher(), load_pipeline()))
        reach.proxy.cut()

        letter = Delivery("m-1", b"?", {"dl_reason": "not_audio", "dl_stage": "download"}, "s")
        assert taker(letter).status == 503, "it stays where it is"
        assert [intake.post(call(number)).status_code for number in range(3)] == [202] * 3
        assert len(intake.arrived()) == 3
        assert intake.kept() == []

        reach.proxy.restore()
        eventually(lambda: taker(letter).status == 204, what="the letter is kept")
    assert pipeline_database.value("SELECT COUNT(*) FROM dead_letters") == 1


def test_a_body_that_no_later_stage_could_store_is_refused_and_not_lost_on_the_way(intake: Intake) -> None:
    """Fault found here: escapes made an event longer than Spanner's column; it was redelivered until it was lost."""
    body = f"resource_id={call(1)}&company_resource_id={COMPANY}&note=".encode() + b"\x01" * 900_000
    headers = {
        "Signature": callrail_signature(SIGNING_KEY, body),
        "Content-Type": "application/x-www-form-urlencoded",
    }
    answer = intake.client().post(SHARED_PATH, data=body, headers=headers)
    assert (answer.status_code, answer.get_json()["error"]) == (413, "body_too_large")
    assert intake.arrived() == []


GROWTH = {
    "control characters": b"\x01",
    "quotes": b'"',
    "backslashes": b"\\",
    "half characters": b"\xff",
    "wide characters": "😀".encode(),
    "accents": "é".encode(),
}


@pytest.mark.parametrize("piece", GROWTH.values(), ids=GROWTH)
def test_payload_too_large_for_pubsub_is_impossible(intake: Intake, piece: bytes) -> None:
    """Whatever fits through the door fits into a message of 10 MB, into Spanner's column and into the inbox."""
    head = f"resource_id={call(1)}&company_resource_id={COMPANY}&note=".encode()
    statuses = set()
    for share in (1, 4):  # together below the 4 MB that a client takes from one pull
        room = MAX_BODY_BYTES // share - len(head)
        body = head + piece * (room // len(piece))
        headers = {
            "Signature": callrail_signature(SIGNING_KEY, body),
            "Content-Type": "application/x-www-form-urlencoded",
        }
        statuses.add(intake.client().post(SHARED_PATH, data=body, headers=headers).status_code)
    assert statuses <= {202, 413}
    for event in intake.arrived():
        text = event.model_dump_json()
        assert len(text) <= 2_621_440, "Spanner: characters in one STRING(MAX)"
        assert len(text.encode()) + 10_000 <= 10_000_000, "Pub/Sub: bytes in one message"
        inboxed = json.dumps({"attributes": {}, "event": text}).encode()
        assert len(inboxed) <= 8 * 1024 * 1024, "what the inbox reads back"
