"""The chaos run's sender plays CallRail: a webhook that cannot be made or is not taken is sent again, the same."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from flask import Flask, Response, jsonify, request

from infra.local.chaos.calls import PlannedCall, Post
from infra.local.chaos.sender import Sender
from infra.local.chaos.tenants import ChaosTenant
from infra.local.senders import WEBHOOK_PATH
from infra.local.standins.serving import serve_in_thread

TENANT = ChaosTenant("acme", ("hubspot",), "made-up-key", portal="one", consumer_key="key")
POST = Post(0.0, "CAL1", "acme", "post_call", {"resource_id": "CAL1"}, with_recording=True)
CALL = PlannedCall("CAL1", "acme", "answered", "+15035550110", ready_after=0, posts=(POST,))


@dataclass
class Neighbours:
    """CallRail's stand-in and the receiver, each away for its first requests."""

    callrail_away_for: int = 2
    receiver_away_for: int = 1
    bodies: list[bytes] = field(default_factory=list)

    def app(self) -> Flask:
        app = Flask("neighbours")

        @app.post("/_standin/recordings")
        def recordings() -> tuple[Response | str, int]:
            self.callrail_away_for -= 1
            if self.callrail_away_for >= 0:
                return "", 503
            return jsonify(recording="https://app.callrail.com/calls/CAL1/recording/redirect?access_key=k"), 201

        @app.post(WEBHOOK_PATH)
        def webhook() -> tuple[Response | str, int]:
            self.bodies.append(request.get_data())
            self.receiver_away_for -= 1
            return ("", 503) if self.receiver_away_for >= 0 else (jsonify(request_id="r-1"), 202)

        return app


@pytest.fixture
def neighbours() -> Neighbours:
    return Neighbours()


@pytest.fixture
def url(neighbours: Neighbours) -> Iterator[str]:
    with serve_in_thread(neighbours.app()) as url:
        yield url


def test_a_webhook_waits_for_callrail_and_is_sent_until_it_is_taken(neighbours: Neighbours, url: str) -> None:
    """CallRail is restarted too: a sender that fell over it sent nothing, and nobody missed the call."""
    env = {"CALLRAIL_URL": url, "WEBHOOK_URL": url}
    with Sender(env, [TENANT], [CALL], begun=time.monotonic()) as sender:
        sender.send([POST], report=lambda _number: None)
        ledger = sender.finish()

    assert ledger.refused == ["no recording", "no recording", "503"]
    assert [(one.call_id, one.request_id) for one in ledger.accepted] == [("CAL1", "r-1")]
    assert len(neighbours.bodies) == 2
    assert len(set(neighbours.bodies)) == 1
