"""Dead letters as tests of the desk make them: one failure, one message, a small crowd."""

from __future__ import annotations

from datetime import datetime

from schemas.events import Event, RecordingStored
from shared.dead_letters import (
    LETTER_STATES,
    GivenUp,
    LetterFilter,
    dead_letter_attributes,
)
from shared.deliveries import Delivery
from shared.errors import PermanentFailure, TransientFailure
from tests.support.desk_bench import CALL, OURS, REQUEST, THEIRS, DeskBench, received

NOT_AUDIO = PermanentFailure("not_audio", "the link leads to a page", fix="check the link")
STORED = RecordingStored(tenant_id=OURS, request_id=REQUEST, call_id=CALL)
ANY = LetterFilter(states=LETTER_STATES)


def letter_message(
    event: Event, given_up: GivenUp, *, message_id: str, published_at: datetime | None = None
) -> Delivery:
    data = event.model_dump_json().encode()
    original = Delivery("m", data, event.attributes(), "s")
    return Delivery(message_id, data, dead_letter_attributes(original, given_up), "s", published_at=published_at)


def gave_up(reason: str = "token_refused", *, stage: str = "download", attempts: int = 7) -> GivenUp:
    return GivenUp(stage, reason, "401", "give a new token", attempts=attempts)


def filled(bench: DeskBench) -> DeskBench:
    """Five letters of two tenants, three kinds."""
    bench.fail("download", NOT_AUDIO, received(1), received(2))
    bench.fail("analyze", TransientFailure("model_busy", "Vertex said 429"), received(3))
    bench.fail("download", NOT_AUDIO, received(4, tenant_id=THEIRS))
    bench.fail("crm_sync", PermanentFailure("record_refused", "the Task's subject is too long"), received(5))
    return bench
