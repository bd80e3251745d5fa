"""Service `dead_letter`: records what was given up, so that an operator can look, replay and discard."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from shared.answers import ACKNOWLEDGED, AGAIN, Answer
from shared.crash_points import crash_point
from shared.deliveries import Delivery
from shared.desk import Desk
from shared.errors import PipelineError
from shared.telemetry import OFF, Telemetry, span
from shared.traces import read_traceparent

log = structlog.get_logger()


@dataclass(frozen=True)
class DeadLetterTaker:
    """Takes deliveries of the dead-letter topic. Anything that goes wrong leaves the message in its subscription."""

    desk: Desk
    telemetry: Telemetry = OFF

    def __call__(self, delivery: Delivery) -> Answer:
        within = read_traceparent(delivery.traceparent)
        with span(
            self.telemetry, "dead_letter", kind="consumer", within=within, message_id=delivery.message_id
        ) as around:
            # The code of the error, never its words.
            around.set(reason=delivery.attributes.get("dl_reason", ""), stage=delivery.attributes.get("dl_stage", ""))
            answer = self._take(delivery)
            around.set(answer=answer.status)
            return answer

    def _take(self, delivery: Delivery) -> Answer:
        try:
            self.desk.record(delivery)
            crash_point("letter_recorded")
        except PipelineError as error:
            log.warning("dead_letter_put_back", code=error.code, detail=error.detail)
            return AGAIN
        except Exception:
            log.exception("dead_letter_not_recorded")
            return Answer(500)
        return ACKNOWLEDGED
